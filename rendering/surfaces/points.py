"""Points on the surface of a shape's field."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import Field
from polyfield.kernels import uniform

_TRIED = 1 << 18  # points of the box, of which those nearest to the surface are moved onto it
_STEPS = 8
_FAR = 0.1  # of the domain's size: where nothing is nearer there is no surface
_FARTHEST_LOGIT = 1.0


def surface_points(field: Field, count: int, *, seed: int = 0) -> Tensor:
    """Return points (count, 3) on the surface of a field of distances or occupancy, in the source's coordinates.

    Points near the surface are moved against the gradient, so they are about evenly spread. Raises PolyfieldError for other
    signals, and where the field has no surface in its domain.
    """
    meaning = field.meaning
    if meaning.kind.drawn != "surface":
        raise PolyfieldError(f"surface: the field is of {meaning.signal}; expected sdf, udf or occupancy")
    unit = uniform((_TRIED, 3), seed=seed, stream="surface", device=field.device)
    world = meaning.domain.from_unit(unit)
    distances = meaning.kind.output == "distance"
    raw = field.raw_at(meaning.domain.to_source(world))
    values = meaning.transform(raw) if distances else raw
    near = values.abs().argsort(stable=True)[: 2 * count].sort().values  # in random order again
    world, values = world[near], values[near]
    for _ in range(_STEPS):
        world, values = _moved(field, world, distances)
    best = values.abs().argsort(stable=True)[:count].sort().values
    far = _FAR * meaning.domain.size if distances else _FARTHEST_LOGIT
    if not float(values[best].abs().median()) < far:
        raise PolyfieldError("surface: the field has no surface in its domain; fit it longer")
    return meaning.domain.to_source(world[best])


def _moved(field: Field, world: Tensor, distances: bool) -> tuple[Tensor, Tensor]:
    """Return points (N, 3) moved by their values (N,) against the gradient, inside the box, and those values."""
    domain = field.meaning.domain
    with torch.enable_grad():
        x = world.detach().requires_grad_()
        output = field.query(domain.to_source(x))
        values = output.distance if distances else output.raw
        assert values is not None
        (gradient,) = torch.autograd.grad(values.sum(), x)
    length = gradient.norm(dim=1, keepdim=True).clamp(min=1e-9)
    # A distance's gradient has length 1 by definition; near the surface that of an unsigned one is too short.
    reach = values.detach()[:, None] / (1.0 if distances else length)
    most = _FAR * domain.size
    moved = domain.to_local(world - reach.clamp(-most, most) * gradient / length)
    return domain.to_world(moved.clamp(-1, 1)), values.detach()
