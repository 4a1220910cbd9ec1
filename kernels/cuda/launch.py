"""How kernels are launched: in blocks, on the GPU that their tensors are on."""

from __future__ import annotations

import os
from typing import Any

import torch
import triton
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def launch(
    kernel: Any,
    count: int,
    size: int,
    first: Tensor,
    *others: Any,
    grid: tuple[int, ...] = (),
    **constants: Any,
) -> None:
    """A kernel over `count` of something in blocks of `size`, its constant BLOCK, times the rest of a grid.

    The interpreter's time goes with the number of programs, so there a block is as large as it may be.
    """
    block = min(triton.next_power_of_2(max(count, 1)), 1 << 14) if INTERPRETED else size
    blocks = max(triton.cdiv(count, block), 1)  # a grid must not be empty
    with torch.cuda.device_of(first):
        kernel[(blocks, *grid)](first, *others, BLOCK=block, **constants)
