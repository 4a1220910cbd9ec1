"""Tree: points in the order of a balanced tree, and the boxes round its branches, in which `nearest` searches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

LEAF = 8  # points of a leaf
_TOGETHER = 8  # branches


def tree_order(points: Tensor) -> Tensor:
    """Return indices (M,) that sort points (M, D) for a `Tree`: halved at the median of the longest side, again and again."""
    count, axes = points.shape
    leaves = 1 << max(-(-count // LEAF) - 1, 0).bit_length()
    padding = points.new_full((leaves * LEAF - count, axes), torch.inf)
    padded, order = torch.cat((points, padding)), torch.arange(leaves * LEAF, device=points.device)
    size = leaves * LEAF
    while size > LEAF:
        parts, orders = padded.view(-1, size, axes), order.view(-1, size)
        finite = torch.isfinite(parts)
        low = parts.masked_fill(~finite, torch.inf).amin(1)
        high = parts.masked_fill(~finite, -torch.inf).amax(1)
        axis = (high - low).argmax(-1)[:, None]
        along = parts.gather(2, axis[:, :, None].expand(-1, size, 1))[..., 0]
        within = along.argsort(dim=1, stable=True)
        padded = parts.gather(1, within[..., None].expand(-1, -1, axes)).reshape(-1, axes)
        order = orders.gather(1, within).reshape(-1)
        size //= 2
    return order[torch.isfinite(padded[:, 0])]


@dataclass(frozen=True)
class Tree:
    """Points that `tree_order` sorted, ready for `nearest`.

    Branch n has the branches 2 n and 2 n + 1; the first branch is 1, and those from `leaves` on are leaves. The boxes of eight
    successive branches are together.
    """

    points: Tensor  # (M, D), in the order that numbers them
    leaves: Tensor  # (leaves, D, LEAF), the last filled up with infinity
    boxes: Tensor  # (leaves / 4 rounded up, 2, D, 8) the lowest and highest coordinates of each branch

    @staticmethod
    def of(points: Tensor) -> Tree:
        """Return the tree of points (M, D) that are in its order. Any order is right; others are slower."""
        count, axes = points.shape
        leaves = 1 << max(-(-count // LEAF) - 1, 0).bit_length()
        padding = points.new_full((leaves * LEAF - count, axes), torch.inf)
        packed = torch.cat((points, padding)).view(leaves, LEAF, axes)
        low, high = packed.amin(1), packed.masked_fill(packed == torch.inf, -torch.inf).amax(1)
        levels = [torch.stack((low, high), 1)]
        while len(levels[0]) > 1:
            pairs = levels[0].view(-1, 2, 2, axes)
            levels.insert(0, torch.stack((pairs[:, :, 0].amin(1), pairs[:, :, 1].amax(1)), 1))
        unused = torch.zeros_like(levels[0])
        boxes = pad(torch.cat([unused, *levels]), (0, 0, 0, 0, 0, -2 * leaves % _TOGETHER))
        together = boxes.view(-1, _TOGETHER, 2, axes).permute(0, 2, 3, 1)
        return Tree(points.contiguous(), packed.mT.contiguous(), together.contiguous())
