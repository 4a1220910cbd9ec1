"""Pictures of a shape's field: shaded from a camera, and sections through the middle."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.fields import Domain, Field, Points, Signal
from polyfield.progress import Progress, silent
from polyfield.rendering.finite import finite
from polyfield.rendering.pictures.slices import slice_picture, slice_points
from polyfield.rendering.surfaces.shading import shade
from polyfield.rendering.surfaces.tracing import surface_normals, trace_surface
from polyfield.rendering.turntable import chunks

_ALBEDO = (0.85, 0.83, 0.78)

Values = Callable[[Tensor], Tensor]  # world points (N, 3) to (N,)


def surface_values(field: Field) -> Values:
    """Return the function to trace: distances in the source's unit, unsigned ones not below 0, or logits."""
    if field.meaning.kind.output != "distance":
        return lambda x: finite(field.raw_in_chunks(Points(x)))
    transform = field.meaning.transform
    return lambda x: finite(transform(field.raw_in_chunks(Points(x))))


def surface_picture(
    kind: Signal, values: Values, domain: Domain, cameras: Cameras, view: int, progress: Progress = silent
) -> Tensor:
    """Return a view (H, W, 3) in [0, 1] of the surface of `surface_values` in a box, shaded, on white."""
    (low, high), parts = domain.corners, []
    for share, rays in chunks(cameras, view):
        hits = trace_surface(kind, values, rays, low, high)
        normals = surface_normals(kind, values, hits, rays, low, high)
        up = cameras.c2w[view, :, 1].to(normals)
        lit = shade(hits, normals, rays, albedo=normals.new_tensor(_ALBEDO), light=up)
        parts.append(lit + (~hits.hit)[:, None].float())
        progress(share)
    width, height = cameras.sizes[view].tolist()
    return torch.cat(parts).reshape(height, width, 3).clamp(0, 1)


def shape_sections(
    kind: Signal, values: Values, domain: Domain, device: torch.device, size: int
) -> list[Tensor]:
    """Return sections of `surface_values` across x, y and z, through the middle.

    Their longer side has `size` pixels.
    """
    low, high = domain.corners
    points = [slice_points(low, high, axis, domain.centre[axis], size).to(device) for axis in range(3)]
    return [slice_picture(kind, values, part).cpu() for part in points]
