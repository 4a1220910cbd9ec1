"""Compositing of packed samples, ray by ray."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels import reference
from polyfield.kernels.native.arrays import like, plain
from polyfield.kernels.once import once
from polyfield.kernels.operations import Composite
from polyfield.kernels.samples import RaySamples

Packing = tuple[Tensor, Tensor, Tensor, Tensor]


def transmittance(samples: RaySamples, density: Tensor) -> Tensor:
    if torch.is_grad_enabled() and (density.requires_grad or samples.dt.requires_grad):
        return reference.transmittance(samples, density)  # the kernel has no gradient
    offsets, counts, _, dt = _packing(samples)
    out = like(density)
    _core.transmittance(offsets, counts, plain(density), dt, out)
    return out


def composite(samples: RaySamples, density: Tensor, colour: Tensor) -> Composite:
    if samples.t.requires_grad or samples.dt.requires_grad:
        return reference.composite(
            samples, density, colour
        )  # the kernel has gradients to density and colour alone
    sums, weights = _Composite.apply(density, colour, samples)
    return Composite(sums[:, :3], sums[:, 3], sums[:, 4], weights)


def _packing(samples: RaySamples) -> Packing:
    """Return offsets, counts, t and dt."""
    return plain(samples.offsets), plain(samples.counts), plain(samples.t), plain(samples.dt)


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density: Tensor, colour: Tensor, samples: RaySamples) -> tuple[Tensor, Tensor]:
        density, colour = plain(density), plain(colour)
        ctx.save_for_backward(density, colour)
        ctx.packing = packing = _packing(samples)
        sums, weights = density.new_empty(samples.rays, 5), like(density)
        _core.composite(*packing, density, colour, sums, weights)
        return sums, weights

    @staticmethod
    @once
    def backward(ctx, to_sums: Tensor, to_weights: Tensor) -> tuple[Tensor, Tensor, None]:
        density, colour = ctx.saved_tensors
        to_density, to_colour = like(density), like(colour)
        packing: Packing = ctx.packing
        _core.composite_backward(
            *packing, density, colour, plain(to_sums), plain(to_weights), to_density, to_colour
        )
        return to_density, to_colour, None
