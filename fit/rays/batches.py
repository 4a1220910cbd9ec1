"""Batches: the rays of a fit's steps, drawn some ten thousand at a time and handed out in slices.

To draw rays takes many small operations, which would cost a small step more than its kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.fit.rays.pixels import PixelStore
from polyfield.kernels import uniform

POOL = 1 << 16  # rays drawn at a time, and the most of a step


@dataclass(frozen=True)
class Batch:
    """R rays and what they should show."""

    rays: Rays
    target: Tensor  # (R, 4) premultiplied RGBA
    odds: Tensor  # (R,) how many times as likely as if all pixels were drawn alike
    jitter: Tensor  # (R,) in [0, 1)
    background: Tensor  # (R, 3) to compare on

    def __getitem__(self, part: slice) -> Batch:
        return Batch(
            self.rays[part],
            self.target[part],
            self.odds[part],
            self.jitter[part],
            self.background[part],
        )


class Batches:
    """Pool number p is a function of the seed and p alone, so `position` is all the state there is."""

    def __init__(self, pixels: PixelStore, seed: int) -> None:
        self._pixels, self._seed = pixels, seed
        self._pool: tuple[int, Batch] | None = None
        self.position = (0, 0)  # pool, rays of it that are gone

    def take(self, count: int) -> Batch:
        """The next `count` rays; what is left of a pool that has too few is passed over."""
        pool, gone = self.position
        if gone + count > POOL:
            pool, gone = pool + 1, 0
        self.position = (pool, gone + count)
        if self._pool is None or self._pool[0] != pool:
            self._pool = (pool, draw(self._pixels, POOL, seed=self._seed, step=pool))
        return self._pool[1][gone : gone + count]


@torch.no_grad()
def draw(pixels: PixelStore, count: int, *, seed: int, step: int | Tensor) -> Batch:
    """`count` rays. The same for the same seed and step, which may stand on a GPU."""
    rays, target, odds = pixels.draw(count, seed=seed, step=step)

    def numbers(stream: str, *shape: int) -> Tensor:
        return uniform(shape, seed=seed, stream=stream, step=step, device=target.device)

    return Batch(rays, target, odds, numbers("jitter", count), numbers("background", count, 3))
