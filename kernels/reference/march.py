"""Marching: every lattice point of every ray is looked up in the occupancy grid. Occupied ones are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.kernels.samples import RaySamples

_CHUNK = 1 << 19  # lattice points held at once


def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    *,
    step: float,
    cone: float,
    jitter: Tensor,
) -> RaySamples:
    if origins.dim() == 2:
        occupancy = occupancy[None]
    rays_each = origins.shape[-2]
    origins, directions = origins.reshape(-1, 3), directions.reshape(-1, 3)
    jitter = jitter.flatten()
    first = (_lattice(near.flatten(), step, cone) - jitter).ceil() + jitter
    steps = (_lattice(far.flatten(), step, cone) - first).ceil().clamp(min=0)
    longest = max(int(steps.max()), 1) if len(steps) else 1
    index = torch.arange(longest, device=origins.device)
    parts = []
    for start in range(0, len(origins), max(_CHUNK // longest, 1)):
        rays = slice(start, start + max(_CHUNK // longest, 1))
        u = first[rays, None] + index
        t = _distance(u, step, cone)
        points = origins[rays, None] + t[..., None] * directions[rays, None]
        bank = torch.arange(start, start + len(t), device=t.device) // max(rays_each, 1)
        inside = (index < steps[rays, None]) & _occupied(points, occupancy, bank[:, None])
        ray, column = inside.nonzero(as_tuple=True)
        u = u[ray, column]
        dt = _distance(u + 0.5, step, cone) - _distance(u - 0.5, step, cone)
        parts.append((t[ray, column], dt, ray + start))
    if not parts:
        return RaySamples.pack(near.flatten(), near.flatten(), near.flatten().long(), 0)
    t, dt, ray = (torch.cat(column) for column in zip(*parts, strict=True))
    return RaySamples.pack(t, dt, ray, len(origins))


def _distance(u: Tensor, step: float, cone: float) -> Tensor:
    """Return the distance of lattice coordinate u."""
    if cone == 0:
        return u * step
    return torch.where(u * cone < 1, u * step, (step / cone) * torch.exp(cone * u - 1))


def _lattice(t: Tensor, step: float, cone: float) -> Tensor:
    """Return the lattice coordinate of distance t: the inverse of `_distance`."""
    if cone == 0:
        return t / step
    return torch.where(t * cone < step, t / step, (torch.log((t * cone / step).clamp(min=1e-30)) + 1) / cone)


def _occupied(points: Tensor, occupancy: Tensor, bank: Tensor) -> Tensor:
    """Return whether points (R, S, 3) are in an occupied cell of occupancy (B, K, G, G, G), bank (R, 1)."""
    cascades, cells = occupancy.shape[1], occupancy.shape[-1]
    reach = points.abs().amax(-1)
    cascade = torch.log2(reach.clamp(min=1.0)).ceil().long()
    scale = torch.exp2(cascade.to(points.dtype))
    cell = ((points / scale[..., None] + 1) * (cells / 2)).long().clamp(0, cells - 1)
    cascade_in = cascade.clamp(max=cascades - 1)
    at = (((bank * cascades + cascade_in) * cells + cell[..., 2]) * cells + cell[..., 1]) * cells + cell[
        ..., 0
    ]
    return occupancy.flatten()[at] & (cascade < cascades)
