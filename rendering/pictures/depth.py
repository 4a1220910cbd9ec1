"""Distances as a picture that people can read."""

from __future__ import annotations

from torch import Tensor


def depth_picture(depth: Tensor, opacity: Tensor) -> Tensor:
    """Distances (H, W) as (H, W, 3): near is bright, far is dark, and where nothing is it is white."""
    solid = opacity > 0.5
    if not solid.any():
        return depth.new_ones(*depth.shape, 3)
    low, high = depth[solid].aminmax()
    shade = 1 - 0.85 * (depth - low) / (high - low).clamp(min=1e-6)
    return (shade * opacity + (1 - opacity))[..., None].expand(-1, -1, 3)
