"""Pictures of a volume's field: emission and absorption along rays, and sections through the middle."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
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
    low, high = domain.corners
    diagonal = 2 * float(torch.tensor(domain.half_size).norm())
    parts = []
    for share, rays in chunks(cameras, view):
        background = rays.origins.new_tensor(_BACKGROUND)
        step = diagonal / _SAMPLES
        seen = render_emission(values, low, high, rays, transfer, step=step, background=background)
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
    """Return sections across x, y and z through the middle, `size` pixels along the longer side."""
    low, high = domain.corners
    points = [slice_points(low, high, axis, domain.centre[axis], size).to(device) for axis in range(3)]
    return [slice_picture(kind, values, part, window=window).cpu() for part in points]
