"""Lenses: from ideal to distorted image points and back, and between image points and directions.

Both sides are image points at unit distance: (x, y) = ((u - cx) / fx, (v - cy) / fy), x to the right and y down,
as in OpenCV. `perspective` bends nothing, `opencv` follows OpenCV's radial-tangential model, `fisheye` its
equidistant one (Kannala and Brandt 2006). Directions are in camera axes: x to the right, y up, looking along -z.
Every point has its own 8 coefficients: k1 k2 p1 p2 k3 k4 k5 k6 (opencv) or k1 k2 k3 k4 and zeros (fisheye).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

LENSES = ("perspective", "opencv", "fisheye")
_NEWTON_STEPS = 8


def distort(points: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """Ideal image points (N, 2) -> where the lens puts them (N, 2), with coefficients (N, 8)."""
    if lens == "perspective":
        return points
    if lens == "fisheye":
        return image_points(_at_unit_distance(points), lens, distortion)
    from kornia.geometry.calibration import distort_points

    identity = torch.eye(3, dtype=points.dtype, device=points.device)
    return distort_points(points[:, None], identity, distortion)[:, 0]


def undistort(points: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """The inverse of `distort`: image points (N, 2) of the lens -> ideal ones (N, 2), with coefficients (N, 8).

    A fisheye's points at 90 degrees and more off the axis have no ideal point: use `directions` for them.
    """
    if lens == "perspective":
        return points
    if lens == "fisheye":
        x, y, z = directions(points, lens, distortion).unbind(1)
        return torch.stack([x, -y], 1) / -z[:, None]
    # Newton, as kornia's fixed-point iteration needs 30 rounds and more where these reach rounding error, and can
    # run in circles. Rows of coordinates, not columns: they are read faster.
    target, coefficients = points.T.contiguous(), distortion.T.contiguous()
    ideal = target
    for _ in range(_NEWTON_STEPS):
        ideal = _newton_step(ideal, target, coefficients)
    return ideal.T.contiguous()


def directions(points: Tensor, lens: str, distortion: Tensor) -> Tensor:
    """Image points (N, 2) of the lens -> unit directions (N, 3), a fisheye's also beyond 90 degrees."""
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
    """The inverse of `directions`: directions (N, 3) of any length -> image points (N, 2) of the lens.

    What is farther off the axis than the lens's `reach` gets a point all the same, which means nothing.
    """
    x, y, z = directions.unbind(1)
    across = torch.stack([x, -y], 1)
    if lens != "fisheye":
        return distort(across / -z[:, None], lens, distortion)
    # Not kornia's fisheye, which takes points at unit distance and so ends before 90 degrees.
    radius = across.norm(dim=1)
    image_radius, _ = _fisheye(torch.atan2(radius, -z), distortion)
    return across * (image_radius / radius.clamp(min=1e-20))[:, None]


def reach(lens: str, distortion: Tensor) -> float:
    """The angle in radians off the axis, to 0.1 degrees, up to which a lens with coefficients (8,) can see.

    That far image points move outwards as the angle grows; beyond it the polynomials fold back into the image.
    """
    angle = torch.arange(1, 1800 if lens == "fisheye" else 900, dtype=torch.float64) * (math.pi / 1800)
    rim = torch.stack([angle.sin(), torch.zeros_like(angle), -angle.cos()], 1)
    radius = image_points(rim, lens, distortion.to(rim).expand(len(rim), 8)).norm(dim=1)
    folds = (radius.diff() <= 0).nonzero()
    return float(angle[folds[0, 0]] if len(folds) else angle[-1])


def _at_unit_distance(points: Tensor) -> Tensor:
    """Ideal image points (N, 2) as directions (N, 3) with z = -1."""
    return torch.stack([points[:, 0], -points[:, 1], -torch.ones_like(points[:, 0])], 1)


def _newton_step(ideal: Tensor, target: Tensor, coefficients: Tensor) -> Tensor:
    """Ideal points (2, N) nearer to those that opencv's model, of coefficients (8, N), sends to target (2, N)."""
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
    # Beyond the lens's reach the determinant is not positive: such points stay finite, and mean nothing.
    determinant = (xx * yy - xy * xy).clamp(min=0.01)
    return torch.stack([x - (yy * dx - xy * dy) / determinant, y - (xx * dy - xy * dx) / determinant])


def _fisheye(angle: Tensor, distortion: Tensor) -> tuple[Tensor, Tensor]:
    """Image radius (N,) at an angle (N,) off the axis, and its derivative (N,)."""
    k1, k2, k3, k4 = distortion[:, :4].unbind(1)
    a2 = angle * angle
    radius = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
    slope = 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))
    return radius, slope
