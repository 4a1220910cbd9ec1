"""The inputs on which every form of every operation has to agree: random sizes and the edges."""

from __future__ import annotations

import itertools
import math

import torch

from polyfield.kernels import Levels, RaySamples


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LEVELS = {
    "line": Levels(((5,), (17,)), 64),
    "plane": Levels(((3, 4), (9, 7)), 64),
    "dense": Levels.geometric(3, 3, 8, 3, 1 << 10),
    "hashed": Levels.geometric(4, 4, 50, 3, 1 << 8),
    "all hashed": Levels.geometric(2, 30, 60, 3, 1 << 6),
    "time": Levels(((4, 3, 5, 2), (9, 9, 9, 9)), 1 << 9),
}
INTERPOLATE = {
    f"{name}, {points} points, {features} features, bank {bank}": (levels, points, features, bank)
    for name, levels in LEVELS.items()
    for points, features, bank in ((37, 2, None), (1, 1, None), (0, 4, None), (11, 4, 3))
}


def interpolate_inputs(levels: Levels, points: int, features: int, bank: int | None):
    """Table and points; some points on nodes, on the box's faces and corners, and outside of it."""
    lead = () if bank is None else (bank,)
    rng = generator(points + features)
    table = torch.randn(*lead, levels.entries, features, generator=rng)
    x = torch.rand(*lead, points, levels.dimensions, generator=rng)
    edges = torch.tensor([0.0, 1.0, -0.25, 1.5, 0.5])
    for row in range(min(points, 5)):
        x[..., row, :] = edges[row]
    if points > 6:
        x[..., 6, 0] = 1.0
    return table, x


MLP = {
    f"{sizes}, {points} points, biases {biases}, bank {bank}": (sizes, points, biases, bank)
    for sizes in ((3, 4), (32, 64, 16), (5, 16, 16, 3))
    for points, biases, bank in ((33, False, None), (1, True, None), (0, False, None), (7, True, 2))
}


def mlp_inputs(sizes: tuple[int, ...], points: int, biases: bool, bank: int | None):
    lead = () if bank is None else (bank,)
    rng = generator(sum(sizes) + points)
    x = torch.randn(*lead, points, sizes[0], generator=rng)
    weights = [torch.randn(*lead, b, a, generator=rng) / math.sqrt(a) for a, b in itertools.pairwise(sizes)]
    offsets = [torch.randn(*lead, b, generator=rng) for b in sizes[1:]] if biases else None
    return x, weights, offsets


def samples(counts: list[int], seed: int = 0) -> RaySamples:
    """Packed samples with the given number on each ray."""
    rng = generator(seed)
    ray = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts, dtype=torch.long))
    dt = torch.rand(len(ray), generator=rng) * 0.2
    t = (
        torch.cat([torch.rand(n, generator=rng).sort().values * 3 for n in counts])
        if counts
        else torch.zeros(0)
    )
    return RaySamples.pack(t, dt, ray, len(counts))


COMPOSITE = {
    "no rays": [],
    "no samples": [0, 0, 0],
    "one sample": [1],
    "mixed": [3, 0, 1, 17, 0],
    "many": [int(n) for n in torch.randint(0, 40, (50,), generator=generator(9))],
}

MARCH = {
    f"{rays} rays, {cascades} cascades, cone {cone}, full {full}, bank {bank}": (
        rays,
        cascades,
        cone,
        full,
        bank,
    )
    for rays, cascades, cone, full, bank in (
        (20, 1, 0.0, False, None),
        (20, 3, 0.05, False, None),
        (1, 1, 0.0, True, None),
        (0, 1, 0.0, True, None),
        (9, 2, 0.02, False, 3),
        (40, 2, 0.0, False, None),
    )
}


def march_inputs(rays: int, cascades: int, cone: float, full: bool, bank: int | None):
    """Rays from all around, some along faces and axes, some that start inside, some with nothing to cross."""
    lead = () if bank is None else (bank,)
    rng = generator(rays + cascades)
    origins = torch.randn(*lead, rays, 3, generator=rng) * 2
    directions = torch.nn.functional.normalize(torch.randn(*lead, rays, 3, generator=rng), dim=-1)
    if rays > 4:
        origins[..., 0, :] = torch.tensor([-3.0, 1.0, 0.0])  # along the face y = 1
        directions[..., 0, :] = torch.tensor([1.0, 0.0, 0.0])
        origins[..., 1, :] = 0.0
    near = torch.rand(*lead, rays, generator=rng) * 0.5
    far = near + torch.rand(*lead, rays, generator=rng) * 6
    if rays > 4:
        far[..., 2] = near[..., 2]
    cells = 8
    occupancy = torch.rand(*lead, cascades, cells, cells, cells, generator=rng) < 0.3
    occupancy |= full
    jitter = torch.rand(*lead, rays, generator=rng)
    return origins, directions, near, far, occupancy, {"step": 0.11, "cone": cone, "jitter": jitter}
