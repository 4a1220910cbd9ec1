"""Compositing of packed samples. A lane for each ray visits its samples front to back."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels import reference
from polyfield.kernels.cuda.launch import launch
from polyfield.kernels.once import once
from polyfield.kernels.operations import Composite
from polyfield.kernels.samples import RaySamples

_BLOCK = 64  # rays


@triton.jit
def transmittance_kernel(offsets, counts, density, dt, out, rays, BLOCK: tl.constexpr):
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(offsets + ray, mask=ray < rays, other=0)
    count = tl.load(counts + ray, mask=ray < rays, other=0)
    depth = tl.zeros((BLOCK,), tl.float32)
    k, most = 0, tl.max(count)
    while k < most:
        here = k < count
        at = first + k
        tl.store(out + at, tl.exp(-depth), mask=here)
        depth += tl.load(density + at, mask=here, other=0.0) * tl.load(dt + at, mask=here, other=0.0)
        k += 1


@triton.jit
def composite_kernel(offsets, counts, t, dt, density, colour, sums, weights, rays, BLOCK: tl.constexpr):
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(offsets + ray, mask=ray < rays, other=0)
    count = tl.load(counts + ray, mask=ray < rays, other=0)
    light = tl.full((BLOCK,), 1.0, tl.float32)
    red, green, blue = tl.zeros_like(light), tl.zeros_like(light), tl.zeros_like(light)
    opacity, distance = tl.zeros_like(light), tl.zeros_like(light)
    k, most = 0, tl.max(count)
    while k < most:
        here = k < count
        at = first + k
        depth = tl.load(density + at, mask=here, other=0.0) * tl.load(dt + at, mask=here, other=0.0)
        passed = tl.exp(-depth)
        weight = light * (1 - passed)
        light *= passed
        tl.store(weights + at, weight, mask=here)
        red += weight * tl.load(colour + at * 3, mask=here, other=0.0)
        green += weight * tl.load(colour + at * 3 + 1, mask=here, other=0.0)
        blue += weight * tl.load(colour + at * 3 + 2, mask=here, other=0.0)
        opacity += weight
        distance += weight * tl.load(t + at, mask=here, other=0.0)
        k += 1
    to = sums + ray * 5
    tl.store(to, red, mask=ray < rays)
    tl.store(to + 1, green, mask=ray < rays)
    tl.store(to + 2, blue, mask=ray < rays)
    tl.store(to + 3, opacity, mask=ray < rays)
    tl.store(to + 4, distance, mask=ray < rays)


@triton.jit
def composite_backward_kernel(
    offsets,
    counts,
    t,
    dt,
    density,
    colour,
    weights,
    to_sums,
    to_weights,
    to_density,
    to_colour,
    rays,
    BLOCK: tl.constexpr,
):
    """Write gradients.

    With v_i the gradient to weight w_i: dL/ddensity_i = dt_i (T_{i+1} v_i - sum_{j > i} w_j v_j).
    """
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(offsets + ray, mask=ray < rays, other=0)
    count = tl.load(counts + ray, mask=ray < rays, other=0)
    g = to_sums + ray * 5
    red = tl.load(g, mask=ray < rays, other=0.0)
    green = tl.load(g + 1, mask=ray < rays, other=0.0)
    blue = tl.load(g + 2, mask=ray < rays, other=0.0)
    opacity = tl.load(g + 3, mask=ray < rays, other=0.0)
    distance = tl.load(g + 4, mask=ray < rays, other=0.0)
    behind = tl.zeros((BLOCK,), tl.float32)
    most = tl.max(count)
    light = tl.full((BLOCK,), 1.0, tl.float32)  # transmittance behind all of the ray's samples
    k = 0
    while k < most:
        here = k < count
        at = first + k
        depth = tl.load(density + at, mask=here, other=0.0) * tl.load(dt + at, mask=here, other=0.0)
        light *= tl.exp(-depth)
        k += 1
    # From back to front, so that the part behind is a sum, not a difference.
    k = 0
    while k < most:
        at = first + (count - 1 - k)
        here = k < count
        weight = tl.load(weights + at, mask=here, other=0.0)
        length = tl.load(dt + at, mask=here, other=0.0)
        value = opacity + distance * tl.load(t + at, mask=here, other=0.0)
        value += tl.load(to_weights + at, mask=here, other=0.0)
        value += red * tl.load(colour + at * 3, mask=here, other=0.0)
        value += green * tl.load(colour + at * 3 + 1, mask=here, other=0.0)
        value += blue * tl.load(colour + at * 3 + 2, mask=here, other=0.0)
        tl.store(to_density + at, length * (light * value - behind), mask=here)
        tl.store(to_colour + at * 3, red * weight, mask=here)
        tl.store(to_colour + at * 3 + 1, green * weight, mask=here)
        tl.store(to_colour + at * 3 + 2, blue * weight, mask=here)
        behind += weight * value
        light += weight  # T_i = T_{i+1} + w_i
        k += 1


def transmittance(samples: RaySamples, density: Tensor) -> Tensor:
    if torch.is_grad_enabled() and (density.requires_grad or samples.dt.requires_grad):
        return reference.transmittance(samples, density)  # the kernel has no gradient
    out = torch.empty_like(density)
    offsets, counts, _, dt = _packing(samples)
    launch(
        transmittance_kernel,
        samples.rays,
        _BLOCK,
        offsets,
        counts,
        density.contiguous(),
        dt,
        out,
        samples.rays,
    )
    return out


def composite(samples: RaySamples, density: Tensor, colour: Tensor) -> Composite:
    if samples.t.requires_grad or samples.dt.requires_grad:
        return reference.composite(samples, density, colour)  # the kernel has gradients to density and colour
    sums, weights = _Composite.apply(density, colour, samples)
    return Composite(sums[:, :3], sums[:, 3], sums[:, 4], weights)


def _packing(samples: RaySamples) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        samples.offsets.contiguous(),
        samples.counts.contiguous(),
        samples.t.contiguous(),
        samples.dt.contiguous(),
    )


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, density: Tensor, colour: Tensor, samples: RaySamples) -> tuple[Tensor, Tensor]:
        density, colour = density.contiguous(), colour.contiguous()
        packing = _packing(samples)
        sums, weights = density.new_empty(samples.rays, 5), torch.empty_like(density)
        launch(
            composite_kernel,
            samples.rays,
            _BLOCK,
            *packing,
            density,
            colour,
            sums,
            weights,
            samples.rays,
        )
        ctx.packing, ctx.rays = packing, samples.rays
        ctx.save_for_backward(density, colour, weights)
        return sums, weights

    @staticmethod
    @once
    def backward(ctx: Any, to_sums: Tensor, to_weights: Tensor) -> tuple[Tensor, Tensor, None]:
        density, colour, weights = ctx.saved_tensors
        to_density, to_colour = torch.empty_like(density), torch.empty_like(colour)
        launch(
            composite_backward_kernel,
            ctx.rays,
            _BLOCK,
            *ctx.packing,
            density,
            colour,
            weights,
            to_sums.contiguous(),
            to_weights.contiguous(),
            to_density,
            to_colour,
            ctx.rays,
        )
        return to_density, to_colour, None
