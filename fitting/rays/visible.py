"""Visibility: the occupancy cells that any training camera sees.

Others count as empty, as no ray would clear them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.fields import Domain

_MARGIN = 1.2  # pictures are widened by this factor, for distortion
_CELLS = 32


def visible(cameras: Cameras, domain: Domain, cascades: int) -> Tensor:
    """Return (K, 32, 32, 32) bool, indexed [cascade, z, y, x]: whether a cell reaches into a camera's view.

    Views are taken as those of pinhole cameras, a little wider. If any camera is a fisheye, every cell counts
    as seen.
    """
    device = cameras.c2w.device
    if any("fisheye" in lens for lens in cameras.lens):
        return torch.ones(cascades, _CELLS, _CELLS, _CELLS, dtype=torch.bool, device=device)
    middles = (torch.arange(_CELLS, device=device) + 0.5) * (2 / _CELLS) - 1
    z, y, x = torch.meshgrid(middles, middles, middles, indexing="ij")
    scales = 2.0 ** torch.arange(cascades, device=device)
    local = torch.stack((x, y, z), -1).view(1, -1, 3) * scales[:, None, None]
    world = domain.to_world(local.flatten(0, 1))
    radius = (3**0.5 / _CELLS * max(domain.half_size) * scales).repeat_interleave(_CELLS**3)
    seen = torch.zeros(len(world), dtype=torch.bool, device=device)
    for pose, (fx, fy, cx, cy), (width, height) in zip(
        cameras.c2w, cameras.intrinsics.tolist(), cameras.sizes.tolist(), strict=True
    ):
        right, up, back = ((world - pose[:, 3]) @ pose[:, :3]).unbind(-1)
        ahead = (radius - back).clamp(min=0)
        across = _MARGIN * max(cx, width - cx) / fx * ahead + 2 * radius
        along = _MARGIN * max(cy, height - cy) / fy * ahead + 2 * radius
        seen |= (ahead > 0) & (right.abs() < across) & (up.abs() < along)
    return seen.view(cascades, _CELLS, _CELLS, _CELLS)
