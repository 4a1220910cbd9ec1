"""Points on the surface of a shape's field."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.errors import PolyfieldError
from polyfield.fields import Field
from polyfield.kernels import uniform

_TRIED = 1 << 18  # points of the box, of which those nearest to the surface are moved onto it
_CANDIDATES = 4  # of those, for one point that is returned
_STEPS = 8
_FAR = 0.1  # of the domain's size: the longest step, and where nothing is nearer there is no surface
_FARTHEST_LOGIT = 1.0
_BESIDE = 0.05  # of the domain's size: so far away on both sides, an unsigned distance has risen


def surface_points(field: Field, count: int, *, seed: int = 0) -> Tensor:
    """Return at most `count` points (N, 3) on the surface of a field of distances or occupancy, in the source's coordinates.

    Points near the surface are moved against the gradient, so they are about evenly spread. Where a fit of unsigned
    distances is poor, it crosses 0; only points on both sides of which the distance rises are returned. Raises PolyfieldError for
    other signals, and where the field has no surface in its domain.
    """
    meaning = field.meaning
    domain, kind = meaning.domain, meaning.kind
    if kind.drawn != "surface":
        raise PolyfieldError(
            f"surface: the field has the signal {meaning.signal!r}; expected sdf, udf or occupancy"
        )
    world = domain.from_unit(uniform((_TRIED, 3), seed=seed, stream="surface", device=field.device))
    near = _first(_values(field, world), _CANDIDATES * count)
    world = world[near]
    for _ in range(_STEPS):
        world = _moved(field, world)
    values = _values(field, world)
    if not kind.inside:
        side = _BESIDE * domain.size * normalize(_gradient(field, world)[1], dim=1)
        beside = torch.minimum(_values(field, world + side), _values(field, world - side))
        risen = beside > values + _BESIDE * domain.size / 4
        world, values = world[risen], values[risen]
    best = _first(values, count)
    far = _FAR * domain.size if kind.output == "distance" else _FARTHEST_LOGIT
    if not len(best) or not float(values[best].abs().median()) < far:
        raise PolyfieldError("surface: the field has no surface in its domain; fit it longer")
    return domain.to_source(world[best])


def _first(values: Tensor, count: int) -> Tensor:
    """Return the rows (N,) of the values that are nearest to 0, in their own order."""
    return values.abs().argsort(stable=True)[:count].sort().values


def _as_values(field: Field, raw: Tensor) -> Tensor:
    """Return distances in the source's unit, below 0 too where a fit of unsigned ones is poor; or logits."""
    transform = field.meaning.transform
    if field.meaning.kind.output != "distance":
        return raw
    if transform.function == "identity":
        return raw * transform.scale + transform.offset
    return transform(raw)


def _values(field: Field, world: Tensor) -> Tensor:
    return _as_values(field, field.raw_at(field.meaning.domain.to_source(world)))


def _gradient(field: Field, world: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values (N,) and their gradients (N, 3) at points (N, 3)."""
    with torch.enable_grad():
        x = world.detach().requires_grad_()
        raw = field.query(field.meaning.domain.to_source(x)).raw
        assert raw is not None
        values = _as_values(field, raw)
        (gradient,) = torch.autograd.grad(values.sum(), x)
    return values.detach(), gradient


def _moved(field: Field, world: Tensor) -> Tensor:
    """Return points (N, 3) moved by their values against the gradient, inside the box."""
    domain = field.meaning.domain
    values, gradient = _gradient(field, world)
    # A distance's gradient has length 1 by definition; near its surface that of an unsigned one is too short.
    if field.meaning.kind.output != "distance":
        values = values / gradient.norm(dim=1).clamp(min=1e-9)
    most = _FAR * domain.size
    moved = world - values.clamp(-most, most)[:, None] * normalize(gradient, dim=1)
    return domain.to_world(domain.to_local(moved).clamp(-1, 1))
