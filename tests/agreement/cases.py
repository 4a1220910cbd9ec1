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
    "hashed": Levels.geometric(4, 4, 50, 3, 300),
    "all hashed": Levels.geometric(2, 30, 60, 3, 1 << 6),
    "time": Levels(((4, 3, 5, 2), (9, 9, 9, 9)), 1 << 9),
}
INTERPOLATE = {
    f"{name}, {points} points, {features} features, bank {bank}": (levels, points, features, bank)
    for name, levels in LEVELS.items()
    for points, features, bank in (
        (37, 2, None),
        (1, 1, None),
        (0, 4, None),
        (11, 4, 3),
        (21, 3, None),
        (19, 8, None),
        (13, 12, None),
    )
} | {"line, 9 points, 96 features, bank None": (LEVELS["line"], 9, 96, None)}
# Fewer entries than nodes: some nodes share one.
INDEXED = Levels(((5, 6, 7),), 90, (torch.arange(210) * 37 % 90).int())
INTERPOLATE |= {
    f"indexed, {features} features, bank {bank}": (INDEXED, 37, features, bank)
    for features, bank in ((1, None), (28, None), (2, 3))
}
# With more points than one task takes.
MANY = {f"{name}, {features} features": (LEVELS[name], features) for name in LEVELS for features in (3, 4)}


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


def many_points(levels: Levels, count: int = 9000) -> torch.Tensor:
    """Points in and round the cube, off the nodes of every level, where the gradient to points jumps."""
    x = torch.rand(2 * count, levels.dimensions, generator=generator(4)) * 1.2 - 0.1
    positions = x.double()[:, None] * (torch.tensor(levels.resolutions) - 1)
    off = (positions - positions.round()).abs().flatten(1).amin(1) > 1e-4
    return x[off][:count]


MLP = {
    f"{sizes}, {points} points, biases {biases}, bank {bank}, sine {sine}": (
        sizes,
        points,
        biases,
        bank,
        sine,
    )
    for sizes, sine in (
        ((3, 4), False),
        ((32, 64, 16), False),
        ((5, 16, 16, 3), True),
        ((17, 33, 9), False),
        ((2, 7, 130, 1), True),
        ((1,) + (5,) * 17 + (2,), False),
        ((3,) + (6,) * 19 + (2,), False),  # deeper than the native kernels go
    )
    for points, biases, bank in ((33, False, None), (1, True, None), (0, False, None), (7, True, 2))
} | {
    f"{sizes}, {points} points, sine {sine}": (sizes, points, True, None, sine)
    for sizes, points in (((40, 256, 256, 3), 400), ((19, 100, 1), 3500), ((16, 16, 16), 6200))
    for sine in (False, True)
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


# Grids that are walked by cells, bricks and blocks: (cascades, cells, cone, what is occupied).
GRIDS = {
    f"{cascades} x {cells}^3, cone {cone}, {kind}": (cascades, cells, cone, kind)
    for cascades, cells, cone, kind in (
        (1, 64, 0.0, "scattered"),
        (1, 64, 0.0, "one corner"),
        (1, 128, 0.004, "a ball"),
        (1, 37, 0.0, "a ball"),
        (1, 6, 0.0, "scattered"),
        (1, 1, 0.0, "everything"),
        (2, 64, 0.01, "a ball"),
        (4, 64, 0.004, "scattered"),
        (5, 64, 0.004, "one corner"),
        (3, 48, 0.0, "scattered"),
        (3, 20, 0.02, "a ball"),
        (5, 10, 0.03, "scattered"),
        (1, 64, 0.0, "nothing"),
        (4, 32, 0.01, "nothing"),
    )
}


def grid(cascades: int, cells: int, cone: float, kind: str) -> torch.Tensor:
    occupancy = torch.full((cascades, cells, cells, cells), kind == "everything")
    if kind == "scattered":  # clumps, and empty space between them
        coarse = torch.rand(cascades, *[-(-cells // 5)] * 3, generator=generator(cells)) < (
            0.05 if cells > 20 else 0.3
        )
        for axis in (1, 2, 3):
            coarse = coarse.repeat_interleave(5, axis)
        occupancy = coarse[:, :cells, :cells, :cells] & (
            torch.rand(occupancy.shape, generator=generator(1)) < 0.7
        )
    elif kind == "one corner":
        occupancy[:, -1, -1, -1] = True
    elif kind == "a ball":
        middle = ((torch.arange(cells) + 0.5) * 2 / cells - 1).square()
        distance = (middle[:, None, None] + middle[:, None] + middle).sqrt()
        occupancy[:] = (distance > 0.5) & (distance < 0.6)
    return occupancy.contiguous()


def grid_rays(reach: float):
    """Origins and directions: from all around; along the axes and through corners; along faces of cells; from inside."""
    rng = generator(11)
    origins = torch.randn(300, 3, generator=rng) * reach
    directions = torch.randn(300, 3, generator=rng)
    directions[:200] = (torch.rand(200, 3, generator=rng) - 0.5) * reach - origins[:200]
    origins[250:] *= 0.1 / reach
    axes = torch.cat((torch.eye(3), -torch.eye(3)))
    corners = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))
    corners = corners[corners.abs().sum(1) > 0]
    through = torch.cat((axes, corners))
    offset = torch.tensor([0.013, -0.37, 0.21]) * reach
    origins = torch.cat((origins, -2 * reach * through, offset - 2 * reach * axes, 0.5 - 2 * reach * axes))
    directions = torch.cat((directions, through, axes, axes))
    return origins, torch.nn.functional.normalize(directions, dim=1)
