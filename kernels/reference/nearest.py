"""The nearest of some points, by all distances."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.kernels.tree import Tree

_DISTANCES = 1 << 24  # at once


def nearest(tree: Tree, points: Tensor, count: int) -> Tensor:
    rows = max(_DISTANCES // max(len(tree.points), 1), 1)
    found = [
        (part[:, None] - tree.points).square().sum(-1).topk(count, largest=False).indices.int()
        for part in points.split(rows)
    ]
    return torch.cat(found) if found else points.new_empty(0, count, dtype=torch.int32)
