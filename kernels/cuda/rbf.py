"""Radial basis functions: the search for the nearest centres among all, sums of kernels, gradients to weights and points."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels.cuda.interpolate import add
from polyfield.kernels.cuda.launch import launch
from polyfield.kernels.once import once
from polyfield.kernels.reference.rbf import TINY
from polyfield.kernels.tree import Tree

_BLOCK = 64  # points
_SEARCHED = 32  # points of a search at once, and centres that they are compared with
_MOST = 1 << 10  # points in the interpreter's blocks
_TINY = tl.constexpr(TINY)


@triton.jit
def nearest_kernel(
    points,
    centres,
    out,
    count,
    found,  # centres
    D: tl.constexpr,
    K: tl.constexpr,
    WIDTH: tl.constexpr,  # K rounded up to a power of two
    TILE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < count
    slot = tl.arange(0, WIDTH)[None, :]
    # Slots beyond K begin as nearer than anything, so nothing takes their place.
    best = tl.where((point[:, None] * 0 + slot) < K, float("inf"), -1.0)
    index = (point[:, None] * 0 + slot * 0).to(tl.int32)
    start = 0
    while start < found:
        centre = start + tl.arange(0, TILE)
        squares = tl.zeros((BLOCK, TILE), tl.float32)
        for d in tl.static_range(D):
            x = tl.load(points + point * D + d, mask=inside, other=0.0)
            c = tl.load(centres + centre * D + d, mask=centre < found, other=float("inf"))
            squares += (x[:, None] - c[None, :]) * (x[:, None] - c[None, :])
        least, worst = tl.min(squares, 1), tl.max(best, 1)
        while tl.sum((least < worst).to(tl.int32), 0) > 0:
            at = tl.argmin(squares, 1)
            takes = (slot == tl.argmax(best, 1)[:, None]) & (least < worst)[:, None]
            best = tl.where(takes, least[:, None], best)
            index = tl.where(takes, (start + at)[:, None], index)
            squares = tl.where(tl.arange(0, TILE)[None, :] == at[:, None], float("inf"), squares)
            least, worst = tl.min(squares, 1), tl.max(best, 1)
        start += TILE
    best = tl.where(slot < K, best, float("inf"))
    for k in tl.static_range(K):  # the nearest first
        chosen = slot == tl.argmin(best, 1)[:, None]
        tl.store(out + point * K + k, tl.sum(tl.where(chosen, index, 0), 1), mask=inside)
        best = tl.where(chosen, float("inf"), best)


@triton.jit
def _sine(x, k):
    """Return sin of x by its distance to the multiple k of pi, which may be a half one for the cosine.

    tl.sin has a branch for large numbers, which needs a stack.
    """
    r = ((x - k * 3.140625) - k * 9.67502594e-4) - k * 1.50995788e-7
    s = r * r
    p = (-2.50521084e-8 * s + 2.75573192e-6) * s - 1.98412698e-4
    return r + r * s * ((p * s + 8.33333333e-3) * s - 1.66666667e-1)


@triton.jit
def _sin(x):
    k = tl.floor(x * 0.318309886 + 0.5)
    return tl.where((k.to(tl.int32) & 1) == 1, -1.0, 1.0) * _sine(x, k)


@triton.jit
def _cos(x):
    k = tl.floor(x * 0.318309886 + 1.0)
    return tl.where((k.to(tl.int32) & 1) == 1, -1.0, 1.0) * _sine(x, k - 0.5)


@triton.jit
def _scaled(
    points, centres, shapes, point, inside, kernel, there, d: tl.constexpr, D: tl.constexpr, S: tl.constexpr
):
    """Return coordinate d (BLOCK, WIDTH) of A (x - centre)."""
    y = kernel.to(tl.float32) * 0
    for e in tl.static_range(D):
        if e == d or (e > d and S > 1):
            x = tl.load(points + point * D + e, mask=inside, other=0.0)[:, None]
            away = x - tl.load(centres + kernel * D + e, mask=there, other=0.0)
            place = 0 if S == 1 else d * D - d * (d - 1) // 2 + e - d
            y += tl.load(shapes + kernel * S + place, mask=there, other=0.0) * away
    return y


@triton.jit
def _shares(
    points,
    neighbours,
    centres,
    shapes,
    point,
    inside,
    D: tl.constexpr,
    S: tl.constexpr,
    K: tl.constexpr,
    WIDTH: tl.constexpr,
    LINEAR: tl.constexpr,
):
    """Return the kernels that points see (BLOCK, WIDTH), which of these there are, their heights, and the sums (BLOCK,)."""
    slot = tl.arange(0, WIDTH)[None, :]
    there = inside[:, None] & (slot < K)
    kernel = tl.load(neighbours + point[:, None] * K + slot, mask=there, other=0).to(tl.int64)
    height = kernel.to(tl.float32) * 0 + 1
    for d in tl.static_range(D):
        y = _scaled(points, centres, shapes, point, inside, kernel, there, d, D, S)
        if LINEAR:
            height *= tl.maximum(1 - tl.abs(y), 0.0)
        else:
            height += y * y
    if not LINEAR:
        height = 1 / height
    height = tl.where(there, height, 0.0)
    return kernel, there, height, tl.sum(height, 1) + _TINY


@triton.jit
def _waves(share, multipliers, column, F: tl.constexpr, WAVES: tl.constexpr):
    """Return shares (BLOCK, WIDTH) as (BLOCK, WIDTH, 1), or their sines at each multiplier (BLOCK, WIDTH, COLUMNS)."""
    waves = share[:, :, None]
    if WAVES:
        waves = _sin(waves * tl.load(multipliers + column, mask=column < F, other=0.0)[None, None, :])
    return waves


@triton.jit
def rbf_kernel(
    weights,
    points,
    neighbours,
    centres,
    shapes,
    multipliers,
    out,
    count,
    D: tl.constexpr,
    S: tl.constexpr,  # numbers of a shape
    K: tl.constexpr,
    WIDTH: tl.constexpr,
    F: tl.constexpr,
    COLUMNS: tl.constexpr,  # F rounded up to a power of two
    WAVES: tl.constexpr,
    LINEAR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < count
    kernel, there, height, total = _shares(
        points, neighbours, centres, shapes, point, inside, D, S, K, WIDTH, LINEAR
    )
    column = tl.arange(0, COLUMNS)
    share = _waves(height / total[:, None], multipliers, column, F, WAVES)
    here = there[:, :, None] & (column < F)[None, None, :]
    weight = tl.load(weights + kernel[:, :, None] * F + column[None, None, :], mask=here, other=0.0)
    to = point[:, None] * F + column[None, :]
    tl.store(out + to, tl.sum(share * weight, 1), mask=inside[:, None] & (column < F)[None, :])


@triton.jit
def rbf_to_weights_kernel(
    points,
    neighbours,
    centres,
    shapes,
    multipliers,
    gradient,
    to_weights,
    count,
    D: tl.constexpr,
    S: tl.constexpr,
    K: tl.constexpr,
    WIDTH: tl.constexpr,
    F: tl.constexpr,
    COLUMNS: tl.constexpr,
    WAVES: tl.constexpr,
    LINEAR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < count
    kernel, there, height, total = _shares(
        points, neighbours, centres, shapes, point, inside, D, S, K, WIDTH, LINEAR
    )
    column = tl.arange(0, COLUMNS)
    share = _waves(height / total[:, None], multipliers, column, F, WAVES)
    here = there[:, :, None] & (column < F)[None, None, :]
    of = point[:, None] * F + column[None, :]
    g = tl.load(gradient + of, mask=inside[:, None] & (column < F)[None, :], other=0.0)
    add(to_weights + kernel[:, :, None] * F + column[None, None, :], share * g[:, None, :], here)


@triton.jit
def rbf_to_points_kernel(
    weights,
    points,
    neighbours,
    centres,
    shapes,
    multipliers,
    gradient,
    to_points,
    count,
    D: tl.constexpr,
    S: tl.constexpr,
    K: tl.constexpr,
    WIDTH: tl.constexpr,
    F: tl.constexpr,
    COLUMNS: tl.constexpr,
    WAVES: tl.constexpr,
    LINEAR: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = point < count
    kernel, there, height, total = _shares(
        points, neighbours, centres, shapes, point, inside, D, S, K, WIDTH, LINEAR
    )
    share = height / total[:, None]
    column = tl.arange(0, COLUMNS)
    here = there[:, :, None] & (column < F)[None, None, :]
    slope = tl.load(weights + kernel[:, :, None] * F + column[None, None, :], mask=here, other=0.0)
    of = point[:, None] * F + column[None, :]
    slope *= tl.load(gradient + of, mask=inside[:, None] & (column < F)[None, :], other=0.0)[:, None, :]
    if WAVES:
        wave = tl.load(multipliers + column, mask=column < F, other=0.0)[None, None, :]
        slope *= wave * _cos(share[:, :, None] * wave)
    to_share = tl.sum(slope, 2)
    to_height = (to_share - tl.sum(to_share * share, 1)[:, None]) / total[:, None]
    for e in tl.static_range(D):
        sums = tl.zeros((BLOCK,), tl.float32)
        for d in tl.static_range(D):
            if e == d or (e > d and S > 1):
                y = _scaled(points, centres, shapes, point, inside, kernel, there, d, D, S)
                if LINEAR:
                    to_y = tl.where(y > 0, -to_height, tl.where(y < 0, to_height, 0.0))
                    to_y = tl.where(tl.abs(y) < 1, to_y, 0.0)
                    for other in tl.static_range(D):
                        if other != d:
                            beside = _scaled(
                                points, centres, shapes, point, inside, kernel, there, other, D, S
                            )
                            to_y *= tl.maximum(1 - tl.abs(beside), 0.0)
                else:
                    to_y = -2 * to_height * height * height * y
                place = 0 if S == 1 else d * D - d * (d - 1) // 2 + e - d
                sums += tl.sum(to_y * tl.load(shapes + kernel * S + place, mask=there, other=0.0), 1)
        tl.store(to_points + point * D + e, sums, mask=inside)


def nearest(tree: Tree, points: Tensor, count: int) -> Tensor:
    points, centres = points.contiguous(), tree.points
    out = torch.empty(len(points), count, dtype=torch.int32, device=points.device)
    launch(
        nearest_kernel,
        len(points),
        _SEARCHED,
        points,
        centres,
        out,
        len(points),
        len(centres),
        D=points.shape[1],
        K=count,
        WIDTH=triton.next_power_of_2(count),
        TILE=_SEARCHED,
        most=_MOST,
        num_warps=4,
    )
    return out


def rbf(
    weights: Tensor,
    points: Tensor,
    neighbours: Tensor,
    centres: Tensor,
    shapes: Tensor,
    multipliers: Tensor | None,
    *,
    linear: bool,
) -> Tensor:
    return _Rbf.apply(weights, points, neighbours, centres, shapes, multipliers, linear)


class _Rbf(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weights: Tensor,
        points: Tensor,
        neighbours: Tensor,
        centres: Tensor,
        shapes: Tensor,
        multipliers: Tensor | None,
        linear: bool,
    ) -> Tensor:
        tensors = [x.contiguous() for x in (weights, points, neighbours, centres, shapes)]
        waves = (
            weights if multipliers is None else multipliers.contiguous()
        )  # any tensor where it is not read
        ctx.save_for_backward(*tensors, waves)
        ctx.options = {"waves": multipliers is not None, "linear": linear}
        out = weights.new_empty(len(points), weights.shape[1])
        _launch(rbf_kernel, (*tensors, waves), out, **ctx.options)
        return out

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weights, *others = ctx.saved_tensors
        gradient, tensors = gradient.contiguous(), (weights, *others)
        to_weights = to_points = None
        if ctx.needs_input_grad[0]:
            to_weights = torch.zeros_like(weights)
            _launch(rbf_to_weights_kernel, tensors, gradient, to_weights, weighted=False, **ctx.options)
        if ctx.needs_input_grad[1]:
            to_points = torch.empty_like(others[0])
            _launch(rbf_to_points_kernel, tensors, gradient, to_points, **ctx.options)
        return to_weights, to_points, None, None, None, None, None


def _launch(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    *outputs: Tensor,
    waves: bool,
    linear: bool,
    weighted: bool = True,
) -> None:
    weights, points, neighbours, _, shapes, _ = tensors
    given = (*(tensors if weighted else tensors[1:]), *outputs)
    launch(
        kernel,
        len(points),
        _BLOCK,
        *given,
        len(points),
        D=points.shape[1],
        S=shapes.shape[1],
        K=neighbours.shape[1],
        WIDTH=triton.next_power_of_2(neighbours.shape[1]),
        F=weights.shape[1],
        COLUMNS=triton.next_power_of_2(weights.shape[1]),
        WAVES=waves,
        LINEAR=linear,
        most=_MOST,
        num_warps=4,
    )
