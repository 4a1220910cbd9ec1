"""Rays and analytic shapes that tests of rendering share."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.rays import Rays
from polyfield.fields import SIGNALS

SURFACES = [name for name, signal in SIGNALS.items() if signal.drawn == "surface"]
LOW, HIGH = (-1.5, -1.25, -1.5), (1.5, 1.75, 1.25)
DIAGONAL = math.dist(LOW, HIGH)


def rays_towards(points: Tensor, origin: tuple[float, float, float]) -> Rays:
    origins = points.new_tensor(origin).expand_as(points)
    return Rays(origins, normalize(points - origins, dim=-1))


def random_rays(count: int = 1500) -> Rays:
    return rays_towards(3 * torch.rand(count, 3) - 1.5, (0.5, -4.0, 1.0))


def along_x(*heights: float) -> Rays:
    """Rays along +X from x = -5 at these heights above the XY plane."""
    origins = torch.tensor([[-5.0, 0.0, height] for height in heights]).reshape(-1, 3)
    return Rays(origins, torch.tensor([1.0, 0.0, 0.0]).expand(len(heights), 3))


def slow_clip(rays: Rays, low: tuple[float, ...], high: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Entry and exit (R,) in double precision, face by face; exit = entry for a miss."""
    pairs = []
    for origin, direction in zip(rays.origins.tolist(), rays.directions.tolist()):
        enter, leave = 0.0, math.inf
        for o, d, a, b in zip(origin, direction, low, high):
            if d == 0:
                first, second = (0.0, math.inf) if a <= o <= b else (math.inf, math.inf)
            else:
                first, second = sorted(((a - o) / d, (b - o) / d))
            enter, leave = max(enter, first), min(leave, second)
        pairs.append((enter, max(enter, leave)))
    return tuple(torch.tensor(pairs, dtype=torch.float64).unbind(1))  # type: ignore[return-value]


def ball(x: Tensor) -> Tensor:
    return x.norm(dim=1) - 1


BOX_HALF = (0.5, 0.8, 0.3)


def box(x: Tensor) -> Tensor:
    beyond = x.abs() - x.new_tensor(BOX_HALF)
    return beyond.clamp(min=0).norm(dim=1) + beyond.amax(1).clamp(max=0)


TILT = normalize(torch.tensor([1.0, -2.0, 0.5]), dim=0)


def disc(x: Tensor) -> Tensor:
    """Distance to an open disc of radius 1 round the origin, across TILT."""
    height = x @ TILT
    across = (x - height[:, None] * TILT).norm(dim=1)
    return torch.hypot((across - 1).clamp(min=0), height)


def of_kind(kind: str, distance, scale: float = 1.0):
    """A function of a kind with the surface of a signed distance, too large or small by a factor."""
    return {
        "sdf": lambda x: scale * distance(x),
        "udf": lambda x: scale * distance(x).abs(),
        "occupancy": lambda x: -scale * 30 * distance(x),
    }[kind]
