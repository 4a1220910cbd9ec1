"""Lenses: maps between ideal and distorted image points, and between image points and directions.

Ideal and distorted points are both image points at unit distance: (x, y) = ((u - cx) / fx, (v - cy) / fy),
with x to the right and y down, as in OpenCV. `perspective` has no distortion, `opencv` is OpenCV's
radial-tangential model, and `fisheye` is its equidistant model (Kannala and Brandt 2006). Directions are in
camera axes: x to the right, y up, looking along -z. Every point has its own 8 coefficients: k1 k2 p1 p2 k3 k4
k5 k6 (opencv) or k1 k2 k3 k4 and zeros (fisheye).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

LENSES = ("perspective", "opencv", "fisheye")
_NEWTON_STEPS = 8


def distort(points: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """Return the distorted points (N, 2) of ideal image points (N, 2), with coefficients (N, 8)."""
    if lens == "perspective":
        return points
    if lens == "fisheye":
        return image_points(_at_unit_distance(points), lens, distortion)
    from kornia.geometry.calibration import distort_points

    identity = torch.eye(3, dtype=points.dtype, device=points.device)
    return distort_points(points[:, None], identity, distortion)[:, 0]


def undistort(points: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """Return the ideal points (N, 2) of distorted points (N, 2), with coefficients (N, 8).

    This is the inverse of `distort`.
    Fisheye points at 90 degrees and more off the axis have no ideal point: use `directions` for them.
    """
    if lens == "perspective":
        return points
    if lens == "fisheye":
        x, y, z = directions(points, lens, distortion).unbind(1)
        return torch.stack([x, -y], 1) / -z[:, None]
    # Newton's method, because kornia's fixed-point iteration needs 30 rounds and more, and may cycle.
    # Coordinates are rows, not columns, because those are read faster.
    target, coefficients = points.T.contiguous(), distortion.T.contiguous()
    ideal = target
    for _ in range(_NEWTON_STEPS):
        ideal = _newton_step(ideal, target, coefficients)
    return ideal.T.contiguous()


def directions(points: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """Return unit directions (N, 3) of distorted points (N, 2), for a fisheye also beyond 90 degrees."""
    if lens != "fisheye":
        return normalize(_at_unit_distance(undistort(points, lens, distortion)), dim=1)
    radius = points.norm(dim=1)
    angle = radius.clamp(max=math.pi)
    for _ in range(_NEWTON_STEPS):
        image_radius, slope = _fisheye(angle, distortion)
        angle = (angle - (image_radius - radius) / slope.clamp(min=0.1)).clamp(0, math.pi)
    across = points * (angle.sin() / radius.clamp(min=1e-20))[:, None]
    return torch.stack([across[:, 0], -across[:, 1], -angle.cos()], 1)


def image_points(directions: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """Return distorted points (N, 2) of directions (N, 3) of any length: the inverse of `directions`.

    The points of directions farther off the axis than the lens's `reach` have no meaning.
    """
    x, y, z = directions.unbind(1)
    across = torch.stack([x, -y], 1)
    if lens != "fisheye":
        return distort(across / -z[:, None], lens, distortion)
    # kornia's fisheye takes points at unit distance, so it ends before 90 degrees.
    radius = across.norm(dim=1)
    image_radius, _ = _fisheye(torch.atan2(radius, -z), distortion)
    return across * (image_radius / radius.clamp(min=1e-20))[:, None]


def reach(lens: str, distortion: Tensor) -> float:
    """Return the largest angle off the axis, in radians, that a lens with coefficients (8,) can see.

    It is accurate to 0.1 degrees. Up to it, image points move outwards as the angle grows. Beyond it, the
    polynomials fold back into the image.
    """
    angle = torch.arange(1, 1800 if lens == "fisheye" else 900, dtype=torch.float64) * (math.pi / 1800)
    rim = torch.stack([angle.sin(), torch.zeros_like(angle), -angle.cos()], 1)
    radius = image_points(rim, lens, distortion.to(rim).expand(len(rim), 8)).norm(dim=1)
    folds = (radius.diff() <= 0).nonzero()
    return float(angle[folds[0, 0]] if len(folds) else angle[-1])


def _at_unit_distance(points: Tensor) -> Tensor:
    """Return ideal image points (N, 2) as directions (N, 3) with z = -1."""
    return torch.stack([points[:, 0], -points[:, 1], -torch.ones_like(points[:, 0])], 1)


def _newton_step(ideal: Tensor, target: Tensor, coefficients: Tensor) -> Tensor:
    """Return ideal points (2, N) after one Newton step towards those that `opencv` distorts to target (2, N).

    coefficients are (8, N).
    """
    x, y = ideal
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    r2 = x * x + y * y
    below = 1 / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    radial = below * (1 + r2 * (k1 + r2 * (k2 + r2 * k3)))
    growth = 2 * below * (k1 + r2 * (2 * k2 + 3 * r2 * k3) - radial * (k4 + r2 * (2 * k5 + 3 * r2 * k6)))
    shift = 2 * (p1 * y + p2 * x)
    dx = x * (radial + shift) + p2 * r2 - target[0]
    dy = y * (radial + shift) + p1 * r2 - target[1]
    # The Jacobian, which is symmetric.
    xx = radial + shift + x * (x * growth + 4 * p2)
    xy = x * y * growth + 2 * (p1 * x + p2 * y)
    yy = radial + shift + y * (y * growth + 4 * p1)
    # Beyond the lens's reach the determinant is not positive; the clamp keeps those points finite.
    determinant = (xx * yy - xy * xy).clamp(min=0.01)
    return torch.stack([x - (yy * dx - xy * dy) / determinant, y - (xx * dy - xy * dx) / determinant])


def _fisheye(angle: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """Return the image radius (N,) at an angle (N,) off the axis, and its derivative (N,)."""
    k1, k2, k3, k4 = distortion[:, :4].unbind(1)
    a2 = angle * angle
    radius = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
    slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
    return radius, slope
