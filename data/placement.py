"""Placement: where a scene of photographs is, from its cameras alone.

The centre is what the cameras look at: the point nearest to all their axes in the least-squares sense. The inner cube
of the contraction reaches, from there, to the farthest camera: everything the cameras walk around lies in it unbent, and
what stands behind it is drawn together towards the shell. All axes are as long, and nothing is turned or moved: world
coordinates stay the source's own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.fields.domain import Domain
from polyfield.render.cameras import Cameras

PARALLEL = (
    1e-3  # mean squared sine between axes below which they meet nowhere in particular (about 1.8 degrees)
)
NEAR = 0.05  # of the median distance from the cameras to the centre


def from_cameras(cameras: Cameras) -> Domain:
    """The contraction domain of cameras that look at something."""
    positions, axes = _positions_and_axes(cameras)
    centre = _meeting_point(positions, axes)
    reach = (positions - centre).abs().max().item()
    half_size = reach if reach > 1e-6 * (1 + centre.abs().max().item()) else 1.0  # all turned on one spot
    x, y, z = centre.tolist()
    return Domain("contraction", (x, y, z), (half_size,) * 3)


def near(cameras: Cameras, domain: Domain) -> float:
    """A small distance in front of the cameras in which nothing can stand: 0.05 of the usual distance to the centre."""
    positions, _ = _positions_and_axes(cameras)
    distance = (positions - positions.new_tensor(domain.centre)).norm(dim=-1).median().item()
    return NEAR * (distance if distance > 1e-3 * domain.half_size[0] else domain.half_size[0])


def notes(cameras: Cameras, domain: Domain) -> list[str]:
    """What looks wrong about the poses, a line each; all of it may be meant."""
    positions, axes = _positions_and_axes(cameras)
    centre = positions.new_tensor(domain.centre)
    found = []
    if ((centre - positions) * axes).sum(-1).median() < 0:
        found.append(
            "most cameras look away from their common centre; unless they were turned on the spot, the poses may be"
            " world-to-camera, or have OpenCV axes"
        )
    if centre.abs().max() > 1e4 * domain.half_size[0]:
        found.append("the scene is far from zero for its size; move its origin, or details drown in rounding")
    if len(cameras) > 1 and (cameras.c2w == cameras.c2w[0]).all():
        found.append("all cameras have the same pose; nothing can be learnt about depth")
    return found


def _positions_and_axes(cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Where the cameras stand and look, (V, 3) float64 each."""
    c2w = cameras.c2w.double().cpu()
    return c2w[:, :, 3], -c2w[:, :, 2]


def _meeting_point(positions: Tensor, axes: Tensor) -> Tensor:
    """The point (3,) nearest to all axes; of nearly parallel ones, a point in front as far as the cameras are apart."""
    across = torch.eye(3, dtype=axes.dtype) - axes[:, :, None] * axes[:, None, :]  # (V, 3, 3): off the axis
    normal = across.mean(0)
    mean = positions.mean(0)
    if torch.linalg.eigvalsh(normal)[0] < PARALLEL:
        apart = (positions - mean).norm(dim=-1).max().item() * 2
        return mean + axes.mean(0) * (apart if apart > 0 else 1.0)
    # around the mean, so that scenes far from zero lose nothing
    right = (across @ (positions - mean)[:, :, None]).mean(0)
    return mean + torch.linalg.solve(normal, right)[:, 0]
