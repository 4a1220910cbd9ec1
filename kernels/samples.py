"""RaySamples: the samples of many rays, packed one ray after the other without padding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RaySamples:
    """C samples on R rays, in order of ray and then of distance.

    The buffers' length is their capacity; on the CPU it equals `total`. Ray r has the samples
    offsets[r] to offsets[r] + counts[r].
    """

    t: Tensor  # (C,) distance along the ray
    dt: Tensor  # (C,) length of the ray's part that the sample represents
    ray: Tensor  # (C,) int64 index of its ray
    counts: Tensor  # (R,) int64
    offsets: Tensor  # (R,) int64

    @staticmethod
    def pack(t: Tensor, dt: Tensor, ray: Tensor, rays: int) -> RaySamples:
        """Return samples from t, dt, ray (C,), already in order of ray."""
        counts = torch.bincount(ray, minlength=rays)
        return RaySamples(t, dt, ray, counts, counts.cumsum(0) - counts)

    @staticmethod
    def join(parts: Iterable[tuple[Tensor, Tensor, Tensor]]) -> RaySamples:
        """Return one set of rays from several, such as a bank's, each given as t, dt (C,) and counts (R,)."""
        t, dt, counts = (torch.cat(column) for column in zip(*parts))
        ray = torch.repeat_interleave(torch.arange(len(counts), device=t.device), counts)
        return RaySamples(t, dt, ray, counts, counts.cumsum(0) - counts)

    @property
    def total(self) -> Tensor:
        """The number of samples in the buffers, on their device."""
        return self.counts.sum()

    @property
    def rays(self) -> int:
        return self.counts.shape[0]

    def __len__(self) -> int:
        return self.t.shape[0]

    def select(self, keep: Tensor) -> RaySamples:
        """Return the samples where keep (C,) is true."""
        return RaySamples.pack(self.t[keep], self.dt[keep], self.ray[keep], self.rays)
