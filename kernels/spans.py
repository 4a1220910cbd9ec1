"""Spans of rays: kept to where samples can be, so that every kernel counts steps that fit into its integers."""

from __future__ import annotations

import torch
from torch import Tensor

_SLACK = 1e-5  # of the cube and of distances: samples on its faces remain


def within(
    origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, reach: float
) -> tuple[Tensor, Tensor]:
    """Return near and far (R,) cut to the cube [-reach, reach]^3 and a little more, and equal for rays that miss it.

    They are 0 for rays with numbers that are NaN, or with an origin or direction that is infinite.
    """
    reach *= 1 + _SLACK
    slopes = torch.where(directions.abs() < 1e-12, torch.full_like(directions, 1e-12), directions)
    low, high = (-reach - origins) / slopes, (reach - origins) / slopes
    enter, leave = torch.minimum(low, high).amax(-1), torch.maximum(low, high).amin(-1)
    enter = torch.maximum(near, enter - _SLACK * (enter.abs() + reach))
    leave = torch.minimum(far, leave + _SLACK * (leave.abs() + reach))
    there = (origins.isfinite() & directions.isfinite()).all(-1) & (enter < leave)
    return torch.where(there, enter, 0.0), torch.where(there, leave, 0.0)
