"""Length and learning rate of a fit, by steps or by seconds of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

_WARM_UP = 0.01  # share of the fit in which the learning rate rises
_LAST = 0.02  # learning rate at the end, as a share of the highest


@dataclass(frozen=True)
class Length:
    """Exactly one of the two is given."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, step: int, seconds: float) -> float:
        """Return the progress in [0, 1] after this many steps and seconds."""
        if self.steps is not None:
            return min(step / self.steps, 1.0)
        assert self.seconds is not None
        return min(seconds / self.seconds, 1.0)


def learning_rate(progress: float) -> float:
    """Return the factor of the learning rate: a short rise, then half a cosine."""
    rise = min(1.0, (progress + 1e-3) / _WARM_UP)
    return rise * (_LAST + (1 - _LAST) * (1 + math.cos(math.pi * progress)) / 2)
