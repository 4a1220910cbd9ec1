"""FieldSpec: all that is needed to build a field, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from polyfield.errors import PolyfieldError
from polyfield.fields.domain import Domain
from polyfield.fields.signals import MOST_CHANNELS, ValueTransform, signal


@dataclass(frozen=True)
class FieldSpec:
    """An architecture with its options, carrying a signal over a domain. Spec and tensors are the field."""

    architecture: str
    signal: str
    domain: Domain
    transform: ValueTransform
    # The architecture's own; what is absent has its default.
    options: dict[str, Any] = field(default_factory=dict)
    # Float64, taken off the source's coordinates when it was read; zeros if not given.
    origin: tuple[float, ...] = ()
    channels: int = 0  # numbers of a point's value; the signal's own, or 1, if not given

    def __post_init__(self) -> None:
        if not self.origin:
            object.__setattr__(self, "origin", (0.0,) * self.domain.dimensions)
        own = signal(self.signal).channels
        if not self.channels:
            object.__setattr__(self, "channels", own or 1)
        if not 1 <= self.channels <= MOST_CHANNELS or (own and self.channels != own):
            raise PolyfieldError(
                f"field spec: channels is {self.channels}; {self.signal} has {own or f'1 to {MOST_CHANNELS}'}"
            )

    @staticmethod
    def of(architecture: str, signal_name: str, domain: Domain, **options: Any) -> FieldSpec:
        """A spec with the signal's own value transform; a distance's is in units of the domain's size."""
        transform = signal(signal_name).transform
        if signal(signal_name).output == "distance":
            transform = replace(transform, scale=domain.size)
        return FieldSpec(architecture, signal_name, domain, transform, options)

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` takes back."""
        domain = self.domain
        rotation = None if domain.rotation is None else [list(row) for row in domain.rotation]
        return {
            "architecture": self.architecture,
            "signal": self.signal,
            "domain": {
                "kind": domain.kind,
                "centre": list(domain.centre),
                "half_size": list(domain.half_size),
                "rotation": rotation,
            },
            "transform": self.transform.to_json(),
            "options": dict(self.options),
            "origin": list(self.origin),
            "channels": self.channels,
        }

    @staticmethod
    def from_json(data: Any) -> FieldSpec:
        """The spec that `to_json` wrote; anything else is refused in one line."""
        keys = {"architecture", "signal", "domain", "transform", "options", "origin", "channels"}
        if not isinstance(data, dict) or set(data) != keys:
            found = sorted(data) if isinstance(data, dict) else type(data).__name__
            raise PolyfieldError(f"field spec: found {found}; expected the keys {', '.join(sorted(keys))}")
        name = signal(_text(data, "signal")).name
        domain = data["domain"]
        if not isinstance(domain, dict) or set(domain) != {"kind", "centre", "half_size", "rotation"}:
            raise PolyfieldError("field spec: domain must have the keys kind, centre, half_size and rotation")
        if type(data["channels"]) is not int or not data["channels"]:
            raise PolyfieldError(f"field spec: channels is {data['channels']!r:.80}; expected a number")
        if not isinstance(data["options"], dict):
            raise PolyfieldError("field spec: options must be an object")
        centre = _numbers(domain["centre"], "domain.centre")
        rotation = domain["rotation"]
        if rotation is not None:
            if not isinstance(rotation, list):
                raise PolyfieldError("field spec: domain.rotation must be a square matrix or null")
            rotation = tuple(_numbers(row, "domain.rotation") for row in rotation)
        return FieldSpec(
            architecture=_text(data, "architecture"),
            signal=name,
            domain=Domain(
                _text(domain, "kind"), centre, _numbers(domain["half_size"], "domain.half_size"), rotation
            ),
            transform=ValueTransform.from_json(data["transform"]),
            options=dict(data["options"]),
            origin=_numbers(data["origin"], "origin", len(centre)),
            channels=data["channels"],
        )


def _text(data: dict[str, Any], key: str) -> str:
    if not isinstance(data[key], str):
        raise PolyfieldError(f"field spec: {key} is {data[key]!r}; expected a name")
    return data[key]


def _numbers(value: Any, key: str, count: int | None = None) -> tuple[float, ...]:
    good = isinstance(value, list) and all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in value
    )
    if not good or (count is not None and len(value) != count):
        raise PolyfieldError(
            f"field spec: {key} is {value!r}; expected {count or 'a list of'} finite numbers"
        )
    return tuple(float(n) for n in value)
