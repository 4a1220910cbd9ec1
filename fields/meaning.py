"""Meaning: what a field's values mean, apart from how they are stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from polyfield.errors import PolyfieldError
from polyfield.fields.domain import Domain
from polyfield.fields.signals import MOST_CHANNELS, Signal, signal
from polyfield.fields.transform import ValueTransform


@dataclass(frozen=True)
class Meaning:
    """A signal over a domain. Fields of equal meanings answer the same question, so one can be fitted to the other.

    Raises PolyfieldError where the parts do not go together.

    >>> Meaning.of("sdf", Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))).channels
    1
    """

    signal: str
    domain: Domain
    transform: ValueTransform
    channels: int  # numbers of a point's value
    moving: bool = False  # values depend on a time in [0, 1]

    def __post_init__(self) -> None:
        own = self.kind.channels
        if not 1 <= self.channels <= MOST_CHANNELS or (own and self.channels != own):
            raise PolyfieldError(
                f"field spec: channels is {self.channels}; "
                f"expected {own or f'1 to {MOST_CHANNELS}'} for the signal {self.signal!r}"
            )
        if self.domain.dimensions != self.kind.dimensions:
            raise PolyfieldError(
                f"field spec: the domain has {self.domain.dimensions} dimensions; "
                f"expected {self.kind.dimensions} for the signal {self.signal!r}"
            )
        if self.kind.moving and not self.moving:
            raise PolyfieldError(
                f"field spec: moving is false; expected true, as the signal {self.signal!r} depends on time"
            )

    @staticmethod
    def of(
        name: str,
        domain: Domain,
        *,
        channels: int | None = None,
        transform: ValueTransform | None = None,
        moving: bool = False,
    ) -> Meaning:
        """Return a meaning with the signal's own channels and transform where none are given."""
        kind = signal(name)
        if transform is None:
            transform = kind.transform
            if kind.output == "distance":
                transform = replace(transform, scale=domain.size)
        return Meaning(name, domain, transform, channels or kind.channels or 1, moving or kind.moving)

    @property
    def kind(self) -> Signal:
        """The signal's record."""
        return signal(self.signal)

    @property
    def axes(self) -> int:
        """Axes of the unit cube that a field of this meaning encodes: those of space, and time behind them."""
        return self.domain.dimensions + self.moving

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` takes back."""
        return {
            "signal": self.signal,
            "domain": self.domain.to_json(),
            "transform": self.transform.to_json(),
            "channels": self.channels,
            "moving": self.moving,
        }

    @staticmethod
    def from_json(data: Any) -> Meaning:
        """Return the meaning that `to_json` wrote. Raises PolyfieldError for anything else."""
        keys = {"signal", "domain", "transform", "channels", "moving"}
        if not isinstance(data, dict) or set(data) != keys:
            found = sorted(data) if isinstance(data, dict) else type(data).__name__
            raise PolyfieldError(
                f"field spec: meaning: found {found!s:.200}; expected an object with the keys {', '.join(sorted(keys))}; "
                "restore the file, or fit again"
            )
        if not isinstance(data["signal"], str):
            raise PolyfieldError(f"field spec: signal is {data['signal']!r:.80}; expected a name")
        if type(data["channels"]) is not int:
            raise PolyfieldError(f"field spec: channels is {data['channels']!r:.80}; expected a whole number")
        if type(data["moving"]) is not bool:
            raise PolyfieldError(f"field spec: moving is {data['moving']!r:.80}; expected true or false")
        return Meaning(
            signal=signal(data["signal"]).name,
            domain=Domain.from_json(data["domain"]),
            transform=ValueTransform.from_json(data["transform"]),
            channels=data["channels"],
            moving=data["moving"],
        )
