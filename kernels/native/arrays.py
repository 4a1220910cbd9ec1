"""How tensors reach the native kernels: detached and contiguous, sharing their memory."""

from __future__ import annotations

import torch
from torch import Tensor


def plain(tensor: Tensor) -> Tensor:
    """The tensor without its history, row after row; a copy only if its rows lie apart."""
    return tensor.detach().contiguous()


def like(tensor: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape, row after row."""
    return torch.empty(tensor.shape, dtype=tensor.dtype)
