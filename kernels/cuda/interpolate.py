"""Multilinear look-up.

A program takes a block of points in one level, so that one level at a time is in cache.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels.cuda.corners import along, geometry, joined, placed
from polyfield.kernels.cuda.launch import MOST, launch, number
from polyfield.kernels.levels import Levels
from polyfield.kernels.once import once
from polyfield.kernels.reference.interpolate import interpolate as general

_BLOCK = 64  # points
_MOST = 1 << 10  # points in a block, if all are compared with all
_COARSE = 1 << 15  # most entries of a level in which additions to one cell are first summed in a block
FIXED_POINT = tl.constexpr(2.0**32)


@triton.jit
def _corners(points, point, inside, level, axis, D: tl.constexpr):
    """Return the table rows (BLOCK, 2^D) of the corners of each point's cell, x fastest, and their weights.

    With an axis, the slopes of the weights along it are returned in their place.
    """
    corner = tl.arange(0, 1 << D)[None, :]
    row = (point[:, None] * 0 + corner * 0).to(tl.uint32)
    weight = row.to(tl.float32) + 1
    for d in tl.static_range(D):
        x = tl.load(points + point * D + d, mask=inside, other=0.5)[:, None]
        low, high, share, cells = along(x, level, d, D)
        slope = tl.where((x >= 0) & (x <= 1), cells, 0.0)
        upper = ((corner >> d) & 1) == 1
        row = joined(row, tl.where(upper, high, low), level, D)
        weight *= tl.where(axis == d, tl.where(upper, slope, -slope), tl.where(upper, share, 1 - share))
    return placed(row, level, D), weight


@triton.jit
def _of_table(row, inside, F: tl.constexpr, WIDTH: tl.constexpr):
    """Return where a table has the features of rows (BLOCK, 2^D), and their mask: (BLOCK, 2^D, WIDTH)."""
    column = tl.arange(0, WIDTH)[None, None, :]
    return row[:, :, None] * F + column, inside[:, None, None] & (column < F)


@triton.jit
def _of_codes(point, inside, l, LEVELS: tl.constexpr, F: tl.constexpr, WIDTH: tl.constexpr):
    """Return where codes (N, LEVELS * F) have a level's part, and their mask: (BLOCK, WIDTH)."""
    column = tl.arange(0, WIDTH)[None, :]
    return (point * LEVELS + l)[:, None] * F + column, inside[:, None] & (column < F)


