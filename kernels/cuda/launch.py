"""Launches of kernels: in blocks, on the GPU of their tensors. Numbers may be on the GPU too."""

from __future__ import annotations

import functools
import os
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
MOST = 1 << 14  # items in the interpreter's blocks


@triton.jit
def number(x):
    """Return a whole number, given as a number or as a pointer to one."""
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
    """Launch a kernel over `count` items in blocks of `size`, its constant BLOCK, times the rest of a grid.

    In the interpreter a block has up to `most` items, because its time is proportional to the number of
    programs. A block has a thread per item, at most 128, unless `num_warps` is given. `programs` is the most
    programs per multiprocessor of the GPU; each then takes several blocks.
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
    """Return the number of multiprocessors of a GPU."""
    return 1 if INTERPRETED else torch.cuda.get_device_properties(device).multi_processor_count


@functools.cache
def is_hopper(device: torch.device) -> bool:
    """Return whether a GPU is of compute capability 9."""
    return not INTERPRETED and torch.cuda.get_device_capability(device)[0] == 9
