"""Rows of several tensors as if they were one, a tensor at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gather(parts: Sequence[Tensor], index: Tensor) -> Tensor:
    ends = torch.tensor([len(part) for part in parts], device=index.device).cumsum(0)
    which = torch.searchsorted(ends, index, right=True)
    order = which.argsort(stable=True)
    counts = torch.bincount(which, minlength=len(parts)).tolist()
    out = parts[0].new_empty(len(index), *parts[0].shape[1:])
    start = 0
    for part, chosen in zip(parts, order.split(counts), strict=True):
        out[chosen] = part[index[chosen] - start]
        start += len(part)
    return out
