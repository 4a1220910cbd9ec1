"""Batch sizes: the number of rays follows from the number of samples that a step should have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchSize:
    """The size of batches: small at first, for more steps, and larger later, for less noise in gradients."""

    rays: tuple[int, int]  # fewest and most
    first_rays: int
    shaded: tuple[int, int]  # samples that go through the whole field, at first and at the end
    evaluated: int  # samples whose density is evaluated, at most

    def wanted(self, progress: float) -> float:
        """Return how many samples should go through the whole field at this progress in [0, 1]."""
        first, last = self.shaded
        return first * (last / first) ** progress

    def next_rays(self, rays: Tensor, evaluated: Tensor, shaded: Tensor, wanted: Tensor) -> Tensor:
        """Return the next step's rays from the last step's rays and samples, whole numbers of one shape."""
        scale = torch.minimum(wanted / shaded.clamp(min=1), self.evaluated / evaluated.double().clamp(min=1))
        rays = (rays * scale.clamp(max=2.0) / 16).round() * 16
        return rays.clamp(*self.rays).long()

    @property
    def capacity(self) -> tuple[int, int]:
        """Capacity of a queued step's buffers, in samples evaluated and shaded.

        It is twice the wanted numbers, because rays vary.
        """
        return 2 * self.evaluated, 2 * max(self.shaded)


# On a CPU small batches give better fields in the same time; only large ones keep a GPU busy.
CPU = BatchSize(rays=(512, 1 << 16), first_rays=1024, shaded=(1 << 12, 1 << 14), evaluated=1 << 16)
GPU = BatchSize(rays=(512, 1 << 16), first_rays=4096, shaded=(1 << 16, 1 << 18), evaluated=1 << 20)
