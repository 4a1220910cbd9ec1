"""Packed samples in buffers.

The host knows the buffers' sizes; only the device knows how many samples they hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Marched:
    """Rays and all of their samples, with densities."""

    rays: tuple[Tensor, Tensor]  # local origins and directions (R, 3)
    harmonics: Tensor  # (R, 16)
    ends: Tensor  # (R,) number of samples of all rays up to and including each
    counts: Tensor  # (R,)
    live: Tensor  # (1,) number of rays that count; these are the first
    total: Tensor  # (1,) number of their samples
    t: Tensor  # (C,)
    dt: Tensor  # (C,)
    codes: Tensor  # (C, K)
    density: Tensor  # (C,)
    bad: Tensor  # (1,) number of samples whose density was NaN


@dataclass(frozen=True)
class Kept:
    """The samples that get a colour, packed."""

    ends: Tensor  # (R,)
    counts: Tensor  # (R,)
    live: Tensor  # (1,)
    total: Tensor  # (1,)
    sample: Tensor  # (S,) indices into all samples
    ray: Tensor  # (S,)
    weights: Tensor  # (S,)
    behind: Tensor  # (S,) transmittance behind each sample
    slopes: Tensor  # (S,) density times dt
    t: Tensor  # (S,)
    points: Tensor  # (S, 3) in the unit cube
    inputs: Tensor  # (S, K) of the colour network
    colour: Tensor  # (S, 3)


def packed(counts: Tensor, live: Tensor, capacity: int | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return where each ray's samples end, the number of rays that fit, their samples, and the capacity.

    counts are the samples of each ray. `capacity` counts samples; None makes it as large as needed.
    """
    ends = counts.cumsum(0)
    if capacity is None:
        total = counts.sum(0, keepdim=True)
        return ends, live, total, int(total)
    live = torch.minimum(torch.searchsorted(ends, torch.full_like(live, capacity), right=True), live)
    return ends, live, torch.where(live > 0, ends[(live - 1).clamp(min=0)], 0), capacity
