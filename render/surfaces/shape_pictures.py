"""A shape's field in pictures: shaded from some sides, and sections through the middle."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.fields import Domain
from polyfield.render.pictures.slices import slice_picture, slice_points
from polyfield.render.surfaces.shading import shade
from polyfield.render.surfaces.tracing import surface_normals, trace_surface
from polyfield.render.turntable import corners, image_rays, turntable

_SIDE = 384  # pixels
_ALBEDO = (0.85, 0.83, 0.78)

Values = Callable[[Tensor], Tensor]  # points (N, 3) to raw values (N,)


def surface_picture(signal: str, values: Values, domain: Domain, cameras: Cameras, view: int) -> Tensor:
    """The surface of a field of sdf, udf or occupancy, (H, W, 3) in [0, 1], shaded, on white."""
    (low, high), asked, parts = corners(domain), in_units(signal, values, domain), []
    for rays in image_rays(cameras, view):
        hits = trace_surface(signal, asked, rays, low, high)
        normals = surface_normals(signal, asked, hits, rays, low, high)
        up = cameras.c2w[view, :, 1].to(normals)
        lit = shade(hits, normals, rays, albedo=normals.new_tensor(_ALBEDO), light=up)
        parts.append(lit + (~hits.hit)[:, None].float())
    width, height = cameras.sizes[view].tolist()
    return torch.cat(parts).reshape(height, width, 3).clamp(0, 1)


def sections(signal: str, values: Values, domain: Domain, device: str, size: int = _SIDE) -> list[Tensor]:
    """Sections across x, y and z through the middle of a field of sdf, udf or occupancy, of `size` pixels."""
    low, high = corners(domain)
    return [
        slice_picture(
            signal,
            in_units(signal, values, domain),
            slice_points(low, high, axis, domain.centre[axis], size).to(device),
        ).cpu()
        for axis in range(3)
    ]


def shape_pictures(signal: str, values: Values, domain: Domain, device: str) -> list[list[Tensor]]:
    """Two rows of pictures: the surface from four sides, and three sections."""
    cameras = turntable(domain, 4, (_SIDE, _SIDE)).to(device)
    views = [surface_picture(signal, values, domain, cameras, view).cpu() for view in range(4)]
    return [views, sections(signal, values, domain, device, _SIDE)]


def in_units(signal: str, values: Values, domain: Domain) -> Values:
    """Raw values as rendering wants them: distances in the source's unit, an unsigned one not below 0; logits as they are."""
    if signal == "occupancy":
        return values
    least = 0.0 if signal == "udf" else -float("inf")
    return lambda x: values(x).clamp(min=least) * domain.size
