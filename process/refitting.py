"""Shapes of other fields, fitted anew by a bank's recipe, so that networks trained on that bank read them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch

from polyfield.data.clouds import Cloud
from polyfield.errors import PolyfieldError
from polyfield.fields import Field, FieldSpec, StoredField, build
from polyfield.process.bank import Entry, placed
from polyfield.process.fitting import fit_fields
from polyfield.process.objects import CLOUD_POINTS, Shape, shape_of
from polyfield.process.recipes import Recipe
from polyfield.rendering.surfaces.points import surface_points

_DENSE = 1 << 14  # points on a surface to which signed distances are measured


def refitted(field: Field, spec: FieldSpec, recipe: dict[str, Any], *, seed: int = 0) -> StoredField:
    """Return a field of a bank's spec, in the source's coordinates, of the shape of another field.

    Points on the surface take the place of a source. Unsigned distances are to as many points as a bank keeps of a mesh.
    Raises PolyfieldError where one of the fields is no shape, the bank's have an inside and the field has none, or the
    recipe is not known.
    """
    signal, kind = spec.meaning.signal, field.meaning.kind
    if signal not in ("udf", "sdf", "occupancy"):
        raise PolyfieldError(
            "the field's signal, architecture or options differ from those that the network was trained on; use a field of a "
            f"bank with the signal {signal!r} and the same recipe and options"
        )
    if kind.drawn != "surface":
        raise PolyfieldError(
            f"the field has the signal {kind.name!r}, but the network reads fields of shapes; use a field with the signal "
            f"{'udf, sdf or occupancy' if signal == 'udf' else 'sdf or occupancy'}"
        )
    if signal != "udf" and not kind.inside:
        raise PolyfieldError(
            f"the field has the signal {kind.name!r} and so no inside, which the network's signal {signal!r} needs; "
            "use an sdf or occupancy field"
        )
    if set(recipe) != {each.name for each in fields(Recipe)}:
        raise PolyfieldError(
            "the recipe of the network's bank is unknown to this version of polyfield, so the field cannot be refitted; "
            "fit the bank and train the network again with this version"
        )
    made = Recipe(**recipe | {"near": tuple(map(tuple, recipe["near"]))})
    count = CLOUD_POINTS if signal == "udf" else _DENSE
    cloud = Cloud("field", surface_points(field, count, seed=seed).double().cpu().numpy(), None, "", "")
    shape = shape_of(cloud, "udf", np.random.Generator(np.random.Philox(seed)))
    if signal != "udf":
        shape = _signed(shape, field)
    pool = shape.pool(made, signal, np.random.Generator(np.random.Philox(seed)))
    [local] = fit_fields(spec, made, [pool], [seed])
    found = build(placed(spec, Entry("", None, "", shape.centre, shape.half_size)))
    found.take(local.stored())
    return found


def _signed(shape: Shape, field: Field) -> Shape:
    """Return a shape with the inside of a field."""
    domain, sign = field.meaning.domain, field.meaning.kind.inside

    def inside(x: np.ndarray) -> np.ndarray:
        source = torch.from_numpy(x * shape.half_size + np.array(shape.centre)).to(field.device)
        within = domain.to_local(domain.from_source(source)).abs().amax(1) <= 1
        return (within & (field.raw_at(source) * sign > 0)).cpu().numpy()

    def distance(x: np.ndarray) -> np.ndarray:
        return np.where(inside(x), -1.0, 1.0) * shape.distance(x)

    return replace(shape, inside=inside, distance=distance)
