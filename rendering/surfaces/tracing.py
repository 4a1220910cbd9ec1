"""Surfaces: where rays first meet the surface of a function of points, and its normals there.

`sphere_trace` is for exact distance functions. They take points (N, 3) and return signed distances (N,),
negative inside. A lower bound of the true distance serves too, in more steps. Points are (N, 3) views with
each coordinate contiguous in memory, so `points.unbind(-1)` gives contiguous rows.

`trace_surface` is for learned functions, whose distances may be wrong by some factor. It takes the signal's
record: signed distances, negative inside; distances without sign; or occupancy logits, positive inside.
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

# A ray that runs out of steps is close to a surface; within this many tolerances it counts as a hit.
_GRAZING = 10.0

# Four corners of a cube that form a tetrahedron about its centre.
_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))

# The share of a learned distance that a ray steps: distances up to twice too large skip no surface.
_SHARE = 0.5
# Lengths as shares of the box's diagonal.
_SHORTEST, _LONGEST = 1 / 2048, 1 / 16  # steps by a distance
_REGULAR = 1 / 512  # steps through an occupancy
_THIN = 1 / 1024  # a distance without sign below this counts as at the surface
_EPSILON = 1 / 1024  # of the differences that make normals
_BISECTIONS = 8


@dataclass(frozen=True)
class SurfaceHits:
    """The first hits of R rays."""

    hit: Tensor  # (R,) bool
    t: Tensor  # (R,) distance along the unit ray, `far` if nothing was hit
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
    """Return the first hits of rays (R,) with the surface distance(x) = 0, between near and far along them.

    Sphere tracing: a ray steps forward by its distance from the surface until that is below `tolerance`
    (Hart, "Sphere tracing", 1996). Only rays that have not ended are evaluated. A ray that starts inside is a
    hit at `near`. A ray that stepped too far, because the function is larger than the distance, steps back. A
    ray that runs out of steps is a hit if it is within ten tolerances. All lengths are in units of the
    source.
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
        # The last small gap is stepped too, which halves the error; a negative gap steps back.
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
    """Return outward unit normals (N, 3) of the level sets of a distance function at points (N, 3).

    They are differences of four evaluations at the corners of a tetrahedron of half edge `epsilon`
    (units of the source) about each point: sum_i e_i f(x + epsilon e_i) = 4 epsilon grad f + O(epsilon^2).
    """
    columns = points.T.contiguous()
    gradient = torch.zeros_like(columns)
    for corner in columns.new_tensor(_TETRAHEDRON)[:, :, None]:
        gradient += corner * distance((columns + epsilon * corner).T)
    return normalize(gradient.T, dim=-1)


def clip(rays: Rays, low: Sequence[float], high: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the distances (R,), (R,) at which rays (R,) enter and leave the box low .. high.

    They are not negative, and equal for rays that miss it.
    """
    centre = tuple((a + b) / 2 for a, b in zip(low, high))
    half_size = tuple((b - a) / 2 for a, b in zip(low, high))
    return crossing(rays, Domain("box", centre, half_size), 1.0, 0.0)


@torch.no_grad()
def trace_surface(
    kind: Signal, values: Callable[[Tensor], Tensor], rays: Rays, low: Sequence[float], high: Sequence[float]
) -> SurfaceHits:
    """Return the first hits of rays (R,) with the surface of a signal's function, (N, 3) -> (N,).

    Only the box low .. high is searched. With distances, a ray steps half the distance (Hart 1996), within
    bounds. With an occupancy, it steps 1/512 of the box's diagonal. A change of sign is bisected between the
    last point outside and the first inside; a last secant step gives t. A distance without sign is followed
    until it was below 1/1024 of the diagonal and grows again. A secant then gives t, with the values after
    the minimum taken as negative. A ray that enters the box inside the solid is a hit there. Without a hit, t
    is where the ray leaves the box. All rays are evaluated at once, so the caller must bound their number.
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
    """Distances along H rays before and after a surface, and the values there."""

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
    """Return the rays (H,) int64 that meet a surface, and brackets of the first one.

    Steps are clamped to `steps`. A surface is where a value is not positive. If `thin` is given, it is where
    a value below `thin` is followed by a larger one.
    """
    alive = (far > near).nonzero()[:, 0]
    t, end = near[alive], far[alive]
    origins, directions = (part.T.index_select(1, alive) for part in (rays.origins, rays.directions))
    # Before the first point the value is large, and finite for the secant.
    earlier = last = (t, torch.full_like(t, torch.finfo(t.dtype).max))
    found = [(alive[:0], *_Brackets(t[:0], t[:0], t[:0], t[:0]))]
    # This many steps are enough for any values.
    for _ in range(math.ceil(float((end - t).amax()) / steps[0]) + 1 if len(alive) else 0):
        value = distance(torch.addcmul(origins, directions, t).T)
        met = value <= 0 if thin is None else (last[1] < thin) & (value > last[1])
        before, value_before = last if thin is None else earlier
        found.append((alive[met], *_Brackets(before[met], t[met], value_before[met], value[met])))
        on = (~met & (t < end)).nonzero()[:, 0]
        if not len(on):
            break
        earlier, last = last, (t, value)
        if len(on) < len(alive):
            origins, directions = origins.index_select(1, on), directions.index_select(1, on)
            alive, end = alive[on], end[on]
            earlier, last = (earlier[0][on], earlier[1][on]), (t[on], value[on])
        t = torch.minimum(last[0] + (_SHARE * last[1]).clamp(*steps), end)
    hit, *columns = (torch.cat(column) for column in zip(*found))
    return hit, _Brackets(*columns)


def _bisected(distance: DistanceFunction, rays: Rays, found: _Brackets) -> _Brackets:
    """Return brackets (H,) round the same changes of sign on rays (H,), 2^-8 times as long."""
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
    """Return unit normals (R, 3) where rays (R,) met the surface of a signal's function, else 0.

    The function's box is low .. high. Normals point out of the solid. A distance without sign has no gradient
    where it is 0, and its surface has no inside. Its normals point to the side that the ray comes from, and
    are evaluated a little off the surface. The direction of that offset is first found back along the ray.
    """
    epsilon = _EPSILON * math.dist(low, high)
    met = hits.hit.nonzero()[:, 0]
    directions, points = rays.directions[met], hits.points[met]
    if not kind.inside:
        back = torch.full_like(points[:, :1], 4 * epsilon)
        # A ray that grazes the surface goes back until no corner of the differences crosses it.
        for _ in range(3):
            close = values(points - back * directions) < 2 * epsilon
            back = torch.where(close[:, None], 2 * back, back)
        off = _gradient_directions(values, points - back * directions, epsilon)
        off = torch.where((off * directions).sum(1, keepdim=True) > 0, -off, off)
        points = points + 2 * epsilon * off
    found = _gradient_directions(values, points, epsilon)
    return torch.zeros_like(rays.directions).index_put((met,), -found if kind.inside > 0 else found)


def _gradient_directions(values: Callable[[Tensor], Tensor], points: Tensor, epsilon: float) -> Tensor:
    """Return unit vectors (N, 3) along the gradient, to second order.

    Curvature cancels between `normals` and its mirror image.
    """
    return normalize(
        normals(values, points, epsilon=epsilon) - normals(values, points, epsilon=-epsilon), dim=1
    )
