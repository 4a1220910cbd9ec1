"""Pictures of a volume's field: emission and absorption along rays, and sections through the middle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.cameras.rays import Rays
from polyfield.fields import Domain, Signal
from polyfield.progress import Progress, silent
from polyfield.rendering.pictures.emission import TransferFunction, render_emission
from polyfield.rendering.pictures.slices import slice_picture, slice_points
from polyfield.rendering.turntable import chunks

_SAMPLES = 256  # along the box's diagonal
_BACKGROUND = (1.0, 1.0, 1.0)

Values = Callable[[Tensor], Tensor]  # world points (N, 3) to values (N, C)


def emission_picture(
    values: Values,
    domain: Domain,
    cameras: Cameras,
    view: int,
    transfer: TransferFunction,
    progress: Progress = silent,
) -> Tensor:
    """Return a view (H, W, 3) in [0, 1] of the volume, on white."""
    low, high = _corners(domain)
    diagonal = 2 * float(torch.tensor(domain.half_size).norm())

    def inside(x: Tensor) -> Tensor:
        return values(_turned_back(x, domain))

    parts = []
    for share, rays in chunks(cameras, view):
        background = rays.origins.new_tensor(_BACKGROUND)
        step = diagonal / _SAMPLES
        rays = Rays(_turned(rays.origins, domain), _turned(rays.directions, domain))
        seen = render_emission(inside, low, high, rays, transfer, step=step, background=background)
        parts.append(seen.colour)
        progress(share)
    width, height = cameras.sizes[view].tolist()
    return torch.cat(parts).reshape(height, width, 3).clamp(0, 1)


def volume_sections(
    kind: Signal,
    values: Values,
    domain: Domain,
    window: tuple[float, float],
    device: torch.device,
    size: int,
) -> list[Tensor]:
    """Return sections across the box's own axes through the middle, `size` pixels along the longer side."""
    low, high = _corners(domain)
    points = [
        slice_points(low, high, axis, (low[axis] + high[axis]) / 2, size).to(device) for axis in range(3)
    ]
    return [
        slice_picture(kind, lambda x: values(_turned_back(x, domain)), part, window=window).cpu()
        for part in points
    ]


def _corners(domain: Domain) -> tuple[list[float], list[float]]:
    """Return the corners of the box after `_turned`."""
    return replace(
        domain, centre=tuple(_turned(torch.tensor(domain.centre), domain).tolist()), rotation=None
    ).corners


def _turned(v: Tensor, domain: Domain) -> Tensor:
    """Return world vectors or points (..., 3) in axes that are the box's own."""
    return v if domain.rotation is None else v @ v.new_tensor(domain.rotation)


def _turned_back(v: Tensor, domain: Domain) -> Tensor:
    return v if domain.rotation is None else v @ v.new_tensor(domain.rotation).T
