"""A shape's field in pictures: shaded from some sides, and sections through the middle."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from polyfield.fields import Domain
from polyfield.render.cameras import Cameras, look_at
from polyfield.render.rays import Rays
from polyfield.render.shading import shade
from polyfield.render.slices import slice_picture, slice_points
from polyfield.render.surfaces import surface_normals, trace_surface

_SIDE = 384  # pixels
_ALBEDO = (0.85, 0.83, 0.78)
_DISTANCE, _ANGLE = 3.2, 0.35  # of the camera from the centre, in half sizes; above the horizon, in radians
_FILLED = 1.3
_AT_ONCE = 1 << 16  # rays


def turntable(domain: Domain, frames: int, size: tuple[int, int], up: int = 1) -> Cameras:
    """`frames` views (width, height) of a box, all the way round the axis `up`, with all of it in the picture."""
    centre = torch.tensor(domain.centre)
    angle = torch.arange(frames) / frames * 2 * math.pi
    level, height = math.cos(_ANGLE), torch.full_like(angle, math.sin(_ANGLE))
    around = torch.stack((level * angle.sin(), height, level * angle.cos()), 1).roll(up - 1, 1)
    radius = _DISTANCE * max(domain.half_size)
    axis = torch.eye(3)[up]
    poses = look_at(centre + radius * around, centre, axis)
    # A sphere of so many half sizes fills the shorter side: corners of the box, which may be cut, are hardly ever filled.
    focal = min(size) / 2 / math.tan(math.asin(_FILLED / _DISTANCE))
    return Cameras.perspective(poses, focal=focal, size=size)


def surface_picture(
    signal: str, values: Callable[[Tensor], Tensor], domain: Domain, cameras: Cameras, view: int
) -> Tensor:
    """The surface of a field (H, W, 3) in [0, 1], shaded, on white. values takes points (N, 3) to raw values (N,)."""
    low, high = _box(domain)
    parts = []
    for rays in image_rays(cameras, view):
        # Raw distances are in domain sizes; rays want them in the source's unit.
        unit = 1.0 if signal == "occupancy" else domain.size

        def asked(x: Tensor, unit: float = unit) -> Tensor:
            return values(x) * unit

        hits = trace_surface(signal, asked, rays, low, high)
        normals = surface_normals(signal, asked, hits, rays, low, high)
        lit = shade(
            hits,
            normals,
            rays,
            albedo=normals.new_tensor(_ALBEDO),
            light=cameras.c2w[view, :, 1].to(normals),
        )
        parts.append(lit + (~hits.hit)[:, None].float())
    width, height = cameras.sizes[view].tolist()
    return torch.cat(parts).reshape(height, width, 3).clamp(0, 1)


def shape_pictures(
    signal: str, values: Callable[[Tensor], Tensor], domain: Domain, device: str
) -> list[list[Tensor]]:
    """Two rows of pictures: the surface from four sides, and sections across x, y and z."""
    cameras = turntable(domain, 4, (_SIDE, _SIDE)).to(device)
    views = [surface_picture(signal, values, domain, cameras, view).cpu() for view in range(4)]
    low, high = _box(domain)
    unit = 1.0 if signal == "occupancy" else domain.size
    sections = [
        slice_picture(
            signal,
            lambda x: values(x) * unit,
            slice_points(low, high, axis, domain.centre[axis], _SIDE).to(device),
        ).cpu()
        for axis in range(3)
    ]
    return [views, sections]


def _box(domain: Domain) -> tuple[list[float], list[float]]:
    low = [c - h for c, h in zip(domain.centre, domain.half_size)]
    return low, [c + h for c, h in zip(domain.centre, domain.half_size)]


def image_rays(cameras: Cameras, view: int) -> Iterator[Rays]:
    """The rays of a view, row by row, some at a time."""
    count = int(cameras.sizes[view].prod())
    for start in range(0, count, _AT_ONCE):
        yield cameras.image_rays(view, start, min(start + _AT_ONCE, count))
