"""Compositing of packed samples."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.kernels.operations import Composite
from polyfield.kernels.samples import RaySamples


def transmittance(samples: RaySamples, density: Tensor) -> Tensor:
    # One running sum serves all rays; double precision keeps the digits when a ray's start is subtracted.
    depth = (density * samples.dt).double()
    before = depth.cumsum(0) - depth
    at_start = before[samples.offsets.clamp(max=max(len(samples) - 1, 0))] if len(samples) else before
    return torch.exp(at_start[samples.ray] - before).to(density.dtype)


def composite(samples: RaySamples, density: Tensor, colour: Tensor) -> Composite:
    weights = transmittance(samples, density) * -torch.expm1(-density * samples.dt)
    columns = torch.cat((colour, torch.ones_like(weights)[:, None], samples.t[:, None].to(density.dtype)), 1)
    sums = columns.new_zeros(samples.rays, 5).index_add(0, samples.ray, columns * weights[:, None])
    return Composite(sums[:, :3], sums[:, 3], sums[:, 4], weights)
