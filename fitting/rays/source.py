"""Ray sources: targets along rays, and a pool that returns their rays in slices.

Drawing rays takes many small operations. For a small step these would cost more than its kernels.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.kernels import uniform

POOL = 1 << 16  # rays drawn at a time, and the most rays of a step


@dataclass(frozen=True)
class Batch:
    """R rays and their targets. A source may return a subclass with tensors (R, ...) of its own."""

    rays: Rays
    target: Tensor  # (R, 4) premultiplied RGBA
    odds: Tensor  # (R,) probability of drawing the ray, relative to uniform drawing
    jitter: Tensor  # (R,) in [0, 1)
    background: Tensor  # (R, 3) to compare on

    def __getitem__(self, index: slice) -> Self:
        names = [field.name for field in dataclasses.fields(self)]
        return type(self)(**{name: getattr(self, name)[index] for name in names})


class RaySource(ABC):
    """Rays with their targets. Photographs are one source; a teacher's pictures are another."""

    @abstractmethod
    def draw(self, count: int, *, seed: int, step: int | Tensor) -> Batch:
        """Return `count` rays, the same for the same seed and step.

        If step is a tensor on a GPU, the draw is queued, and the host must not wait.
        """

    def learn(self, batch: Batch, errors: Tensor) -> None:
        """Take the squared errors (R,) of a batch, or of part of it, after its step."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint needs so that drawing and learning can continue."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return the rest of the state, as plain data."""
        return {}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Restore what `tensors` and `state` returned."""


class RayPool:
    """The rays of a source, drawn POOL at a time. `position` is its only state beside the source's own."""

    def __init__(self, source: RaySource, seed: int) -> None:
        self._source, self._seed = source, seed
        self._pool: tuple[int, Batch] | None = None
        self.position = (0, 0)  # the pool's number, and the rays of it that were taken

    @torch.no_grad()
    def take(self, count: int) -> Batch:
        """Return the next `count` rays. If a pool has too few left, these are skipped."""
        pool, taken = self.position
        if taken + count > POOL:
            pool, taken = pool + 1, 0
        self.position = (pool, taken + count)
        if self._pool is None or self._pool[0] != pool:
            self._pool = (pool, self._source.draw(POOL, seed=self._seed, step=pool))
        return self._pool[1][taken : taken + count]


def with_noise(rays: Rays, target: Tensor, odds: Tensor, *, seed: int, step: int | Tensor) -> Batch:
    """Return a batch with random jitter and random backgrounds."""

    def numbers(stream: str, *shape: int) -> Tensor:
        return uniform(shape, seed=seed, stream=stream, step=step, device=target.device)

    count = len(target)
    return Batch(rays, target, odds, numbers("jitter", count), numbers("background", count, 3))