@triton.jit
def interpolate_kernel(
    table,
    points,
    levels,
    out,
    count,
    entries,
    LEVELS: tl.constexpr,
    D: tl.constexpr,
    F: tl.constexpr,
    WIDTH: tl.constexpr,  # F rounded up to a power of two
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    l, bank = tl.program_id(1), tl.program_id(2).to(tl.int64)
    inside = point < count
    table += bank * entries * F
    points += bank * count * D
    row, weight = _corners(points, point, inside, levels + l * (2 * D + 3), -1, D)
    place, there = _of_table(row, inside, F, WIDTH)
    values = tl.load(table + place, mask=there, other=0.0)
    to, here = _of_codes(bank * count + point, inside, l, LEVELS, F, WIDTH)
    tl.store(out + to, tl.sum(weight[:, :, None] * values, 1), mask=here)


@triton.jit
def add(to, values, mask):
    """Add atomically.

    Additions to whole numbers are in fixed point, so that sums do not depend on the order.
    """
    if to.dtype.element_ty == tl.int64:
        values = tl.floor(values * FIXED_POINT + 0.5).to(tl.int64)
    tl.atomic_add(to, values, mask=mask, sem="relaxed")


@triton.jit(do_not_specialize=["count"])
def interpolate_to_table_kernel(
    gradient,
    points,
    levels,
    to_table,
    count,  # a number, or a pointer to one
    entries,
    LEVELS: tl.constexpr,
    D: tl.constexpr,
    F: tl.constexpr,
    WIDTH: tl.constexpr,
    FIRST: tl.constexpr,  # the first of the launch's levels
    COARSE: tl.constexpr,  # whether additions to the same cell are summed within the block first
    COLUMNS: tl.constexpr,  # of the gradient in a row
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    count = number(count)
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    l, bank = FIRST + tl.program_id(1), tl.program_id(2).to(tl.int64)
    inside = point < count
    if tl.program_id(0) * BLOCK >= count:
        return
    to_table += bank * entries * F
    points += bank * count * D
    row, weight = _corners(points, point, inside, levels + l * (2 * D + 3), -1, D)
    column = tl.arange(0, WIDTH)[None, :]
    of = (bank * count + point)[:, None] * COLUMNS + l * F + column
    g = tl.load(gradient + of, mask=inside[:, None] & (column < F), other=0.0).to(tl.float32)
    values = weight[:, :, None] * g[:, None, :]
    if COARSE:
        # A cell's lowest row identifies it, because no coarse level is hashed.
        cell = tl.min(row, 1)
        other = tl.arange(0, BLOCK)
        same = (cell[:, None] == tl.reshape(cell, (1, BLOCK))) & inside[:, None]
        flat = tl.reshape(values, (BLOCK, (1 << D) * WIDTH)) + 0.0  # Triton 3.6 fails at a reshaped factor
        values = tl.reshape(
            tl.dot(same.to(tl.float32), flat, input_precision=PRECISION), (BLOCK, 1 << D, WIDTH)
        )
        before = same & (other[None, :] < other[:, None])
        inside = inside & (tl.sum(before.to(tl.int32), 1) == 0)
    place, there = _of_table(row, inside, F, WIDTH)
    add(to_table + place, values, there)


@triton.jit
def interpolate_to_points_kernel(
    table,
    gradient,
    points,
    levels,
    to_points,
    count,
    entries,
    LEVELS: tl.constexpr,
    D: tl.constexpr,
    F: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    axis, bank = tl.program_id(1), tl.program_id(2).to(tl.int64)
    inside = point < count
    table += bank * entries * F
    points += bank * count * D
    total = tl.zeros((BLOCK,), tl.float32)
    for l in range(LEVELS):
        row, slope = _corners(points, point, inside, levels + l * (2 * D + 3), axis, D)
        of, here = _of_codes(bank * count + point, inside, l, LEVELS, F, WIDTH)
        g = tl.load(gradient + of, mask=here, other=0.0)
        place, there = _of_table(row, inside, F, WIDTH)
        values = tl.load(table + place, mask=there, other=0.0)
        total += tl.sum(slope * tl.sum(values * g[:, None, :], 2), 1)
    tl.store(to_points + (bank * count + point) * D + axis, total, mask=inside)


def interpolate(table: Tensor, points: Tensor, levels: Levels) -> Tensor:
    if levels.index is not None:
        return general(table, points, levels)
    if table.dim() == 2:
        return _Interpolate.apply(table[None], points[None], levels)[0]
    return _Interpolate.apply(table, points, levels)


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, points: Tensor, levels: Levels) -> Tensor:
        table, points = table.contiguous(), points.contiguous()
        bank, count, _ = points.shape
        ctx.levels = levels
        ctx.save_for_backward(table, points)
        out = table.new_empty(bank, count, levels.count * table.shape[2])
        _launch(interpolate_kernel, levels, levels.count, table, points, (table, points), out)
        return out

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        table, points = ctx.saved_tensors
        gradient, levels = gradient.contiguous(), ctx.levels
        to_table = to_points = None
        if ctx.needs_input_grad[0]:
            to_table = torch.zeros_like(table)
            add_to_table(gradient, points, levels, to_table)
        if ctx.needs_input_grad[1]:
            to_points = torch.empty_like(points)
            inputs = (table, gradient, points)
            _launch(interpolate_to_points_kernel, levels, levels.dimensions, table, points, inputs, to_points)
        return to_table, to_points, None


def add_to_table(
    gradient: Tensor, points: Tensor, levels: Levels, to_table: Tensor, total: Tensor | None = None
) -> None:
    """Add gradients to codes (B, N, at least L * F), of any precision, to the table's gradients (B, E, F).

    `total` is a number on the device: without a bank axis, only the first `total` points are added. An int64
    to_table counts in units of 2^-32.
    """
    width = triton.next_power_of_2(to_table.shape[2])
    coarse = [not hashed and size <= _COARSE for hashed, size in zip(levels.hashed, levels.sizes)]
    shared = sum(coarse) if all(coarse[: sum(coarse)]) else 0
    if width << levels.dimensions < 16:  # too few columns for a product on matrix units
        shared = 0
    # Two launches: the products of the coarse levels take registers that the others need not wait for.
    for first, end in ((0, shared), (shared, levels.count)):
        if first < end:
            _launch(
                interpolate_to_table_kernel,
                levels,
                end - first,
                to_table,
                points,
                (gradient, points),
                to_table,
                total=total,
                most=_MOST if first < shared else MOST,
                FIRST=first,
                COARSE=first < shared,
                COLUMNS=gradient.shape[2],
                PRECISION="ieee" if gradient.dtype == torch.float32 else "tf32",
            )


def _launch(
    kernel: Any,
    levels: Levels,
    rows: int,
    table: Tensor,
    points: Tensor,
    inputs: tuple[Tensor, ...],
    out: Tensor,
    *,
    total: Tensor | None = None,
    most: int = MOST,
    **constants: Any,
) -> None:
    """Launch a kernel over a grid of blocks of points, `rows`, and the bank."""
    bank, count, dimensions = points.shape
    features = table.shape[2]
    launch(
        kernel,
        count,
        _BLOCK,
        *inputs,
        geometry(levels, points.device),
        out,
        count if total is None else total,
        table.shape[1],
        LEVELS=levels.count,
        D=dimensions,
        F=features,
        WIDTH=triton.next_power_of_2(features),
        grid=(rows, bank),
        most=most,
        num_warps=4,
        **constants,
    )
