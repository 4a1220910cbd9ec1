"""Signals: what a field's values are, one record each. Everything that depends on the signal is read from its record."""

from __future__ import annotations

from dataclasses import dataclass

from polyfield.errors import PolyfieldError
from polyfield.fields.transform import ValueTransform

MOST_CHANNELS = 64


@dataclass(frozen=True)
class Signal:
    """One kind of value, where it comes from, how it is compared and how it is drawn."""

    name: str
    sources: tuple[str, ...]  # the kinds of source that it is fitted to
    dimensions: int  # of its points, without time
    transform: ValueTransform  # of its raw value; a distance's is in units of the domain's size
    channels: int | None  # of a point's value, or None: as many as the source has
    output: str  # the part of FieldOutput that holds the value: density, colour, distance or occupancy
    loss: str  # the measure in `fitting.losses` that compares raw values; of a density, rendered colours
    drawn: str  # the renderer in `rendering.renderers`: rays, picture, video, surface or emission
    inside: int = 0  # the sign of raw values inside a shape, or 0 where there is no inside
    moving: bool = False  # whether its values always depend on a time

    @property
    def directional(self) -> bool:
        """Whether a query needs directions: colours are seen along rays."""
        return self.output == "density"


# exp(-15) of a density is empty and exp(15) opaque at any step size, and neither overflows.
_DENSITY = ValueTransform("exp", (-15.0, 15.0))
_PLAIN = ValueTransform("identity", (-1e6, 1e6))
_UNSIGNED = ValueTransform("identity", (0.0, 1e6))
_LOGIT = ValueTransform("sigmoid", (-15.0, 15.0))

# The first of those that a kind of source has is its default.
SIGNALS = {
    signal.name: signal
    for signal in (
        Signal("radiance", ("scene",), 3, _DENSITY, 3, "density", "huber", "rays"),
        Signal("image", ("picture",), 2, _PLAIN, None, "colour", "squares", "picture"),
        Signal("video", ("video",), 2, _PLAIN, 3, "colour", "squares", "video", moving=True),
        Signal("sdf", ("mesh",), 3, _PLAIN, 1, "distance", "relative", "surface", inside=-1),
        Signal("udf", ("mesh", "cloud"), 3, _UNSIGNED, 1, "distance", "relative", "surface"),
        Signal("occupancy", ("mesh",), 3, _LOGIT, 1, "occupancy", "entropy", "surface", inside=1),
        Signal("volume", ("volume",), 3, _PLAIN, None, "colour", "squares", "emission"),
    )
}


def signal(name: str) -> Signal:
    """Return the signal of that name. Raises PolyfieldError, which lists the names, for another."""
    if name not in SIGNALS:
        raise PolyfieldError(f"signal {name!r:.80} is unknown; expected one of {', '.join(SIGNALS)}")
    return SIGNALS[name]


def signals_of(source: str) -> tuple[str, ...]:
    """Return the names of the signals that are fitted to a kind of source, the default first."""
    return tuple(name for name, signal in SIGNALS.items() if source in signal.sources)
