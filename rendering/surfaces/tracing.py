"""Surfaces: where rays first meet the surface that a function of points has, and which way it faces there.

`sphere_trace` is for distance functions that can be trusted. They take points (N, 3) and return signed distances (N,),
negative inside; a lower bound of the true distance is met just the same, in more steps. Points come as (N, 3) views
whose coordinates lie in memory one after the other, so that `points.unbind(-1)` gives contiguous rows.

`trace_surface` is for learned functions, whose distances may be wrong by some factor. It takes the signal's record: signed
distances, negative inside; distances without sign; or occupancy logits, positive inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.rays import Rays
from polyfield.fields import Domain, Signal
from polyfield.rendering.radiance.sampling import crossing

DistanceFunction = Callable[[Tensor], Tensor]

# A ray that runs out of steps skims a surface; within this many tolerances it counts as having met it.
_GRAZING = 10.0

# Four corners of a cube that form a tetrahedron about its centre.
_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))

# Of learned functions a ray steps so much of the distance: none is stepped over that is at most twice too large.
_SHARE = 0.5
# Lengths as shares of the box's diagonal.
_SHORTEST, _LONGEST = 1 / 2048, 1 / 16  # steps by a distance
_REGULAR = 1 / 512  # steps through an occupancy
_THIN = 1 / 1024  # a distance without sign that is below this has met its surface
_EPSILON = 1 / 1024  # of the differences that make normals
_BISECTIONS = 8


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


def clip(rays: Rays, low: Sequence[float], high: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Where rays (R,) enter and leave the box low .. high: distances (R,), (R,), not negative, equal where they miss it."""
    centre = tuple((a + b) / 2 for a, b in zip(low, high))
    half_size = tuple((b - a) / 2 for a, b in zip(low, high))
    return crossing(rays, Domain("box", centre, half_size), 1.0, 0.0)


@torch.no_grad()
def trace_surface(
    kind: Signal, values: Callable[[Tensor], Tensor], rays: Rays, low: Sequence[float], high: Sequence[float]
) -> SurfaceHits:
    """Return the first hits of rays (R,) with the surface of a function, (N, 3) -> (N,), of a signal, in the box low .. high.

    By distances a ray steps half of what it may (Hart 1996), within bounds; through an occupancy by 1/512 of the box's
    diagonal. A sign that changes is bisected between the last point outside and the first inside, and a secant ends it.
    A distance without sign is followed until it has been below 1/1024 of the diagonal and grows again: the least is
    where a secant puts it that takes what comes after for negative. A ray that enters the box inside is a hit there; t
    is where a ray leaves the box if it is none. All rays are evaluated at once: the caller bounds their number.
    """
    near, far = clip(rays, low, high)
    diagonal = math.dist(low, high)
    distance = (lambda x: -values(x)) if kind.inside > 0 else values
    shortest, longest = (_SHORTEST, _LONGEST) if kind.output == "distance" else (_REGULAR, _REGULAR)
    hit, found = _brackets(
        distance,
        rays,
        near,
        far,
        steps=(shortest * diagonal, longest * diagonal),
        thin=None if kind.inside else _THIN * diagonal,
    )
    if kind.inside:
        found = _bisected(distance, rays[hit], found)
    share = found.value_before / (found.value_before + found.value_after.abs()).clamp(min=1e-30)
    t = far.index_put((hit,), torch.lerp(found.before, found.after, share))
    met = torch.zeros_like(t, dtype=torch.bool).index_fill(0, hit, True)
    return SurfaceHits(met, t, rays.origins + t[:, None] * rays.directions)


class _Brackets(NamedTuple):
    """Distances along H rays between which there is a surface, and the values there."""

    before: Tensor  # (H,)
    after: Tensor  # (H,)
    value_before: Tensor  # (H,) not negative
    value_after: Tensor  # (H,)


