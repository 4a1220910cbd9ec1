"""Random numbers: Philox, four words at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield import _core


def random_bits(count: int, *, seed: int, name: int, step: int) -> Tensor:
    """(count,) int32 whose bits are the random words."""
    words = torch.empty(count, dtype=torch.int32)
    _core.random_bits(seed & (1 << 64) - 1, name, step & 0xFFFFFFFF, words)
    return words
