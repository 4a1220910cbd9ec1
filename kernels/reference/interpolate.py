"""Multilinear look-up: corners of each point's cell, their table rows and weights, and the weighted sum."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from polyfield.kernels.levels import PRIMES, Levels


def interpolate(table: Tensor, points: Tensor, levels: Levels) -> Tensor:
    if table.dim() == 2:
        return interpolate(table[None], points[None], levels)[0]
    bank, entries, features = table.shape
    rows, weights = _corners(points.flatten(0, 1), levels)
    if bank * entries >= 1 << 31:
        rows = rows.long()
    first = torch.arange(bank, device=table.device, dtype=rows.dtype) * entries
    rows = rows.view(bank, -1) + first[:, None]
    corners = weights.shape[-1]
    sums = _WeightedSum.apply(
        table.flatten(0, 1), rows.view(-1, corners), weights.view(-1, corners).to(table.dtype)
    )
    return sums.view(bank, -1, levels.count * features)


def _corners(points: Tensor, levels: Levels) -> tuple[Tensor, Tensor]:
    """Return rows (N, L, 2^D) int32 and weights (N, L, 2^D) of the nodes round each point, x fastest."""
    nodes = torch.tensor(levels.resolutions, device=points.device)
    position = points.clamp(0, 1)[:, None, :] * (nodes - 1)
    lower = torch.minimum(position.detach().floor(), nodes - 2)
    upper_share = position - lower
    lower = lower.int()
    weights = torch.ones_like(upper_share[..., :1])
    for axis in range(levels.dimensions):
        share = upper_share[..., axis, None]
        weights = (torch.stack((1 - share, share), -2) * weights[..., None, :]).flatten(-2)
    runs = itertools.groupby(range(levels.count), key=lambda level: levels.hashed[level])
    rows = torch.cat([_rows(lower, list(run), levels, hashed) for hashed, run in runs], 1)
    return rows if levels.index is None else levels.index[rows], weights


def _rows(lower: Tensor, run: list[int], levels: Levels, hashed: bool) -> Tensor:
    """Return table rows (N, len(run), 2^D) int32 of cells' corners.

    The cells' lowest nodes are lower (N, L, D).
    """
    rows = torch.zeros_like(lower[:, run[0] : run[-1] + 1, :1])
    for axis in range(levels.dimensions):
        if hashed:
            # 32-bit products wrap as the hash needs, and only low bits remain after the final mask.
            stride = torch.tensor([PRIMES[axis] - (PRIMES[axis] >> 31 << 32)] * len(run))
        else:
            sizes = [levels.resolutions[level][:axis] for level in run]
            stride = torch.tensor([torch.tensor(size).prod() if size else 1 for size in sizes])
        stride = stride.to(lower.device, torch.int32)[:, None]
        at_lower = lower[:, run[0] : run[-1] + 1, axis, None] * stride
        pair = torch.stack((at_lower, at_lower + stride), -2)
        rows = ((pair ^ rows[..., None, :]) if hashed else (pair + rows[..., None, :])).flatten(-2)
    if hashed:
        rows = rows & (levels.hash_range - 1)
        rows = torch.where(rows < levels.size, rows, rows - levels.size)
    offsets = torch.tensor([levels.offsets[level] for level in run], device=lower.device, dtype=torch.int32)
    return rows + offsets[:, None]


class _WeightedSum(torch.autograd.Function):
    """sum_c weights[k, c] table[rows[k, c]]: (K, F). PyTorch's own gradient of it is several times slower."""

    @staticmethod
    def forward(ctx, table: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, rows, weights)
        return functional.embedding_bag(rows, table, per_sample_weights=weights, mode="sum")

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        table, rows, weights = ctx.saved_tensors
        rows = rows.long()
        to_table = to_weights = None
        if ctx.needs_input_grad[0]:
            parts = (gradient[:, None, :] * weights[..., None]).flatten(0, 1)
            to_table = torch.zeros_like(table).index_add_(0, rows.flatten(), parts)
        if ctx.needs_input_grad[2]:
            to_weights = (table[rows] * gradient[:, None, :]).sum(-1)
        return to_table, None, to_weights
