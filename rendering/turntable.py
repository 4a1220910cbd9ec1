"""Turntable: views on a circle round a box, for fields without cameras of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.cameras.rays import Rays
from polyfield.fields import Domain

_DISTANCE, _ANGLE = 3.2, 0.35  # of the camera from the centre, in half sizes; above the horizon, in radians
# A sphere of this radius, in half sizes, fills the shorter side. The box's corners, rarely filled, are cut.
_FILLED = 1.3
_UP = 1  # the axis of the circle
_AT_ONCE = 1 << 16  # rays


def turntable(domain: Domain, frames: int, size: tuple[int, int]) -> Cameras:
    """Return `frames` views (width, height) of a box, on a circle round its y axis, from a little above."""
    centre = torch.tensor(domain.centre)
    angle = torch.arange(frames) / frames * 2 * math.pi
    level, height = math.cos(_ANGLE), torch.full_like(angle, math.sin(_ANGLE))
    around = torch.stack((level * angle.sin(), height, level * angle.cos()), 1)
    poses = look_at(centre + _DISTANCE * max(domain.half_size) * around, centre, torch.eye(3)[_UP])
    return Cameras.perspective(
        poses, focal=min(size) / 2 / math.tan(math.asin(_FILLED / _DISTANCE)), size=size
    )


def chunks(cameras: Cameras, view: int) -> Iterator[tuple[float, Rays]]:
    """Yield the rays of a view, row by row, in chunks, with the share of the view that is then complete."""
    count = int(cameras.sizes[view].prod())
    for start in range(0, count, _AT_ONCE):
        stop = min(start + _AT_ONCE, count)
        yield stop / count, cameras.image_rays(view, start, stop)
