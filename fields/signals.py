"""Signals: what a field's values mean, and the one transform from the stored value to the meant one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError

_MOST = 1e37  # of scale and offset: beyond, values are no float32
# And the widest clamp of each: beyond, exp is no float32.
_FUNCTIONS = {"exp": 80.0, "identity": 1e9, "sigmoid": 80.0}


@dataclass(frozen=True)
class ValueTransform:
    """value = offset + scale * function(clamp(raw)).

    Losses live on raw: there `exp` is in log space, `sigmoid` in logits, and distances do not hang on the source's unit.
    """

    function: str  # "exp", "identity" or "sigmoid"
    clamp: tuple[float, float]  # raw is held inside; gradients pass straight through
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.scale <= _MOST and -_MOST <= self.offset <= _MOST):
            raise PolyfieldError(
                f"transform: scale is {self.scale:g}, offset {self.offset:g}; expected a scale from 0 to {_MOST:g}, an "
                f"offset within {_MOST:g}: rescale the source"
            )

    def __call__(self, raw: Tensor) -> Tensor:
        """raw to value, of any shape."""
        value = raw + (raw.clamp(*self.clamp) - raw).detach()
        if self.function == "exp":
            value = value.exp()
        elif self.function == "sigmoid":
            value = value.sigmoid()
        return value if (self.scale, self.offset) == (1.0, 0.0) else value * self.scale + self.offset

    def inverse(self, value: Tensor) -> Tensor:
        """value to raw, inside the clamp."""
        plain = (value - self.offset) / self.scale
        if self.function == "exp":
            plain = plain.log()
        elif self.function == "sigmoid":
            plain = torch.logit(plain)
        return plain.clamp(*self.clamp)

    @property
    def range(self) -> tuple[float, float]:
        """The values of raw 0 and 1, where there is no function between."""
        return self.offset, self.offset + self.scale

    def to_json(self) -> dict:
        return {
            "function": self.function,
            "clamp": list(self.clamp),
            "scale": self.scale,
            "offset": self.offset,
        }

    @staticmethod
    def from_json(data: object) -> ValueTransform:
        match data:
            case {
                "function": str(function),
                "clamp": [int() | float() as low, int() | float() as high],
                "scale": int() | float() as scale,
                "offset": int() | float() as offset,
            } if function in _FUNCTIONS:
                widest = _FUNCTIONS[function]
                if -widest <= low < high <= widest:
                    return ValueTransform(function, (float(low), float(high)), float(scale), float(offset))
        raise PolyfieldError(
            f"field spec: transform {data!r:.200} is unknown; expected function {', '.join(_FUNCTIONS)}, a clamp "
            "[low, high], a scale above 0 and an offset"
        )


@dataclass(frozen=True)
class Signal:
    """What a query gives."""

    name: str
    dimensions: int  # of its points
    transform: ValueTransform  # of its raw value
    channels: int | None  # of a point's value, or None: as many as the source has
    output: str  # which part of FieldOutput holds the value, beside a radiance field's colour


# exp(-15) of a density is empty and exp(15) opaque at any step size, and neither overflows.
_DENSITY = ValueTransform("exp", (-15.0, 15.0))
_PLAIN = ValueTransform("identity", (-1e6, 1e6))
SIGNALS = {
    signal.name: signal
    for signal in (
        Signal("radiance", 3, _DENSITY, 3, "density"),
        Signal("image", 2, _PLAIN, None, "colour"),
        Signal("sdf", 3, _PLAIN, 1, "distance"),
        Signal("udf", 3, ValueTransform("identity", (0.0, 1e6)), 1, "distance"),
        Signal("occupancy", 3, ValueTransform("sigmoid", (-15.0, 15.0)), 1, "occupancy"),
        Signal("volume", 3, _PLAIN, None, "colour"),
    )
}
MOST_CHANNELS = 64


def signal(name: str) -> Signal:
    """The signal of that name; an unknown one is refused with the names there are."""
    if name not in SIGNALS:
        raise PolyfieldError(f"signal {name!r} is unknown; expected one of {', '.join(SIGNALS)}")
    return SIGNALS[name]
