"""Augmentation of planes and clouds.

A change of an object's cube changes all of its planes: a part of an axis is the same part in every plane that
has this axis. Planes are (B, 3, F, R, R) of the axes xy, xz, yz, the first axis along the last dimension; node i of R is at i / (R - 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

AXES = ((0, 1), (0, 2), (1, 2))  # of each plane

Box = tuple[Tensor, Tensor]  # lowest and highest corner (B, 3) in the unit cube


def resampled(planes: Tensor, box: Box) -> Tensor:
    """Return planes of as many nodes whose cube is a box of the given one.

    An axis is flipped where low > high. Values at the new nodes are those that interpolation gives there, and flips are
    exact everywhere.
    """
    low, high = box
    nodes = torch.arange(planes.shape[-1], device=planes.device, dtype=planes.dtype)
    last = planes.shape[-1] - 1
    places = low[..., None] * last + (high - low)[..., None] * nodes  # (B, 3, R), in nodes
    weights = (1 - (places.clamp(0, last)[..., None] - nodes).abs()).clamp(min=0)  # (B, 3, R, R)
    # Bilinear interpolation on a grid is a product with a matrix on each side.
    along = torch.stack([weights[:, first] for first, _ in AXES], 1)[:, :, None]
    across = torch.stack([weights[:, second] for _, second in AXES], 1)[:, :, None]
    return across @ planes @ along.mT


def points_in(points: Tensor, box: Box) -> Tensor:
    """Return where points (B, P, 3) of the cube [-1, 1]^3 are in the cube of `resampled` planes."""
    low, high = (corner[:, None] for corner in box)
    return ((points + 1) / 2 - low) / (high - low) * 2 - 1


def exchanged(planes: Tensor, one: int, other: int) -> Tensor:
    """Return planes of the cube with two axes exchanged."""
    order = [other if axis == one else one if axis == other else axis for axis in range(3)]
    found = []
    for first, second in AXES:
        source = order[first], order[second]
        if source in AXES:
            found.append(planes[:, AXES.index(source)])
        else:
            found.append(planes[:, AXES.index(source[::-1])].mT)
    return torch.stack(found, 1)


def turned(planes: Tensor, quarters: int, up: int = 2) -> Tensor:
    """Return planes of the cube turned by quarter turns about an axis, counter-clockwise as seen from its end. Exact.

    With up = 2, one quarter takes the point (x, y, z) to (-y, x, z).
    """
    one, other = (up + 1) % 3, (up + 2) % 3
    low, high = planes.new_zeros(len(planes), 3), planes.new_ones(len(planes), 3)
    low[:, one], high[:, one] = 1, 0
    for _ in range(quarters % 4):
        planes = resampled(exchanged(planes, one, other), (low, high))
    return planes


def random_boxes(count: int, generator: torch.Generator, *, least: float, flips: Sequence[int] = ()) -> Box:
    """Return random boxes whose sides are `least` to 1, with the axes in `flips` flipped in half of them."""
    sides = least + (1 - least) * torch.rand(count, 3, generator=generator)
    low = (1 - sides) * torch.rand(count, 3, generator=generator)
    high = low + sides
    flipped = torch.rand(count, 3, generator=generator) < 0.5
    flipped &= torch.tensor([axis in flips for axis in range(3)])
    return torch.where(flipped, high, low), torch.where(flipped, low, high)


def jittered(points: Tensor, generator: torch.Generator, *, most: int) -> Tensor:
    """Return clouds (B, P, 3) with at most `most` of their points, each scaled by 0.8 to 1.25, with noise on each point.

    The noise has deviation 0.01 and is at most 0.05. This is PointNet's augmentation (Qi et al. 2017) without its turns
    about the up axis.
    """
    points = points[:, torch.randperm(points.shape[1], generator=generator)[:most]]
    scale = 0.8 + 0.45 * torch.rand(len(points), 1, 1, generator=generator)
    noise = 0.01 * torch.randn(points.shape, generator=generator)
    return points * scale + noise.clamp(-0.05, 0.05)