def _brackets(
    distance: DistanceFunction,
    rays: Rays,
    near: Tensor,
    far: Tensor,
    *,
    steps: tuple[float, float],
    thin: float | None,
) -> tuple[Tensor, _Brackets]:
    """Which rays (H,) int64 meet a surface first, and where; steps are kept between the two of `steps`.

    It is where a value is not positive; or, where `thin` is given, where one below that is followed by a larger one.
    """
    alive = (far > near).nonzero()[:, 0]
    t, end = near[alive], far[alive]
    # Before the first point the value is large, and finite for the secant.
    earlier = last = (t, torch.full_like(t, torch.finfo(t.dtype).max))
    found = [(alive[:0], *_Brackets(t[:0], t[:0], t[:0], t[:0]))]
    # No ray takes more steps, whatever its values are.
    for _ in range(math.ceil(float((end - t).amax()) / steps[0]) + 1 if len(alive) else 0):
        value = distance(rays.origins[alive] + t[:, None] * rays.directions[alive])
        met = value <= 0 if thin is None else (last[1] < thin) & (value > last[1])
        before, value_before = last if thin is None else earlier
        found.append((alive[met], *_Brackets(before[met], t[met], value_before[met], value[met])))
        on = (~met & (t < end)).nonzero()[:, 0]
        if not len(on):
            break
        earlier, last = (last[0][on], last[1][on]), (t[on], value[on])
        alive, end = alive[on], end[on]
        t = torch.minimum(last[0] + (_SHARE * last[1]).clamp(*steps), end)
    hit, *columns = (torch.cat(column) for column in zip(*found))
    return hit, _Brackets(*columns)


def _bisected(distance: DistanceFunction, rays: Rays, found: _Brackets) -> _Brackets:
    """Brackets (H,) on rays (H,) round the same changes of sign, 2^-8 as long."""
    before, after, value_before, value_after = found
    for _ in range(_BISECTIONS):
        middle = (before + after) / 2
        value = distance(rays.origins + middle[:, None] * rays.directions)
        inside = value <= 0
        before, value_before = torch.where(inside, before, middle), torch.where(inside, value_before, value)
        after, value_after = torch.where(inside, middle, after), torch.where(inside, value, value_after)
    return _Brackets(before, after, value_before, value_after)


@torch.no_grad()
def surface_normals(
    kind: Signal,
    values: Callable[[Tensor], Tensor],
    hits: SurfaceHits,
    rays: Rays,
    low: Sequence[float],
    high: Sequence[float],
) -> Tensor:
    """Unit normals (R, 3) where rays (R,) met the surface of a function of a kind in the box low .. high, else 0.

    They point out of the solid. A distance without sign has no gradient where it is 0, and a surface without an inside:
    its normals face where the ray comes from, and are taken a little off the surface, first along the ray to know which
    way that is.
    """
    epsilon = _EPSILON * math.dist(low, high)
    met = hits.hit.nonzero()[:, 0]
    directions, points = rays.directions[met], hits.points[met]
    if not kind.inside:
        back = torch.full_like(points[:, :1], 4 * epsilon)
        # Where the ray grazes the surface, until that is beyond all corners of the differences.
        for _ in range(3):
            close = values(points - back * directions) < 2 * epsilon
            back = torch.where(close[:, None], 2 * back, back)
        off = _gradient_directions(values, points - back * directions, epsilon)
        off = torch.where((off * directions).sum(1, keepdim=True) > 0, -off, off)
        points = points + 2 * epsilon * off
    found = _gradient_directions(values, points, epsilon)
    return torch.zeros_like(rays.directions).index_put((met,), -found if kind.inside > 0 else found)


def _gradient_directions(values: Callable[[Tensor], Tensor], points: Tensor, epsilon: float) -> Tensor:
    """Unit vectors (N, 3) along the gradient, to second order: `normals` and its mirror image do not see curvature."""
    return normalize(
        normals(values, points, epsilon=epsilon) - normals(values, points, epsilon=-epsilon), dim=1
    )
