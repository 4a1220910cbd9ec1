"""Random numbers: Philox, four words at a time; and rows drawn by their weights."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels.native.arrays import plain


def random_bits(count: int, *, seed: int, name: int, step: int, device: torch.device | str) -> Tensor:
    """Return (count,) int32 whose bits are the random words."""
    words = torch.empty(count, dtype=torch.int32, device=device)
    _core.random_bits(seed & (1 << 64) - 1, name, step & 0xFFFFFFFF, words)
    return words


def weighted(
    weights: Tensor, count: int, *, tries: int, seed: int, name: int, step: int
) -> tuple[Tensor, Tensor, int]:
    """Return the first `count` rows accepted in `tries` tries, their weights, and their number."""
    index, found = torch.empty(count, dtype=torch.int64), torch.empty(count, dtype=torch.uint8)
    accepted = _core.weighted(
        seed & (1 << 64) - 1, name, step & 0xFFFFFFFF, plain(weights), tries, index, found
    )
    return index, found, min(accepted, count)
