"""A volume's field in pictures: glowing and absorbing from some side, and sections through the middle."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.fields import Domain
from polyfield.render.pictures.emission import TransferFunction, render_emission
from polyfield.render.pictures.slices import slice_picture, slice_points
from polyfield.render.turntable import corners, image_rays

_SAMPLES = 256  # along the box's diagonal
_BACKGROUND = (1.0, 1.0, 1.0)

Values = Callable[[Tensor], Tensor]  # points (N, 3) to values (N, C)


def emission_picture(
    values: Values, domain: Domain, cameras: Cameras, view: int, transfer: TransferFunction
) -> Tensor:
    """The volume (H, W, 3) in [0, 1], on white."""
    low, high = corners(domain)
    diagonal = 2 * float(torch.tensor(domain.half_size).norm())
    parts = []
    for rays in image_rays(cameras, view):
        background = rays.origins.new_tensor(_BACKGROUND)
        step = diagonal / _SAMPLES
        seen = render_emission(values, low, high, rays, transfer, step=step, background=background)
        parts.append(seen.colour)
    width, height = cameras.sizes[view].tolist()
    return torch.cat(parts).reshape(height, width, 3).clamp(0, 1)


def sections(
    values: Values, domain: Domain, window: tuple[float, float], device: str, size: int
) -> list[Tensor]:
    """Sections across x, y and z through the middle, of `size` pixels."""
    low, high = corners(domain)
    points = [slice_points(low, high, axis, domain.centre[axis], size).to(device) for axis in range(3)]
    return [slice_picture("volume", values, part, window=window).cpu() for part in points]
