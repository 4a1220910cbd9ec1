"""Compositing of packed samples, ray by ray."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from polyfield import _core
from polyfield.kernels.native.arrays import like, plain
from polyfield.kernels.operations import Composite
from polyfield.kernels.samples import RaySamples


def transmittance(samples: RaySamples, density: Tensor) -> Tensor:
    out = like(density)
    _core.transmittance(samples.offsets, samples.counts, plain(density), samples.dt, out)
    return out


def composite(samples: RaySamples, density: Tensor, colour: Tensor) -> Composite:
    sums, weights = _Composite.apply(density, colour, samples)
    return Composite(sums[:, :3], sums[:, 3], sums[:, 4], weights)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density: Tensor, colour: Tensor, samples: RaySamples) -> tuple[Tensor, Tensor]:
        density, colour = plain(density), plain(colour)
        ctx.save_for_backward(density, colour)
        ctx.samples = samples
        sums, weights = density.new_empty(samples.rays, 5), like(density)
        _core.composite(
            samples.offsets, samples.counts, samples.t, samples.dt, density, colour, sums, weights
        )
        return sums, weights

    @staticmethod
    @once_differentiable
    def backward(ctx, to_sums: Tensor, to_weights: Tensor) -> tuple[Tensor, Tensor, None]:
        density, colour = ctx.saved_tensors
        samples = ctx.samples
        to_density, to_colour = like(density), like(colour)
        _core.composite_backward(
            *(samples.offsets, samples.counts, samples.t, samples.dt, density, colour),
            *(plain(to_sums), plain(to_weights), to_density, to_colour),
        )
        return to_density, to_colour, None
