"""Lenses: from image points to the directions they see, and back.

Image points are at unit distance: (x, y) = ((u - cx) / fx, (v - cy) / fy), x to the right and y down. Directions are
in the camera's OpenGL axes: +X right, +Y up, looking along -Z. `perspective` bends nothing, `opencv` is OpenCV's
radial and tangential model (kornia's implementation), `fisheye` its equidistant one (Kannala and Brandt 2006).
"""

from __future__ import annotations

import torch
from torch import Tensor

LENSES = ("perspective", "opencv", "fisheye")
_ITERATIONS = 20


def directions(points: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """The unit directions (N, 3) that image points (N, 2) see, through coefficients (N, 8)."""
    if lens == "fisheye":
        radius = points.norm(dim=-1)
        angle = _angle(radius, distortion)
        # sin(angle) / radius has the limit 1 on the axis.
        across = torch.where(radius > 1e-8, angle.sin() / radius.clamp(min=1e-8), torch.ones_like(radius))
        flat = points * across[:, None]
        return torch.stack((flat[:, 0], -flat[:, 1], -angle.cos()), -1)
    if lens == "opencv":
        from kornia.geometry.calibration import undistort_points

        identity = torch.eye(3, dtype=points.dtype, device=points.device).expand(len(points), 3, 3)
        points = undistort_points(points[:, None], identity, distortion, num_iters=_ITERATIONS)[:, 0]
    seen = torch.stack((points[:, 0], -points[:, 1], -torch.ones_like(points[:, 0])), -1)
    return torch.nn.functional.normalize(seen, dim=-1)


def image_points(seen: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """The inverse of `directions`: image points (N, 2) of directions (N, 3) of any length in front of the camera."""
    x, y, z = seen[:, 0], -seen[:, 1], -seen[:, 2]
    if lens == "fisheye":
        across = torch.hypot(x, y)
        radius = _radius(torch.atan2(across, z), distortion)
        scale = torch.where(across > 1e-8, radius / across.clamp(min=1e-8), 1 / z)
        return torch.stack((x, y), -1) * scale[:, None]
    points = torch.stack((x, y), -1) / z[:, None]
    if lens == "opencv":
        from kornia.geometry.calibration import distort_points

        identity = torch.eye(3, dtype=points.dtype, device=points.device).expand(len(points), 3, 3)
        points = distort_points(points[:, None], identity, distortion)[:, 0]
    return points


def _radius(angle: Tensor, distortion: Tensor) -> Tensor:
    """Fisheye: r = a (1 + k1 a^2 + k2 a^4 + k3 a^6 + k4 a^8) of the angle a (N,) off the axis."""
    square = angle**2
    k = distortion.unbind(-1)
    return angle * (1 + square * (k[0] + square * (k[1] + square * (k[2] + square * k[3]))))


def _angle(radius: Tensor, distortion: Tensor) -> Tensor:
    """The inverse of `_radius`, by Newton's method."""
    k = distortion.unbind(-1)
    angle = radius
    for _ in range(_ITERATIONS):
        square = angle**2
        slope = 1 + square * (3 * k[0] + square * (5 * k[1] + square * (7 * k[2] + square * 9 * k[3])))
        angle = angle - (_radius(angle, distortion) - radius) / slope.clamp(min=1e-3)
    return angle
