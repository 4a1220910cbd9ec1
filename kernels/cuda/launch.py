"""How kernels are launched: in blocks, on the GPU that their tensors are on, with numbers that may stand on it too."""

from __future__ import annotations

import functools
import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
MOST = 1 << 14  # of something in the interpreter's blocks


@triton.jit
def number(x):
    """A whole number, given as such or by where it stands."""
    if x.dtype.is_ptr():
        return tl.load(x)
    else:
        return x


def launch(
    kernel: Any,
    count: int,
    size: int,
    first: Tensor,
    *others: Any,
    grid: tuple[int, ...] = (),
    most: int = MOST,
    programs: int | None = None,
    num_warps: int | None = None,
    **constants: Any,
) -> None:
    """A kernel over `count` of something in blocks of `size`, its constant BLOCK, times the rest of a grid.

    The interpreter's time goes with the number of programs, so there a block is as large as it may be, which is `most`.
    A block has a thread for each, 128 at the most, unless it is told how many warps. With `programs` there are no more than so many for each of the GPU's multiprocessors, and each takes several blocks.
    """
    block = min(triton.next_power_of_2(max(count, 1)), most) if INTERPRETED else size
    blocks = max(triton.cdiv(count, block), 1)  # a grid must not be empty
    if programs is not None:
        blocks = min(blocks, programs * processors(first.device))
    with torch.cuda.device_of(first):
        kernel[(blocks, *grid)](
            first, *others, BLOCK=block, num_warps=num_warps or max(min(size // 32, 4), 1), **constants
        )


@functools.cache
def processors(device: torch.device) -> int:
    """How many multiprocessors a GPU has."""
    return 1 if INTERPRETED else torch.cuda.get_device_properties(device).multi_processor_count
