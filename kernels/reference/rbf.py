"""Radial basis functions round the nearest centres: heights, sines of them, and the weighted sum."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-8  # added to sums of heights


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
    index = neighbours.long()
    heights = _heights(points[:, None] - centres[index], shapes[index], linear)
    shares = heights / (heights.sum(-1, keepdim=True) + TINY)
    waves = shares[..., None] if multipliers is None else (shares[..., None] * multipliers).sin()
    return (waves * weights[index]).sum(-2)


def _heights(away: Tensor, shapes: Tensor, linear: bool) -> Tensor:
    """Return the heights (N, K) of kernels at offsets (N, K, D) from their centres."""
    axes = away.shape[-1]
    if shapes.shape[-1] == 1:
        scaled = away * shapes
    else:
        rows, columns = torch.triu_indices(axes, axes)
        matrix = shapes.new_zeros(*shapes.shape[:-1], axes, axes)
        matrix[..., rows, columns] = shapes
        scaled = (matrix * away[..., None, :]).sum(-1)
    if linear:
        return (1 - scaled.abs()).clamp(min=0).prod(-1)
    return 1 / (1 + scaled.square().sum(-1))
