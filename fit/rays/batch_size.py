"""How large a training step is: as many rays as bring its samples near what a step should have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class StepSize:
    """Small steps at first, which teach most for their time, and larger ones later, whose gradients are less noisy."""

    rays: tuple[int, int]  # fewest and most
    first_rays: int
    shaded: tuple[int, int]  # samples that go through the whole field, at first and at the end
    evaluated: int  # samples whose density is asked, at most

    def wanted(self, progress: float) -> float:
        """How many samples should go through the whole field when a fit has come so far, in [0, 1]."""
        first, last = self.shaded
        return first * (last / first) ** progress

    def next_rays(self, rays: Tensor, evaluated: Tensor, shaded: Tensor, wanted: Tensor) -> Tensor:
        """The next step's rays after one of so many rays and samples, all of them whole numbers of one shape."""
        scale = torch.minimum(wanted / shaded.clamp(min=1), self.evaluated / evaluated.double().clamp(min=1))
        rays = (rays * scale.clamp(max=2.0) / 16).round() * 16
        return rays.clamp(*self.rays).long()

    @property
    def room(self) -> tuple[int, int]:
        """Samples to have room for whose density is asked, and that go through the whole field: rays vary."""
        return 2 * self.evaluated, 2 * max(self.shaded)


# On the CPU small batches come farther in the same time; a GPU is busy with large ones only.
CPU = StepSize(rays=(512, 1 << 16), first_rays=1024, shaded=(1 << 12, 1 << 14), evaluated=1 << 16)
GPU = StepSize(rays=(512, 1 << 16), first_rays=4096, shaded=(1 << 16, 1 << 18), evaluated=1 << 20)
