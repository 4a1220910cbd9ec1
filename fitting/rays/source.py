"""Ray sources: targets along rays, and a pool that returns their rays in slices.

Drawing rays takes many small operations. For a small step these would cost more than its kernels.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.fitting.runs.restoring import joined, part
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

    ranges: ClassVar[dict[str, tuple[float, float]]] = {}  # least and most of the numbers in its state
    waits: bool = False  # whether drawing makes the host wait for a GPU, so that steps cannot be queued

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
    """The rays of a source, drawn POOL at a time.

    A source that learns is in another state when a pool is used up than when it was drawn. A checkpoint holds both, so that
    the same pool can be drawn again.
    """

    def __init__(self, source: RaySource, seed: int) -> None:
        self._source, self._seed = source, seed
        self._pool: tuple[int, Batch] | None = None
        self._drawn_from = self._snapshot()  # the source's state when the pool was drawn
        self.position = (0, 0)  # the pool's number, and the rays of it that were taken

    @torch.no_grad()
    def take(self, count: int) -> Batch:
        """Return the next `count` rays. If a pool has too few left, these are skipped."""
        pool, taken = self.position
        if taken + count > POOL:
            pool, taken = pool + 1, 0
        self.position = (pool, taken + count)
        if self._pool is None or self._pool[0] != pool:
            self._drawn_from = self._snapshot()
            self._pool = (pool, self._source.draw(POOL, seed=self._seed, step=pool))
        return self._pool[1][taken : taken + count]

    def tensors(self) -> dict[str, Tensor]:
        """Return the source's tensors, now and when the pool was drawn."""
        return joined(source=self._source.tensors(), drawn_from=self._drawn_from[0])

    def state(self) -> dict[str, Any]:
        """Return the position and the source's state, now and when the pool was drawn."""
        pool, taken = self.position
        drawn_from = self._drawn_from[1]
        return {"pool": pool, "rays": taken, "source": self._source.state(), "drawn_from": drawn_from}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Restore what `tensors` and `state` returned."""
        self.position = pool, taken = state["pool"], state["rays"]
        self._pool = None
        self._source.restore(part(tensors, "drawn_from"), state["drawn_from"])
        self._drawn_from = self._snapshot()
        if taken:
            self._pool = (pool, self._source.draw(POOL, seed=self._seed, step=pool))
        self._source.restore(part(tensors, "source"), state["source"])

    def _snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {name: tensor.clone() for name, tensor in self._source.tensors().items()}
        return tensors, copy.deepcopy(self._source.state())


def with_noise(rays: Rays, target: Tensor, odds: Tensor, *, seed: int, step: int | Tensor) -> Batch:
    """Return a batch with random jitter and random backgrounds."""

    def numbers(stream: str, *shape: int) -> Tensor:
        return uniform(shape, seed=seed, stream=stream, step=step, device=target.device)

    count = len(target)
    return Batch(rays, target, odds, numbers("jitter", count), numbers("background", count, 3))
