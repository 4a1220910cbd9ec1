"""Rays: half-lines from cameras through their pixels. Distances along them are in units of the source."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Rays:
    """Half-lines x(t) = origin + t * direction. Directions have unit length, so t is a distance."""

    origins: Tensor  # (R, 3)
    directions: Tensor  # (R, 3), unit length
    times: Tensor | None = None  # (R,) in [0, 1], of a moving scene

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index: slice | Tensor) -> Rays:
        times = None if self.times is None else self.times[index]
        return Rays(self.origins[index], self.directions[index], times)
