"""The demo scenes' shapes: distance functions, patterns, and positions on the round plinth by time.

Lengths are in units of the scene, which fits the box [-1.3, 1.3]^3 with +Z up. Colours are linear RGB.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.rendering.surfaces.tracing import DistanceFunction, normals

Pattern = Callable[[Tensor], Tensor]  # points (N, 3) in a shape's own axes -> colours (N, 3)
Triple = tuple[float, float, float]

FLOOR = -0.5  # height of the plinth's top
_EPSILON = 1e-3  # of the differences that make normals

CREAM, SLATE, GOLD = (0.80, 0.70, 0.55), (0.10, 0.13, 0.20), (0.85, 0.48, 0.08)
RED, TEAL, BLUE = (0.65, 0.06, 0.05), (0.02, 0.33, 0.34), (0.05, 0.14, 0.55)
GREEN, WHITE, VIOLET = (0.10, 0.42, 0.08), (0.72, 0.72, 0.72), (0.30, 0.08, 0.45)


# Distance functions, centred at the origin: points (N, 3) -> signed distances (N,).


def sphere(radius: float) -> DistanceFunction:
    """Return the distance to a ball."""
    return lambda points: _length(*points.unbind(-1)) - radius


def rounded_box(half: tuple[float, float, float], rounding: float) -> DistanceFunction:
    """Return the distance to a box of half extents `half`, with edges rounded inwards."""

    def distance(points: Tensor) -> Tensor:
        outside = [axis.abs() - (size - rounding) for axis, size in zip(points.unbind(-1), half)]
        deepest = torch.maximum(torch.maximum(outside[0], outside[1]), outside[2])
        return _length(*(axis.clamp(min=0) for axis in outside)) + deepest.clamp(max=0) - rounding

    return distance


def torus(ring: float, tube: float) -> DistanceFunction:
    """Return the distance to a tube bent into a ring round the Z axis."""

    def distance(points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        return _length(_length(x, y) - ring, z) - tube

    return distance


def capsule(half: float, radius: float) -> DistanceFunction:
    """Return the distance to the points within `radius` of the piece -half .. half of the Z axis."""

    def distance(points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        return _length(x, y, z - z.clamp(-half, half)) - radius

    return distance


def cylinder(half: float, radius: float, rounding: float) -> DistanceFunction:
    """Return the distance to an upright cylinder of height 2 half with rounded rims; a flat one is a disc."""

    def distance(points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        across = _length(x, y) - (radius - rounding)
        along = z.abs() - (half - rounding)
        outside = _length(across.clamp(min=0), along.clamp(min=0))
        return outside + torch.maximum(across, along).clamp(max=0) - rounding

    return distance


def smooth_union(
    first: DistanceFunction, second: DistanceFunction, offset: float, blend: float
) -> DistanceFunction:
    """Return a lower bound of the distance to two blended shapes.

    The second is `offset` higher, and they flow into each other over `blend`.
    """

    def distance(points: Tensor) -> Tensor:
        a, b = first(points), second(points - points.new_tensor((0.0, 0.0, offset)))
        overlap = (blend - (a - b).abs()).clamp(min=0)
        return torch.minimum(a, b) - overlap * overlap / (4 * blend)

    return distance


def _length(*axes: Tensor) -> Tensor:
    square = axes[0] * axes[0]
    for axis in axes[1:]:
        square = torch.addcmul(square, axis, axis)
    return square.sqrt()


# Patterns. Their edges are soft slopes no narrower than a pixel of the demo's photographs.


def plain(colour: Triple) -> Pattern:
    return lambda points: points.new_tensor(colour).expand(len(points), 3)


def checks(cell: float, first: Triple, second: Triple) -> Pattern:
    """Return a checkerboard of cubes."""

    def pattern(points: Tensor) -> Tensor:
        waves = _wave(points * (math.pi / cell))
        return _mix(waves[:, 0] * waves[:, 1] * waves[:, 2], first, second)

    return pattern


def stripes(number: int, twist: float, first: Triple, second: Triple) -> Pattern:
    """Return `number` stripes round a torus's Z axis, leaning by `twist` (radians per unit of height)."""

    def pattern(points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        return _mix(_wave(number * torch.atan2(y, x) + twist * z), first, second)

    return pattern


def rings(height: float, first: Triple, second: Triple) -> Pattern:
    """Return level rings, `height` each."""
    return lambda points: _mix(_wave((points[:, 2] / height + 0.5) * math.pi), first, second)


def marble(grain: float, first: Triple, second: Triple) -> Pattern:
    """Return veins: a sine of the position, bent by slower sines."""

    def pattern(points: Tensor) -> Tensor:
        x, y, z = (points * grain).unbind(-1)
        bent = x + 0.6 * y + 1.3 * torch.sin(0.9 * y + 1.7 * z) + 0.8 * torch.sin(1.9 * z - 1.3 * x + 2.0)
        vein = 1 - torch.sin(bent + 0.5 * torch.sin(2.7 * y + 1.1 * x)).abs()
        return _mix(2 * vein * vein - 1, first, second)

    return pattern


def paving(cell: float, edge: float, first: Triple, second: Triple, rim: Triple) -> Pattern:
    """Return a level checkerboard within a circle of radius `edge`, plain beyond it and below the top."""

    def pattern(points: Tensor) -> Tensor:
        x, y, z = points.unbind(-1)
        board = _mix(_wave(x * (math.pi / cell)) * _wave(y * (math.pi / cell)), first, second)
        inside = ((edge - _length(x, y)) * 40 + 0.5).clamp(0, 1) * (z * 40 - 0.5).clamp(0, 1)
        return torch.lerp(points.new_tensor(rim).expand_as(board), board, inside[:, None])

    return pattern


def _wave(phase: Tensor) -> Tensor:
    """Return a square wave in [-1, 1] of period 2 pi with sloping flanks."""
    return (4 * torch.sin(phase)).clamp(-1, 1)


def _mix(balance: Tensor, first: Triple, second: Triple) -> Tensor:
    """Return colours (N, 3) from the first at balance (N,) = -1 to the second at 1."""
    start, end = balance.new_tensor(first), balance.new_tensor(second)
    return torch.lerp(start, end, (0.5 + 0.5 * balance)[:, None])


# Shapes and their positions.


@dataclass(frozen=True)
class Shape:
    """A shape in its own axes, and the position of these axes in the world."""

    distance: DistanceFunction
    half: Tensor  # (3,) half extents of a box about its centre that holds it, in its own axes
    reach: float  # radius of a sphere about its centre that holds it
    pattern: Pattern
    centre: Tensor  # (3,)
    turn: Tensor  # (3, 3) own axes to world
    gloss: float  # strength of the highlight and of the sky's reflection

    def to_local(self, points: Tensor) -> Tensor:
        """Return world points (N, 3) in the shape's own axes."""
        return self.turn_to_local(points - self.centre)

    def turn_to_local(self, directions: Tensor) -> Tensor:
        """Return world directions (N, 3) in the shape's own axes."""
        return (self.turn.T @ directions.T).T

    def normals(self, local: Tensor) -> Tensor:
        """Return world normals (N, 3) at points (N, 3) in the shape's own axes."""
        return normalize(normals(self.distance, local, epsilon=_EPSILON) @ self.turn.T, dim=-1)


def plinth() -> Shape:
    """Return the round slab below all shapes. It never moves."""
    pattern = paving(0.22, 1.06, (0.62, 0.60, 0.56), (0.34, 0.35, 0.38), (0.45, 0.36, 0.27))
    half = (1.2, 1.2, 0.07)
    return _place(
        cylinder(half[2], half[0], 0.03), half, 1.21, pattern, (0.0, 0.0, FLOOR - half[2]), gloss=0.03
    )


def shapes(time: float = 0.0) -> list[Shape]:
    """Return the shapes on the plinth at a time in [0, 1]: at 0 as in the still scene, at 1 as at 0."""
    turn = 2 * math.pi * time
    bounce = 0.42 * math.sin(turn / 2) ** 2
    swing = turn + 2.6
    satellite = (0.42 * math.cos(swing) - 0.1, 0.42 * math.sin(swing) + 0.66, 0.32)
    return [
        _ball(0.3, checks(0.17, RED, CREAM), (0.42, -0.5, FLOOR + 0.3 + bounce), gloss=0.25),
        _place(
            torus(0.3, 0.105),
            (0.405, 0.405, 0.105),
            0.405,
            stripes(9, 9.0, TEAL, GOLD),
            (0.64, 0.33, FLOOR + 0.405),
            turn=_about_z(0.5 + turn) @ _about_x(math.pi / 2) @ _about_z(turn),
            gloss=0.2,
        ),
        _place(
            rounded_box((0.26, 0.26, 0.26), 0.05),
            (0.26, 0.26, 0.26),
            0.45,
            marble(8.0, (0.70, 0.74, 0.72), (0.04, 0.20, 0.13)),
            (-0.52, -0.42, FLOOR + 0.26),
            turn=_about_z(0.45),
            gloss=0.15,
        ),
        _place(
            smooth_union(sphere(0.22), sphere(0.12), 0.25, 0.16),
            (0.25, 0.25, 0.4),
            0.4,
            plain((0.50, 0.04, 0.12)),
            (-0.76, 0.28, FLOOR + 0.22),
            gloss=1.0,
        ),
        _place(
            cylinder(0.45, 0.19, 0.04),
            (0.19, 0.19, 0.45),
            0.49,
            rings(0.15, (0.80, 0.62, 0.20), (0.12, 0.10, 0.30)),
            (-0.1, 0.66, FLOOR + 0.45),
            gloss=0.2,
        ),
        _place(
            capsule(0.16, 0.11),
            (0.11, 0.11, 0.27),
            0.27,
            plain(BLUE),
            (0.02, -0.02, FLOOR + 0.11),
            turn=_about_z(0.9) @ _about_x(math.pi / 2),
            gloss=0.8,
        ),
        _ball(0.1, plain(GREEN), (-0.1, -0.85, FLOOR + 0.1), gloss=0.3),
        _ball(0.08, plain(WHITE), (0.95, -0.15, FLOOR + 0.08), gloss=0.3),
        _ball(0.1, plain(GOLD), satellite, gloss=0.5),
    ]


def _ball(radius: float, pattern: Pattern, centre: Triple, *, gloss: float) -> Shape:
    return _place(sphere(radius), (radius, radius, radius), radius, pattern, centre, gloss=gloss)


def _place(
    distance: DistanceFunction,
    half: Triple,
    reach: float,
    pattern: Pattern,
    centre: Triple,
    *,
    turn: Tensor | None = None,
    gloss: float,
) -> Shape:
    turn = torch.eye(3) if turn is None else turn
    return Shape(distance, torch.tensor(half), reach, pattern, torch.tensor(centre), turn, gloss)


def _about_x(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor(((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c)))


def _about_z(angle: float) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))
