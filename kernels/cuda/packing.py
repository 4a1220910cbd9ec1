"""Packed samples in buffers whose sizes the host knows, and how many they hold, which the device knows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Marched:
    """Rays and all of their samples, with densities."""

    rays: tuple[Tensor, Tensor]  # local origins and directions (R, 3)
    harmonics: Tensor  # (R, 16)
    ends: Tensor  # (R,) samples up to and with each ray's
    counts: Tensor  # (R,)
    live: Tensor  # (1,) rays that count, the first of all
    total: Tensor  # (1,) their samples
    t: Tensor  # (C,)
    dt: Tensor  # (C,)
    codes: Tensor  # (C, K)
    density: Tensor  # (C,)


@dataclass(frozen=True)
class Kept:
    """The samples that get a colour, packed."""

    ends: Tensor  # (R,)
    counts: Tensor  # (R,)
    live: Tensor  # (1,)
    total: Tensor  # (1,)
    sample: Tensor  # (S,) which they are of all
    ray: Tensor  # (S,)
    weights: Tensor  # (S,)
    behind: Tensor  # (S,) share of the light that passes them
    slopes: Tensor  # (S,) density times dt
    t: Tensor  # (S,)
    points: Tensor  # (S, 3) in the unit cube
    colour: Tensor  # (S, 3)


def packed(counts: Tensor, live: Tensor, room: int | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """From samples on each ray: where each ray's end, how many rays there is room for, their samples, and the room."""
    ends = counts.cumsum(0)
    if room is None:
        total = counts.sum(0, keepdim=True)
        return ends, live, total, int(total)
    live = torch.minimum(torch.searchsorted(ends, torch.full_like(live, room), right=True), live)
    return ends, live, torch.where(live > 0, ends[(live - 1).clamp(min=0)], 0), room
