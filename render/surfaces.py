"""Surfaces: where rays first meet the zero level of a distance function, and which way it faces there.

A distance function takes points (N, 3) and returns signed distances (N,), negative inside. It need not be exact: a
lower bound of the true distance is met just the same, in more steps. Points come as (N, 3) views whose coordinates lie
in memory one after the other, so that `points.unbind(-1)` gives contiguous rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.render.rays import Rays

DistanceFunction = Callable[[Tensor], Tensor]

# A ray that runs out of steps skims a surface; within this many tolerances it counts as having met it.
_GRAZING = 10.0

# Four corners of a cube that form a tetrahedron about its centre.
_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class SurfaceHits:
    """What R rays met first."""

    hit: Tensor  # (R,) bool
    t: Tensor  # (R,) distance along the unit ray, `far` where nothing was hit
    points: Tensor  # (R, 3) the points at t


def sphere_trace(
    distance: DistanceFunction,
    rays: Rays,
    *,
    near: float,
    far: float,
    tolerance: float = 1e-4,
    max_steps: int = 256,
) -> SurfaceHits:
    """First hits of rays (R,) with the surface distance(x) = 0 between the distances near and far along them.

    Sphere tracing: a ray steps forward by the distance it is from the surface until that is below `tolerance` (Hart,
    "Sphere tracing", 1996). Only rays still on their way are evaluated. A ray that starts inside is a hit at `near`; one
    that stepped too far, where the function is larger than the distance, walks back; one that runs out of steps is a
    hit if it is within ten tolerances. All lengths are in units of the source.
    """
    count = len(rays)
    t = rays.origins.new_full((count,), far)
    hit = torch.zeros(count, dtype=torch.bool, device=t.device)
    alive = torch.arange(count, device=t.device)
    origins, directions = rays.origins.T.contiguous(), rays.directions.T.contiguous()
    reached = torch.full_like(t, near)
    for step in range(max_steps):
        if not len(alive):
            break
        gap = distance(torch.addcmul(origins, directions, reached).T)
        # A close gap is still walked, which halves the error; a negative one leads back from a step that was too long.
        reached = (reached + gap).clamp(min=near)
        within = reached <= far
        close = gap.abs() < (tolerance if step < max_steps - 1 else _GRAZING * tolerance)
        close = within & (close | ((gap < 0) & (reached <= near)))
        met = close.nonzero()[:, 0]
        if len(met):
            found = alive[met]
            hit[found] = True
            t[found] = reached[met]
        on = (within ^ close).nonzero()[:, 0]
        if len(on) < len(alive):
            alive, reached = alive[on], reached[on]
            origins, directions = origins.index_select(1, on), directions.index_select(1, on)
    return SurfaceHits(hit, t, rays.origins + t[:, None] * rays.directions)


def normals(distance: DistanceFunction, points: Tensor, *, epsilon: float) -> Tensor:
    """Unit normals (N, 3) of the level sets of a distance function at points (N, 3), outwards.

    Differences of four evaluations at the corners of a tetrahedron of half edge `epsilon` (units of the source) about
    each point: sum_i e_i f(x + epsilon e_i) = 4 epsilon grad f + O(epsilon^2).
    """
    columns = points.T.contiguous()
    gradient = torch.zeros_like(columns)
    for corner in columns.new_tensor(_TETRAHEDRON)[:, :, None]:
        gradient += corner * distance((columns + epsilon * corner).T)
    return normalize(gradient.T, dim=-1)
