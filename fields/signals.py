"""Signals: what a field's values mean, and the one transform from the stored value to the meant one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from polyfield.errors import PolyfieldError


@dataclass(frozen=True)
class ValueTransform:
    """The map from raw to value, its inverse, and where raw is kept.

    `exp`: value = exp(raw) with raw clamped; the losses of distillation live in log space, that is on raw.
    """

    function: str  # "exp"
    clamp: tuple[float, float]  # raw is held inside; gradients pass straight through

    def __call__(self, raw: Tensor) -> Tensor:
        """raw (N,) to value (N,)."""
        clamped = raw + (raw.clamp(*self.clamp) - raw).detach()
        return clamped.exp()

    def inverse(self, value: Tensor) -> Tensor:
        """value (N,) to raw (N,), inside the clamp."""
        return value.log().clamp(*self.clamp)

    def to_json(self) -> dict:
        return {"function": self.function, "clamp": list(self.clamp)}

    @staticmethod
    def from_json(data: object) -> ValueTransform:
        match data:
            case {"function": "exp", "clamp": [int() | float() as low, int() | float() as high]} if (
                -80 <= low < high <= 80  # beyond, exp is no float32
            ):
                return ValueTransform("exp", (float(low), float(high)))
        raise PolyfieldError(
            f"field spec: transform {data!r} is unknown; expected function exp and a clamp [low, high]"
        )


@dataclass(frozen=True)
class Signal:
    """What a query gives."""

    name: str
    dimensions: int  # of its points
    transform: ValueTransform  # of its raw value
    channels: int  # of its colour


# exp(-15) of a density is empty and exp(15) opaque at any step size, and neither overflows.
SIGNALS = {"radiance": Signal("radiance", 3, ValueTransform("exp", (-15.0, 15.0)), 3)}


def signal(name: str) -> Signal:
    """The signal of that name; an unknown one is refused with the names there are."""
    if name not in SIGNALS:
        raise PolyfieldError(f"signal {name!r} is unknown; expected one of {', '.join(SIGNALS)}")
    return SIGNALS[name]
