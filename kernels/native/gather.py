"""Rows of several tensors as if they were one, copied as bytes for any type."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels.native.arrays import plain


def gather(parts: Sequence[Tensor], index: Tensor) -> Tensor:
    out = torch.empty(len(index), *parts[0].shape[1:], dtype=parts[0].dtype)
    _core.gather(
        [plain(part).view(torch.uint8) for part in parts],
        [len(part) for part in parts],
        plain(index),
        out.view(torch.uint8),
    )
    return out
