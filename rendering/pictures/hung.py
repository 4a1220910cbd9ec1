"""A picture that hangs in space, as cameras see it: what a viewer pans and zooms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.progress import Progress, silent
from polyfield.rendering.turntable import chunks


def hung_picture(
    colours: Callable[[Tensor], Tensor],
    aspect: float,
    cameras: Cameras,
    view: int,
    progress: Progress = silent,
) -> Tensor:
    """Return a view (H, W, 3) of a picture in the plane z = 0, on white.

    colours is a function of points (N, 2) of the unit square, y down. The picture is `aspect` wide and 1 high, and its
    middle is at the origin.
    """
    parts = []
    for share, rays in chunks(cameras, view):
        slope = rays.directions[:, 2]
        t = -rays.origins[:, 2] / torch.where(slope == 0, torch.full_like(slope, 1e-12), slope)
        x = rays.origins[:, :2] + t[:, None] * rays.directions[:, :2]
        place = torch.stack((x[:, 0] / aspect + 0.5, 0.5 - x[:, 1]), 1)
        seen = (t > 0) & ((place >= 0) & (place <= 1)).all(-1)
        part = torch.ones(len(place), 3, device=place.device)
        if seen.any():
            part[seen] = colours(place[seen])
        parts.append(part)
        progress(share)
    width, height = cameras.sizes[view].tolist()
    return torch.cat(parts).view(height, width, 3)
