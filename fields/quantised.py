"""Quantisation: tensors as whole numbers from -127 to 127, with a scale for each block of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

FEWEST = 256  # numbers of a tensor that is quantised
SCALES = (2.0**-100, 2.0**100)  # the least and the largest
_ROWS = 1024  # of a table's column that share a scale
_MOST = 127
_LARGEST_OF_TABLES = 2.0**9  # so that half precision holds 127 times as much


def quantised(tensor: Tensor, *, table: bool) -> tuple[Tensor, Tensor]:
    """Return round(tensor / scale), int8, and the scales, bfloat16, of its blocks.

    A block is up to 1024 rows of one column of a table (..., F), or the weights of one output of (out, ...). Its scale is its
    largest magnitude / 127, rounded to 8 significant bits, so products of whole numbers and scales are exact. Hence what
    `dequantised` returns gives the same whole numbers and scales again.
    """
    least, largest = SCALES[0], _LARGEST_OF_TABLES if table else SCALES[1]
    blocks = _blocks(tensor.float(), table)
    scales = (blocks.abs().amax(1, keepdim=True) / _MOST).clamp_(max=largest).bfloat16()
    scales = torch.where(scales < least, torch.ones_like(scales), scales)  # such blocks become zeros
    numbers = (blocks / scales.float()).round_().clamp_(-_MOST, _MOST)
    return _whole(numbers, tensor.shape).to(torch.int8), scales.squeeze(1)


def dequantised(numbers: Tensor, scales: Tensor, *, table: bool) -> Tensor:
    """Return numbers * scales, float32, of what `quantised` returned."""
    return _whole(_blocks(numbers.float(), table) * scales.float()[:, None], numbers.shape)


def _blocks(tensor: Tensor, table: bool) -> Tensor:
    """Return a tensor as (B, R, F): R numbers in each of B * F blocks. A table is filled up with rows of zeros."""
    if tensor.dim() > 1 and not table:
        return tensor.reshape(len(tensor), -1, 1)
    rows = tensor.reshape(-1, tensor.shape[-1] if tensor.dim() > 1 else 1)
    height = min(_ROWS, len(rows))
    return pad(rows, (0, 0, 0, -len(rows) % height)).reshape(-1, height, rows.shape[1])


def _whole(blocks: Tensor, shape: torch.Size) -> Tensor:
    """Return the tensor of this shape that `_blocks` was given."""
    return blocks.reshape(-1)[: shape.numel()].reshape(shape)
