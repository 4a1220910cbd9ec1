"""Radial basis functions: the search for the nearest centres, sums of kernels, gradients to weights and points."""

from __future__ import annotations

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
    def forward(
        ctx,
        weights: Tensor,
        points: Tensor,
        neighbours: Tensor,
        centres: Tensor,
        shapes: Tensor,
        multipliers: Tensor | None,
        linear: bool,
    ) -> Tensor:
        w, x, near, c, a = (plain(tensor) for tensor in (weights, points, neighbours, centres, shapes))
        m = None if multipliers is None else plain(multipliers)
        shares, out = x.new_empty(near.shape), x.new_empty(len(x), w.shape[1])
        _core.rbf(w, x, near, c, a, m, linear, shares, out)
        ctx.save_for_backward(w, x, near, c, a, m, shares)
        ctx.linear = linear
        return out

    @staticmethod
    @once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        w, x, near, c, a, m, shares = ctx.saved_tensors
        to_weights = like(w) if ctx.needs_input_grad[0] else None
        to_points = like(x) if ctx.needs_input_grad[1] else None
        _core.rbf_backward(w, x, near, c, a, m, ctx.linear, shares, plain(gradient), to_weights, to_points)
        return to_weights, to_points, None, None, None, None, None
