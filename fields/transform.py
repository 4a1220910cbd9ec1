"""ValueTransform: the map from a field's raw values to the values they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError

_MOST = 1e37  # of scale and offset: beyond, values are no float32
# And the widest clamp of each: beyond, exp is no float32.
_FUNCTIONS = {"exp": 80.0, "identity": 1e9, "sigmoid": 80.0}


@dataclass(frozen=True)
class ValueTransform:
    """The one map from a field's raw values to the values they mean: offset + scale * function(clamp(raw)).

    Losses compare raw values: there `exp` is in log space, `sigmoid` in logits, and distances do not depend on the source's unit.

    >>> ValueTransform("identity", (-1e6, 1e6), scale=2.0, offset=1.0)(torch.tensor([0.0, 3.0])).tolist()
    [1.0, 7.0]
    """

    function: str  # "exp", "identity" or "sigmoid"
    clamp: tuple[float, float]  # raw is held inside; gradients pass straight through
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (1 / _MOST <= self.scale <= _MOST and -_MOST <= self.offset <= _MOST):
            raise PolyfieldError(
                f"transform: scale is {self.scale:g} and offset is {self.offset:g}; "
                f"expected a scale from {1 / _MOST:g} to {_MOST:g} and an offset from {-_MOST:g} to {_MOST:g}; "
                "rescale the values of the source"
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

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` takes back."""
        return {
            "function": self.function,
            "clamp": list(self.clamp),
            "scale": self.scale,
            "offset": self.offset,
        }

    @staticmethod
    def from_json(data: object) -> ValueTransform:
        """Return the transform that `to_json` wrote. Raises PolyfieldError for anything else."""
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
            f"field spec: transform is {data!r:.200}; expected a function ({', '.join(_FUNCTIONS)}), a clamp "
            f"[low, high] with low < high, both from -{_FUNCTIONS['exp']:g} to {_FUNCTIONS['exp']:g} "
            f"(identity: from -{_FUNCTIONS['identity']:g} to {_FUNCTIONS['identity']:g}), a scale above 0 and an "
            "offset; restore the file, or fit again"
        )
