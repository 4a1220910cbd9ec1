"""Shapes of other fields, fitted anew by a bank's recipe, so that networks trained on that bank read them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from polyfield.data.clouds import Cloud
from polyfield.errors import PolyfieldError
from polyfield.fields import Field, FieldSpec, StoredField
from polyfield.process.fitting import fit_fields
from polyfield.process.objects import CLOUD_POINTS, Shape, shape_of
from polyfield.process.recipes import Recipe
from polyfield.rendering.surfaces.points import surface_points

_DENSE = 1 << 14  # points on a surface to which distances are measured


def refitted(field: Field, spec: FieldSpec, recipe: dict[str, Any], *, seed: int = 0) -> StoredField:
    """Return a field of a bank's spec, in the shape's own cube, of the shape of another field.

    Points on the surface take the place of the source. Unsigned distances are to as many points as a bank keeps of a mesh.
    Raises PolyfieldError where one of the fields is no shape, or the bank needs an inside and the field has none.
    """
    signal, kind = spec.meaning.signal, field.meaning.kind
    if kind.drawn != "surface" or signal not in ("udf", "sdf", "occupancy"):
        raise PolyfieldError(f"the field is of {kind.name}, the bank's are of {signal}; expected shapes")
    if signal != "udf" and not kind.inside:
        raise PolyfieldError(f"the field is of {kind.name}, which has no inside; the bank's are of {signal}")
    points = surface_points(field, CLOUD_POINTS if signal == "udf" else _DENSE, seed=seed).double().numpy()
    shape = shape_of(Cloud("field", points, None, "", ""), "udf", np.random.default_rng(seed))
    if signal != "udf":
        shape = _signed(shape, field)
    made = Recipe(**recipe | {"near": tuple(map(tuple, recipe["near"]))})
    pool = shape.pool(made, signal, np.random.Generator(np.random.Philox(seed)))
    return fit_fields(spec, made, [pool], [seed])[0]


def _signed(shape: Shape, field: Field) -> Shape:
    """Return a shape with the inside of a field."""
    from dataclasses import replace

    domain, sign = field.meaning.domain, field.meaning.kind.inside

    def inside(x: np.ndarray) -> np.ndarray:
        source = torch.from_numpy(x * shape.half_size + np.array(shape.centre))
        within = domain.to_local(domain.from_source(source)).abs().amax(1) <= 1
        return (within & (field.raw_at(source) * sign > 0)).numpy()

    def distance(x: np.ndarray) -> np.ndarray:
        return np.where(inside(x), -1.0, 1.0) * shape.distance(x)

    return replace(shape, inside=inside, distance=distance)
