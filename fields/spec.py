"""FieldSpec: all that is needed to build a field, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from polyfield.errors import PolyfieldError
from polyfield.fields.domain import Domain
from polyfield.fields.meaning import Meaning


@dataclass(frozen=True)
class FieldSpec:
    """What a field's values mean and how they are stored. Spec and tensors are the field.

    >>> spec = FieldSpec.of("hashgrid", "image", Domain("box", (0.5, 0.5), (0.5, 0.5)), levels=4)
    >>> FieldSpec.from_json(spec.to_json()) == spec
    True
    """

    architecture: str
    meaning: Meaning
    # The architecture's own; what is absent has its default.
    options: dict[str, Any] = field(default_factory=dict)
    bits: int | None = None  # 8: files hold parameters as whole numbers with scales

    def __post_init__(self) -> None:
        if self.bits is not None and (type(self.bits) is not int or self.bits != 8):
            raise PolyfieldError(
                f"bits is {self.bits!r:.80}; expected 8; omit bits for tables in half precision"
            )

    @staticmethod
    def of(architecture: str, signal: str, domain: Domain, **options: Any) -> FieldSpec:
        """Return a spec with the signal's own channels and value transform."""
        return FieldSpec(architecture, Meaning.of(signal, domain), options)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` takes back."""
        bits = {} if self.bits is None else {"bits": self.bits}
        return {
            "architecture": self.architecture,
            "meaning": self.meaning.to_json(),
            "options": dict(self.options),
            **bits,
        }

    @staticmethod
    def from_json(data: Any) -> FieldSpec:
        """Return the spec that `to_json` wrote. Raises PolyfieldError for anything else."""
        keys = {"architecture", "meaning", "options"}
        if not isinstance(data, dict) or set(data) - {"bits"} != keys:
            found = sorted(data) if isinstance(data, dict) else type(data).__name__
            raise PolyfieldError(
                f"field spec: found {found!s:.200}; expected an object with the keys {', '.join(sorted(keys))}; "
                "restore the file, or fit again"
            )
        if not isinstance(data["architecture"], str):
            raise PolyfieldError(f"field spec: architecture is {data['architecture']!r:.80}; expected a name")
        if not isinstance(data["options"], dict):
            raise PolyfieldError(f"field spec: options is {data['options']!r:.80}; expected an object")
        meaning, options = Meaning.from_json(data["meaning"]), dict(data["options"])
        return FieldSpec(data["architecture"], meaning, options, data.get("bits"))
