"""Quality: how well a bank's field shows its object, in numbers that are quick to find."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from polyfield.fields import Points, StoredField
from polyfield.fitting.metrics.surfaces import interior_iou, sample_surface
from polyfield.process.objects import Shape
from polyfield.rendering.fused import FusedField
from polyfield.rendering.surfaces.descent import descended
from polyfield.rendering.surfaces.meshing import mesh

SURFACE_POINTS = 2048
IOU_POINTS = 1 << 15
_STARTS = 8192  # random points, of which those near the surface descend
_RESOLUTION = 64  # cells along the cube
_F_SCORE = 0.02  # half sizes
_FAR = 2.0  # half sizes: the chamfer distance of a field without a surface


def quality_of(field: StoredField, shape: Shape, seed: int) -> dict[str, float]:
    """Return the chamfer distance in half sizes, the F-score at 0.02 half sizes and, of solids, the interiors' IoU.

    The chamfer distance is the mean of both directions' means, not squared, between points on the field's surface and
    the shape's cloud.
    """
    kind, random = field.meaning.kind, np.random.Generator(np.random.Philox(seed))
    raw = _raw(field)
    found, figures = _surface(field, raw, random), {"chamfer": _FAR, "f_score": 0.0}
    if len(found):
        figures = _compared(found, shape.cloud)
    if kind.inside and shape.inside is not None:
        x = random.uniform(-1, 1, (IOU_POINTS, 3))
        inside = raw(torch.from_numpy(x.astype(np.float32))).numpy() * kind.inside > 0
        overlap = interior_iou(inside, shape.inside(x))
        figures["iou"] = overlap if np.isfinite(overlap) else 0.0
    return figures


def _raw(field: StoredField) -> Callable[[Tensor], Tensor]:
    """Return what maps local points (N, 3) to raw values (N,)."""
    fused = FusedField.of(field)
    if fused is None:
        return lambda x: field.raw_in_chunks(Points(x.to(field.device))).cpu()
    return lambda x: fused.evaluate(Points(x))[0][:, 0]


def _surface(field: StoredField, raw: Callable[[Tensor], Tensor], random: np.random.Generator) -> np.ndarray:
    """Return points (N, 3) on the field's surface."""
    inside = field.meaning.kind.inside
    if inside:
        vertices, faces = mesh(lambda x: -inside * raw(x), [-1.0] * 3, [1.0] * 3, resolution=_RESOLUTION)
        if not len(faces):
            return vertices
        return sample_surface(vertices, faces, SURFACE_POINTS, seed=int(random.integers(1 << 31)))[0]
    transform = field.meaning.transform

    def distances(x: Tensor) -> Tensor:
        return transform(raw(x))

    starts = torch.from_numpy(random.uniform(-1, 1, (_STARTS, 3)).astype(np.float32))
    nearest = starts[distances(starts).argsort()[:SURFACE_POINTS]]
    return descended(distances, nearest, epsilon=1 / _RESOLUTION).double().numpy()


def _compared(found: np.ndarray, cloud: np.ndarray) -> dict[str, float]:
    from scipy.spatial import cKDTree

    there = cKDTree(cloud).query(found, workers=-1)[0]
    back = cKDTree(found).query(cloud, workers=-1)[0]
    precision, recall = float((there < _F_SCORE).mean()), float((back < _F_SCORE).mean())
    return {
        "chamfer": float(there.mean() + back.mean()) / 2,
        "f_score": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    }
