"""FitConfig: every option of a fit, and the spec of its field, as kept in config.json."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from polyfield.errors import PolyfieldError, as_stored, shown
from polyfield.fields.registry import architecture
from polyfield.fields.signals import signal
from polyfield.fields.spec import FieldSpec
from polyfield.fitting.losses import Term
from polyfield.fitting.schedule import Length


@dataclass(frozen=True)
class FitConfig:
    """The options of a fit. Raises PolyfieldError if an option makes no sense."""

    source: str  # a path, or the name of a built-in scene
    field: str  # the architecture
    steps: int | None = None
    seconds: float | None = None  # exactly one of the two is given
    downscale: int = 1
    options: dict[str, int | str] = dataclasses.field(default_factory=dict)  # the architecture's own
    seed: int = 0
    device: str = "auto"
    save_seconds: float = 30.0
    deterministic: bool = False  # whether a fit repeats its bytes on a GPU too
    kind: str | None = None  # of the source; its path and content decide if None
    box: list[float] | None = (
        None  # centre and half size of a scene's region of detail; the cameras decide if None
    )
    signal: str = "radiance"
    bytes: int | None = None  # the most that the field may store
    bits: int | None = None  # of a stored number: 8, or half precision for tables
    loss: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # terms; the source's own if empty
    spec: dict[str, Any] | None = None  # of the field that was built
    conversion: dict[str, Any] | None = None  # how a field is taught, where the source is one

    def __post_init__(self) -> None:
        if not isinstance(self.deterministic, bool):
            raise PolyfieldError(f"option deterministic is {self.deterministic!r}; expected true or false")
        for key, kinds in _TYPES.items():
            value = getattr(self, key)
            if not isinstance(value, kinds) or isinstance(value, bool):
                expected = kinds[0].__name__ + " or None" * (type(None) in kinds)
                raise PolyfieldError(f"option {key} is {value!r:.80}; expected {expected}")
        architecture(self.field).parse(self.options)
        signal(self.signal)
        for term in self.loss:
            Term.from_json(term)
        if self.bits not in (None, 8):
            raise PolyfieldError(f"--bits {self.bits}: expected 8; omit it for tables in half precision")
        if self.spec is not None:
            FieldSpec.from_json(self.spec)
        if (self.steps is None) == (self.seconds is None):
            raise PolyfieldError("give exactly one of --steps and --seconds")
        _within("steps", self.steps, 1, 10**9)
        _within("seconds", self.seconds, 1e-3, 10**9)
        _within("downscale", self.downscale, 1, 1 << 16)
        _within("seed", self.seed, 0, (1 << 63) - 1)
        if self.box is not None and not _is_box(self.box):
            raise PolyfieldError(
                f"--box {self.box!s:.80}: expected x, y, z from -1e9 to 1e9 and a half size from 1e-9 to 1e9"
            )
        _within("bytes", self.bytes, 1, 1 << 50)
        _within("save-seconds", self.save_seconds, 1e-3, 10**9)

    @property
    def centre_and_half(self) -> tuple[float, float, float, float] | None:
        """The box, as scenes take it."""
        return None if self.box is None else (self.box[0], self.box[1], self.box[2], self.box[3])

    @property
    def length(self) -> Length:
        return Length(self.steps, self.seconds)

    @staticmethod
    def of(config: dict[str, Any], where: str) -> FitConfig:
        """Return the options in a run's config.json; `where` names it in errors."""
        if "edit" in config:
            raise PolyfieldError(
                f"{where}: the run is an edited field, which was not fitted; convert it first"
            )
        names = [field.name for field in dataclasses.fields(FitConfig)]
        config = {"bits": None, **config}  # older runs have none
        if missing := sorted(set(names) - config.keys()):
            raise PolyfieldError(
                f"{where}: the keys {', '.join(missing)} are missing; restore config.json, or begin a new run"
            )
        if (config["steps"] is None) == (config["seconds"] is None):
            raise PolyfieldError(
                f"{where}: expected a number for one of the stored options steps and seconds, and null for the other; "
                "restore config.json, or begin a new run"
            )
        try:
            return FitConfig(**{name: config[name] for name in names})
        except PolyfieldError as error:
            stored = as_stored(error)
            text = f"{stored}; restore config.json, or begin a new run" if stored else str(error)
            raise PolyfieldError(f"{shown(where)}: {text}") from None


_TYPES: dict[str, tuple[type, ...]] = {
    "source": (str,),
    "field": (str,),
    "steps": (int, type(None)),
    "seconds": (float, int, type(None)),
    "downscale": (int,),
    "options": (dict,),
    "seed": (int,),
    "device": (str,),
    "save_seconds": (float, int),
    "kind": (str, type(None)),
    "box": (list, type(None)),
    "signal": (str,),
    "bytes": (int, type(None)),
    "bits": (int, type(None)),
    "loss": (list,),
    "spec": (dict, type(None)),
    "conversion": (dict, type(None)),
}


def _is_box(box: list[float]) -> bool:
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e9 for value in box
    )
    return numbers and len(box) == 4 and box[3] >= 1e-9


def _within(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        raise PolyfieldError(f"--{name} is {value}; expected {least:g} to {most:g}")
