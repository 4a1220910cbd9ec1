"""Multilinear look-up: a program for each block of points in each level, so that one level at a time is in cache."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels.cuda.launch import launch
from polyfield.kernels.levels import PRIMES, Levels
from polyfield.kernels.once import once

_BLOCK = 64  # points


@triton.jit
def _corners(points, point, inside, level, axis, D: tl.constexpr):
    """The corners of each point's cell, x fastest: their table rows (BLOCK, 2^D), and their weights or, with an axis,
    the slopes of those along it."""
    corner = tl.arange(0, 1 << D)[None, :]
    row = (point[:, None] * 0 + corner * 0).to(tl.uint32)
    weight = row.to(tl.float32) + 1
    hashed = tl.load(level + 2 * D)
    for d in tl.static_range(D):
        cells = (tl.load(level + d) - 1).to(tl.int32)
        x = tl.load(points + point * D + d, mask=inside, other=0.5)
        position = tl.minimum(tl.maximum(x, 0.0), 1.0) * cells.to(tl.float32)
        lower = tl.minimum(position.to(tl.int32), cells - 1)
        share = (position - lower.to(tl.float32))[:, None]
        slope = tl.where((x >= 0) & (x <= 1), cells.to(tl.float32), 0.0)[:, None]
        upper = (corner >> d) & 1
        part = (lower[:, None] + upper).to(tl.uint32) * tl.load(level + D + d).to(tl.uint32)
        row = tl.where(hashed != 0, row ^ part, row + part)
        factor = tl.where(
            axis == d, tl.where(upper == 1, slope, -slope), tl.where(upper == 1, share, 1 - share)
        )
        weight *= factor
    mask = (tl.load(level + 2 * D + 1) - 1).to(tl.uint32)
    row = tl.where(hashed != 0, row & mask, row)
    return row.to(tl.int64) + tl.load(level + 2 * D + 2), weight


@triton.jit
def _of_table(row, inside, F: tl.constexpr, WIDTH: tl.constexpr):
    """Where the features of rows (BLOCK, 2^D) stand in a table, and which of them are there: (BLOCK, 2^D, WIDTH)."""
    column = tl.arange(0, WIDTH)[None, None, :]
    return row[:, :, None] * F + column, inside[:, None, None] & (column < F)


@triton.jit
def _of_codes(point, inside, l, LEVELS: tl.constexpr, F: tl.constexpr, WIDTH: tl.constexpr):
    """Where a level's part stands in codes (N, LEVELS * F), and which of it is there: (BLOCK, WIDTH)."""
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
    WIDTH: tl.constexpr,  # F filled up to a power of two
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
def interpolate_to_table_kernel(
    gradient,
    points,
    levels,
    to_table,
    count,
    entries,
    LEVELS: tl.constexpr,
    D: tl.constexpr,
    F: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    l, bank = tl.program_id(1), tl.program_id(2).to(tl.int64)
    inside = point < count
    to_table += bank * entries * F
    points += bank * count * D
    row, weight = _corners(points, point, inside, levels + l * (2 * D + 3), -1, D)
    of, here = _of_codes(bank * count + point, inside, l, LEVELS, F, WIDTH)
    g = tl.load(gradient + of, mask=here, other=0.0)
    place, there = _of_table(row, inside, F, WIDTH)
    tl.atomic_add(to_table + place, weight[:, :, None] * g[:, None, :], mask=there, sem="relaxed")


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
    if table.dim() == 2:
        return _Interpolate.apply(table[None], points[None], levels)[0]
    return _Interpolate.apply(table, points, levels)


@functools.lru_cache(maxsize=64)
def geometry(levels: Levels, device: torch.device) -> Tensor:
    """(L, 2 D + 3) int64: nodes and row strides, or primes, along each axis; whether it is hashed; entries; first row."""
    rows = []
    for nodes, hashed, size, offset in zip(levels.resolutions, levels.hashed, levels.sizes, levels.offsets):
        strides = PRIMES[: len(nodes)] if hashed else [math.prod(nodes[:axis]) for axis in range(len(nodes))]
        rows.append([*nodes, *strides, int(hashed), size, offset])
    return torch.tensor(rows, device=device)


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
            _launch(
                interpolate_to_table_kernel, levels, levels.count, table, points, (gradient, points), to_table
            )
        if ctx.needs_input_grad[1]:
            to_points = torch.empty_like(points)
            inputs = (table, gradient, points)
            _launch(interpolate_to_points_kernel, levels, levels.dimensions, table, points, inputs, to_points)
        return to_table, to_points, None


def _launch(
    kernel: Any,
    levels: Levels,
    rows: int,
    table: Tensor,
    points: Tensor,
    inputs: tuple[Tensor, ...],
    out: Tensor,
) -> None:
    """A grid of blocks of points, so many rows, and the bank."""
    bank, count, dimensions = points.shape
    features = table.shape[2]
    launch(
        kernel,
        count,
        _BLOCK,
        *inputs,
        geometry(levels, points.device),
        out,
        count,
        table.shape[1],
        LEVELS=levels.count,
        D=dimensions,
        F=features,
        WIDTH=triton.next_power_of_2(features),
        grid=(rows, bank),
    )
