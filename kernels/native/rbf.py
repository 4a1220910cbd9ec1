"""Radial basis functions: the search for the nearest centres, sums of kernels, gradients to weights and points."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels.native.arrays import like, plain
from polyfield.kernels.once import once
from polyfield.kernels.tree import Tree


def nearest(tree: Tree, points: Tensor, count: int) -> Tensor:
    out = torch.empty(len(points), count, dtype=torch.int32)
    _core.nearest(plain(tree.leaves), plain(tree.boxes), plain(points), out)
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
    def forward(ctx, weights: Tensor, points: Tensor, neighbours: Tensor, *structure) -> Tensor:
        *rest, linear = structure
        given: Any = tuple(
            None if tensor is None else plain(tensor) for tensor in (weights, points, neighbours, *rest)
        )
        shares, out = points.new_empty(neighbours.shape), points.new_empty(len(points), weights.shape[1])
        _core.rbf(*given, linear, shares, out)
        ctx.save_for_backward(*given, shares)
        ctx.linear = linear
        return out

    @staticmethod
    @once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved: Any = ctx.saved_tensors
        given, shares = saved[:-1], saved[-1]
        to_weights = like(given[0]) if ctx.needs_input_grad[0] else None
        to_points = like(given[1]) if ctx.needs_input_grad[1] else None
        _core.rbf_backward(*given, ctx.linear, shares, plain(gradient), to_weights, to_points)
        return to_weights, to_points, None, None, None, None, None
