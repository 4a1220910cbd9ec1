"""Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011).

A number depends on (seed, stream, step, position) alone, not on numbers drawn before. So resuming, threads,
the viewer and evaluation cannot change it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.kernels.dispatch import offered

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Return four random words (N,) int64 of a counter of four 32-bit words (N,) int64 and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        # The product is exact modulo 2^64, so shifting and masking give its high word for any sign.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & _MASK) ^ c1 ^ k0,
            p1 & _MASK,
            ((p0 >> 32) & _MASK) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3


def random_bits(
    shape: Sequence[int],
    *,
    seed: int,
    stream: str,
    step: int | Tensor = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return uniform 32-bit integers of the given shape, int64 in [0, 2^32).

    `stream` names the numbers' use. `step` counts the draws of a stream; it may be int64 on the device,
    except with native kernels.
    """
    count = math.prod(shape)
    words = _words(count, seed, stream, step, device)
    if words is not None:
        return words.long().bitwise_and_(_MASK).reshape(*shape)
    block = torch.arange((count + 3) // 4, device=device)
    zero = torch.zeros_like(block)
    counter = (block & _MASK, block >> 32, zero + (step & _MASK), zero + zlib.crc32(stream.encode()))
    blocks = philox(counter, (seed & _MASK, (seed >> 32) & _MASK))
    return torch.stack(blocks, -1).flatten()[:count].reshape(*shape)


def uniform(
    shape: Sequence[int],
    *,
    seed: int,
    stream: str,
    step: int | Tensor = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return uniform float32 numbers of the given shape in [0, 1), multiples of 2^-24."""
    words = _words(math.prod(shape), seed, stream, step, device)
    if words is not None:
        return (words >> 8).bitwise_and_(_MASK >> 8).float().mul_(2.0**-24).reshape(*shape)
    return (random_bits(shape, seed=seed, stream=stream, step=step, device=device) >> 8).float() * 2.0**-24


def _words(
    count: int, seed: int, stream: str, step: int | Tensor, device: torch.device | str
) -> Tensor | None:
    """Return random words (count,) int32 from the form in use, or None if it has no kernel for them."""
    draw = offered("random_bits", torch.empty(0, device=device))
    return draw and draw(count, seed=seed, name=zlib.crc32(stream.encode()), step=step, device=device)


def weighted(
    weights: Tensor, count: int, *, mean: float, seed: int, stream: str, step: int | Tensor = 0
) -> tuple[Tensor, Tensor]:
    """Return rows (count,) int64, drawn with replacement by weights (N,) uint8, and their weights.

    A row is drawn in proportion to its weight.
    `mean` is the mean of all weights, at most 255. The method is rejection: about 1.1 * 256 / mean * count
    rows are drawn uniformly, and each is kept with the probability weight / 256.
    """
    if len(weights) >= 1 << 31:
        raise PolyfieldError(
            f"weighted: found {len(weights):,} weights; expected fewer than 2^31; in a fit to photographs, which have a "
            "weight for each pixel of the training views, use a larger --downscale"
        )
    # A tenth more than needed on average, which is ten standard deviations for ten thousand rows.
    tries = math.ceil((count * 1.1 + 64) * 64 / mean) * 4
    if draw := offered("weighted", weights):
        index, found, accepted = draw(
            weights, count, tries=tries, seed=seed, name=zlib.crc32(stream.encode()), step=step
        )
    else:
        bits = random_bits((2, tries), seed=seed, stream=stream, step=step, device=weights.device)
        index = bits[0] * len(weights) >> 32  # scaled, not modulo: none is favoured by more than 2^-32
        index = index[bits[1] >> 24 < weights[index]][:count]
        found, accepted = weights[index], len(index)
    if accepted < count:  # very rare
        again = torch.arange(count, device=index.device) % accepted
        index, found = index[again], found[again]
    return index, found
