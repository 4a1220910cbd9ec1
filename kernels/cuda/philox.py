"""Random numbers in blocks of four, as `kernels.philox` defines them. The step may be on the device."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels.cuda.launch import launch, number

_BLOCK = 256  # blocks of four
_MASK = 0xFFFFFFFF


@triton.jit
def _mixed(a, c, MULTIPLIER: tl.constexpr, key):
    """Return half a round: the high word of a product, xored with c and the key, and the low word."""
    wide = a.to(tl.uint64) * MULTIPLIER
    return (wide >> 32).to(tl.uint32) ^ c ^ key, wide.to(tl.uint32)


@triton.jit
def philox(block, step, name, seed_low, seed_high):
    """Return four random words (BLOCK,) uint32 of each block."""
    c0, c1 = block.to(tl.uint32), (block.to(tl.uint64) >> 32).to(tl.uint32)
    c2, c3 = c0 * 0 + step.to(tl.uint32), c0 * 0 + name.to(tl.uint32)
    k0, k1 = c0 * 0 + seed_low.to(tl.uint32), c0 * 0 + seed_high.to(tl.uint32)
    for _ in tl.static_range(10):
        high0, low1 = _mixed(c2, c1, 0xCD9E8D57, k0)
        high2, low3 = _mixed(c0, c3, 0xD2511F53, k1)
        c0, c1, c2, c3 = high0, low1, high2, low3
        k0, k1 = k0 + 0x9E3779B9, k1 + 0xBB67AE85
    return c0, c1, c2, c3


@triton.jit(do_not_specialize=["step", "name", "seed_low", "seed_high", "count"])
def random_bits_kernel(out, step, name, seed_low, seed_high, count, BLOCK: tl.constexpr):
    block = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    words = philox(block, number(step), name, seed_low, seed_high)
    for w in tl.static_range(4):
        tl.store(out + block * 4 + w, words[w].to(tl.int32, bitcast=True), mask=block * 4 + w < count)


@triton.jit(do_not_specialize=["step", "name", "seed_low", "seed_high", "tries", "count"])
def draw_kernel(weights, rows, kept, step, name, seed_low, seed_high, tries, count, BLOCK: tl.constexpr):
    """Write rows (tries,), drawn uniformly from `count`, and which of them are kept.

    A row is kept with the probability weight / 256.
    """
    block = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    where = philox(block, number(step), name, seed_low, seed_high)
    chance = philox(block + tries // 4, number(step), name, seed_low, seed_high)
    for w in tl.static_range(4):
        i = block * 4 + w
        row = (where[w].to(tl.uint64) * count >> 32).to(tl.int64)
        weight = tl.load(weights + row, mask=i < tries, other=0).to(tl.uint32)
        tl.store(rows + i, row, mask=i < tries)
        tl.store(kept + i, ((chance[w] >> 24) < weight).to(tl.int32), mask=i < tries)


def _key(seed: int, name: int) -> tuple[int, int, int]:
    low, high = seed & _MASK, (seed >> 32) & _MASK
    return _signed(name), _signed(low), _signed(high)


def random_bits(
    count: int, *, seed: int, name: int, step: int | Tensor, device: torch.device | str
) -> Tensor:
    out = torch.empty(count, dtype=torch.int32, device=device)
    launch(random_bits_kernel, triton.cdiv(count, 4), _BLOCK, out, _word(step), *_key(seed, name), count)
    return out


def weighted(
    weights: Tensor, count: int, *, tries: int, seed: int, name: int, step: int | Tensor
) -> tuple[Tensor, Tensor, int]:
    rows = torch.empty(tries, dtype=torch.int64, device=weights.device)
    kept = torch.empty(tries, dtype=torch.int32, device=weights.device)
    launch(
        draw_kernel,
        tries // 4,
        _BLOCK,
        weights.contiguous(),
        rows,
        kept,
        _word(step),
        *_key(seed, name),
        tries,
        len(weights),
    )
    # The order is kept, without reading the number of rows on the host. If there are too few, they repeat.
    place = kept.cumsum(0)
    accepted = place[-1:].clamp(min=1, max=count)
    place = torch.where(kept > 0, place - 1, count).clamp(max=count)
    index = rows.new_zeros(count + 1).scatter_(0, place, rows)
    index = index[torch.arange(count, device=rows.device) % accepted]
    return index, weights[index], count


def _word(step: int | Tensor) -> int | Tensor:
    return step if isinstance(step, Tensor) else _signed(step & _MASK)


def _signed(word: int) -> int:
    """Return the same 32 bits as a signed number. Triton compiles again for numbers that need more bits."""
    return word - (1 << 32) if word >> 31 else word
