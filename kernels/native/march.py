"""Marching. The samples are found in one pass, and then copied into tensors of their number."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels.native.arrays import plain
from polyfield.kernels.samples import RaySamples


def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    *,
    step: float,
    cone: float,
    jitter: Tensor,
) -> RaySamples:
    banks = (
        zip(origins, directions, near, far, jitter, occupancy)
        if origins.dim() == 3
        else [(origins, directions, near, far, jitter, occupancy)]
    )
    return RaySamples.join(_march_one(*map(plain, bank), step=step, cone=cone) for bank in banks)


def _march_one(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    jitter: Tensor,
    occupancy: Tensor,
    *,
    step: float,
    cone: float,
) -> tuple[Tensor, Tensor, Tensor]:
    grid = _core.Occupancy(occupancy.view(torch.uint8))
    counts = torch.empty(len(origins), dtype=torch.int64)
    found = _core.March(origins, directions, near, far, jitter, step, cone, grid, counts)
    t, dt = torch.empty(2, int(counts.sum()))
    found.write(t, dt)
    return t, dt, counts
