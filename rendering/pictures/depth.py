"""Distances as a grey picture."""

from __future__ import annotations

from torch import Tensor


def depth_picture(depth: Tensor, opacity: Tensor) -> Tensor:
    """Return distances (H, W) as a picture (H, W, 3): near is bright, far is dark, empty pixels are white."""
    solid = opacity > 0.5
    if not solid.any():
        return depth.new_ones(*depth.shape, 3)
    low, high = depth[solid].aminmax()
    shade = 1 - 0.85 * (depth - low) / (high - low).clamp(min=1e-6)
    return (shade * opacity + (1 - opacity))[..., None].expand(-1, -1, 3)
