"""Multilinear look-up: values, and gradients to table and points, level by level."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels.levels import PRIMES, Levels
from polyfield.kernels.native.arrays import like, plain
from polyfield.kernels.once import once


def grid(levels: Levels, features: int) -> _core.Grid:
    """Return the geometry in the form that the kernels read. An index must live as long."""
    return _grid(levels, features) if levels.index is None else _made(levels, features)


def _made(levels: Levels, features: int) -> _core.Grid:
    rows = []
    for nodes, hashed, offset, size in zip(levels.resolutions, levels.hashed, levels.offsets, levels.sizes):
        dense = [math.prod(nodes[:axis]) for axis in range(len(nodes))]
        rows.append((nodes, PRIMES[: len(nodes)] if hashed else dense, hashed, offset, size))
    return _core.Grid(rows, features, levels.index)


_grid = functools.lru_cache(maxsize=64)(_made)


def interpolate(table: Tensor, points: Tensor, levels: Levels) -> Tensor:
    if table.dim() == 3:
        return torch.stack([_Interpolate.apply(t, p, levels) for t, p in zip(table, points)])
    return _Interpolate.apply(table, points, levels)


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table: Tensor, points: Tensor, levels: Levels) -> Tensor:
        table, points = plain(table), plain(points)
        ctx.save_for_backward(table, points)
        ctx.levels, ctx.grid = levels, grid(levels, table.shape[1])
        out = table.new_empty(len(points), levels.count * table.shape[1])
        _core.interpolate(ctx.grid, table, points, out)
        return out

    @staticmethod
    @once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        table, points = ctx.saved_tensors
        gradient = plain(gradient)
        to_table = to_points = None
        if ctx.needs_input_grad[0]:
            to_table = like(table)
            _core.interpolate_to_table(ctx.grid, gradient, points, to_table)
        if ctx.needs_input_grad[1]:
            to_points = like(points)
            _core.interpolate_to_points(ctx.grid, table, gradient, points, to_points)
        return to_table, to_points, None
