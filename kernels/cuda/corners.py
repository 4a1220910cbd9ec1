"""The corners of grid cells and their rows in a table, shared by all kernels that look up in one."""

from __future__ import annotations

import functools
import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels.levels import PRIMES, Levels


@functools.lru_cache(maxsize=64)
def geometry(levels: Levels, device: torch.device) -> Tensor:
    """Return the geometry of levels as a tensor (L, 2 D + 3) int64.

    Each row has the nodes along each axis, the row strides or primes of each axis, the range of the hash (0
    where the level is dense), its entries, and its first row.
    """
    rows = []
    for nodes, hashed, size, offset in zip(levels.resolutions, levels.hashed, levels.sizes, levels.offsets):
        strides = PRIMES[: len(nodes)] if hashed else [math.prod(nodes[:axis]) for axis in range(len(nodes))]
        rows.append([*nodes, *strides, levels.hash_range if hashed else 0, size, offset])
    return torch.tensor(rows, device=device)


@triton.jit
def along(x, level, d, D: tl.constexpr):
    """Return the look-up of unit coordinates x along axis d in a level, which is a row of `geometry`.

    The results are what the lower and the upper node add to the table's row, the upper node's share, and the
    number of cells.
    """
    cells = (tl.load(level + d) - 1).to(tl.int32)
    position = tl.minimum(tl.maximum(x, 0.0), 1.0) * cells.to(tl.float32)
    lower = tl.minimum(position.to(tl.int32), cells - 1)
    stride = tl.load(level + D + d).to(tl.uint32)
    part = lower.to(tl.uint32) * stride
    return part, part + stride, position - lower.to(tl.float32), cells.to(tl.float32)


@triton.jit
def joined(row, part, level, D: tl.constexpr):
    """Return a row combined with the part of one more axis."""
    return tl.where(tl.load(level + 2 * D) != 0, row ^ part, row + part)


@triton.jit
def placed(row, level, D: tl.constexpr):
    """Return the table's row from the combined parts of all axes."""
    hash_range, size = tl.load(level + 2 * D), tl.load(level + 2 * D + 1).to(tl.uint32)
    value = row & (hash_range - 1).to(tl.uint32)
    row = tl.where(hash_range != 0, tl.where(value < size, value, value - size), row)
    return row.to(tl.int64) + tl.load(level + 2 * D + 2)


@triton.jit
def encode(x, y, z, inside, table, levels, LEVELS: tl.constexpr, ROOM: tl.constexpr, F: tl.constexpr):
    """Return codes (BLOCK, ROOM * F) of points x, y, z (BLOCK,) in the unit cube, in single precision.

    ROOM is the capacity in levels. Codes of levels from LEVELS on are zero.
    """
    l = tl.arange(0, ROOM)[None, :]
    level = levels + tl.minimum(l, LEVELS - 1) * 9
    x0, x1, x_share, _ = along(x[:, None], level, 0, 3)
    y0, y1, y_share, _ = along(y[:, None], level, 1, 3)
    z0, z1, z_share, _ = along(z[:, None], level, 2, 3)
    feature = tl.arange(0, F)[None, None, :]
    there = (inside[:, None] & (l < LEVELS))[:, :, None]
    code = there.to(tl.float32) * 0 + tl.zeros_like(feature).to(tl.float32)
    for corner in tl.static_range(8):
        row, weight = x0, 1 - x_share
        if corner & 1:
            row, weight = x1, x_share
        if corner & 2:
            row, weight = joined(row, y1, level, 3), weight * y_share
        else:
            row, weight = joined(row, y0, level, 3), weight * (1 - y_share)
        if corner & 4:
            row, weight = joined(row, z1, level, 3), weight * z_share
        else:
            row, weight = joined(row, z0, level, 3), weight * (1 - z_share)
        place = placed(row, level, 3)[:, :, None] * F + feature
        code += weight[:, :, None] * tl.load(table + place, mask=there, other=0.0).to(tl.float32)
    return tl.reshape(code, (x.shape[0], ROOM * F))
