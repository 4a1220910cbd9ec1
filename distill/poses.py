"""Poses: random cameras like those that a field was fitted to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.cameras.rays import Rays
from polyfield.fields import Domain
from polyfield.kernels import random_bits, uniform

_NEIGHBOURS = 6
_BEYOND = 0.25  # a pose may lie outside of the span of two cameras by this share of it
_DISTANCE, _PIXELS = 4.0, 400  # of cameras around a domain, in half sizes; along their sides


class Poses:
    """A distribution of cameras: a training camera, moved and turned towards, or away from, one of its neighbours.

    Cameras between neighbours see what training cameras see, whether they orbit an object or follow a path.
    """

    def __init__(self, cameras: Cameras, blocked: Callable[[Tensor], Tensor]) -> None:
        """blocked maps world points (N, 3) to (N,) bool: where no camera may be."""
        self.cameras, self._blocked = cameras, blocked
        position, turn = cameras.c2w[:, :, 3], cameras.c2w[:, :, :3].flatten(1)
        spread = (position - position.mean(0)).norm(dim=1).mean().clamp(min=1e-6)
        apart = torch.cdist(position / spread, position / spread) + torch.cdist(turn, turn)
        apart.fill_diagonal_(torch.inf)
        self._nearest = apart.topk(min(_NEIGHBOURS, max(len(cameras) - 1, 1)), largest=False).indices

    def at(self, frame: Tensor, c2w: Tensor) -> Cameras:
        """Return cameras of poses c2w (P, 3, 4) with the lenses and sizes of training cameras frame (P,) int64."""
        return replace(self.cameras[frame], c2w=c2w)

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Return `count` poses, as `at` takes them. They are the same for the same seed and step."""
        device = self.cameras.c2w.device
        bits = random_bits((2, count), seed=seed, stream="poses", step=step, device=device)
        first = bits[0] * len(self.cameras) >> 32
        second = self._nearest[first, bits[1] * self._nearest.shape[1] >> 32]
        share = uniform((count,), seed=seed, stream="between", step=step, device=device)
        share = (share * (1 + 2 * _BEYOND) - _BEYOND)[:, None, None]
        own, other = self.cameras.c2w[first], self.cameras.c2w[second]
        between = own + share * (other - own)
        c2w = torch.cat((_rotation(between[:, :, :3], own[:, :, :3]), between[:, :, 3:]), -1)
        blocked = self._blocked(c2w[:, :, 3])
        return first, torch.where(blocked[:, None, None], own, c2w)


def _rotation(matrix: Tensor, instead: Tensor) -> Tensor:
    """Return the rotations (P, 3, 3) that keep the viewing axis, and nearly the up axis, of matrices (P, 3, 3).

    Where two opposite rotations were averaged and no axis is left, the rotation `instead` is returned.
    """
    back, up = matrix[:, :, 2], matrix[:, :, 1]
    right = torch.linalg.cross(up, back)
    lost = (back.norm(dim=1) < 0.1) | (right.norm(dim=1) < 0.1)
    back, right = normalize(back, dim=1), normalize(right, dim=1)
    turned = torch.stack((right, torch.linalg.cross(back, right), back), -1)
    return torch.where(lost[:, None, None], instead, turned)


def rays_of(cameras: Cameras, count: int, *, seed: int, step: int) -> tuple[Tensor, Rays]:
    """Return the rays (R,) of random pixels of random cameras, and the cameras' indices (R,)."""
    bits = random_bits((3, count), seed=seed, stream="pixels", step=step, device=cameras.c2w.device)
    frame = bits[0] * len(cameras) >> 32  # scaled, not modulo, so that none is favoured
    size = cameras.sizes.to(frame.device)[frame]
    pixel = bits[1:].T * size >> 32
    return frame, cameras.rays(frame, pixel + 0.5)


def around(domain: Domain, count: int = 64) -> Cameras:
    """Return cameras spread evenly over a sphere around a domain, for a field without cameras of its own."""
    step = torch.arange(count) + 0.5
    height, angle = 1 - 2 * step / count, step * math.pi * (3 - math.sqrt(5))
    level = (1 - height.square()).sqrt()
    out = torch.stack((level * angle.cos(), height, level * angle.sin()), 1)
    centre = torch.tensor(domain.centre)
    c2w = look_at(centre + _DISTANCE * max(domain.half_size) * out, centre, torch.tensor([0.0, 1.0, 0.0]))
    return Cameras.perspective(c2w, focal=_PIXELS * _DISTANCE / 3, size=(_PIXELS, _PIXELS))
