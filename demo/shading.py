"""The demo scenes' light: the colours that rays see, with shadows, ambient light and highlights.

Shapes are evaluated one by one, each only at rays and points that come near it. Bounding spheres and boxes
select these.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.rays import Rays
from polyfield.demo.shapes import Shape
from polyfield.rendering.surfaces.tracing import sphere_trace

_LIGHT = normalize(torch.tensor((0.55, -0.45, 0.85)), dim=0)  # towards the key light
_KEY = torch.tensor((1.0, 0.94, 0.84))
_SKY, _HORIZON = torch.tensor((0.36, 0.52, 0.85)), torch.tensor((0.85, 0.88, 0.92))
_GROUND = torch.tensor((0.30, 0.27, 0.24))
_LIGHT_WIDTH = 0.09  # radius of the light as a slope: the softness of shadows
_TOLERANCE = 2e-4  # of the first hits, in units of the scene
_STEPS = 24  # enough for all rays but some at silhouettes
_SHADOW_STEPS = 24
# Ambient light is measured at these heights above a surface, with these weights.
_OCCLUSION = ((0.05, 0.35), (0.13, 0.3), (0.3, 0.25))


def render(ground: Shape, shapes: list[Shape], rays: Rays) -> tuple[Tensor, Tensor]:
    """Return sRGB colours (R, 3) in [0, 1] of rays (R,), and whether they hit, (R,) bool.

    Colours are 0 for no hit. `ground` is below the shapes: it receives shadows and casts none.
    """
    everything = [ground, *shapes]
    rays = Rays(_in_columns(rays.origins), _in_columns(rays.directions))
    t, owner = _first_hits(everything, rays)
    seen = (owner >= 0).nonzero()[:, 0]
    colours = torch.zeros(len(rays), 3)
    view = _in_columns(rays.directions[seen])
    points = rays.origins[seen] + t[seen, None] * view
    albedo, normal, gloss = _surface(everything, points, owner[seen])
    lit = _lit(points, normal, shapes)
    ambient = _ambient(normal) * _openness(points, normal, everything)[:, None]
    mirrored = view - 2 * (view * normal).sum(-1, keepdim=True) * normal
    shine = gloss[:, None] * _shine(view, normal, mirrored, lit, ambient)
    colours[seen] = _srgb(albedo * (lit[:, None] * _KEY + ambient) + shine)
    return colours, owner >= 0


def _in_columns(vectors: Tensor) -> Tensor:
    """Return the same (N, 3) with each coordinate contiguous in memory, for faster sums over coordinates."""
    return vectors.T.contiguous().T


def _first_hits(shapes: list[Shape], rays: Rays) -> tuple[Tensor, Tensor]:
    """Return the distance (R,) and number (R,) of the shape that each ray meets first, or -1 for no shape."""
    t = torch.full((len(rays),), torch.inf)
    owner = torch.full((len(rays),), -1)
    for number, shape in enumerate(shapes):
        chosen, near, local = _rays_into_box(shape, rays)
        hits = sphere_trace(
            shape.distance, local, near=0.0, far=2 * shape.reach, tolerance=_TOLERANCE, max_steps=_STEPS
        )
        found = near + hits.t
        closer = (hits.hit & (found < t[chosen])).nonzero()[:, 0]
        t[chosen[closer]] = found[closer]
        owner[chosen[closer]] = number
    return t, owner


def _rays_into_box(shape: Shape, rays: Rays) -> tuple[Tensor, Tensor, Rays]:
    """Return which rays (C,) meet the box round a shape, and at what distances (C,).

    The third result is the rays (C,) from there on, in the shape's own axes.
    """
    along, across = _approach(shape, rays.origins, rays.directions)
    chosen = ((across < shape.reach**2) & (along > 0)).nonzero()[:, 0]
    origins = shape.to_local(rays.origins[chosen])
    directions = shape.turn_to_local(rays.directions[chosen])
    low, high = (-shape.half - origins) / directions, (shape.half - origins) / directions
    near = torch.minimum(low, high).amax(-1).clamp(min=0)
    meets = (near < torch.maximum(low, high).amin(-1)).nonzero()[:, 0]
    near, directions = near[meets], _in_columns(directions[meets])
    return chosen[meets], near, Rays(_in_columns(origins[meets]) + near[:, None] * directions, directions)


def _approach(shape: Shape, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return where lines (N, 3) pass nearest to a shape's centre.

    The results are the distance along the lines (N,), and the square of the distance to the centre (N,).
    """
    arms = shape.centre - origins
    along = (arms * directions).sum(-1)
    return along, (arms * arms).sum(-1) - along * along


def _surface(shapes: list[Shape], points: Tensor, owner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return colour (N, 3), normal (N, 3) and gloss (N,) of points (N, 3) on shapes numbered owner (N,)."""
    albedo, normal, gloss = torch.empty_like(points), torch.empty_like(points), torch.empty(len(points))
    for number, shape in enumerate(shapes):
        mine = (owner == number).nonzero()[:, 0]
        local = shape.to_local(points[mine])
        albedo[mine] = shape.pattern(local)
        normal[mine] = shape.normals(local)
        gloss[mine] = shape.gloss
    return albedo, normal, gloss


def _lit(points: Tensor, normal: Tensor, shapes: list[Shape]) -> Tensor:
    """Return the share (N,) of the key light at points (N, 3): the cosine to it times its visible part."""
    cosine = (normal @ _LIGHT).clamp(min=0)
    facing = (cosine > 0).nonzero()[:, 0]
    free = torch.ones(len(facing))
    for shape in shapes:
        free = torch.minimum(free, _unhidden(shape, points[facing]))
    cosine[facing] *= free * free * (3 - 2 * free)
    return cosine


def _unhidden(shape: Shape, points: Tensor) -> Tensor:
    """Return the part (N,) in [0, 1] of a round light that a shape leaves visible from points (N, 3).

    On the way to the light, a clearance c at the distance s hides nothing if c > width * s. The smallest
    c / (width * s) is taken as the visible part.
    """
    free = torch.ones(len(points))
    along, across = _approach(shape, points, _LIGHT)
    reach = shape.reach + _LIGHT_WIDTH * (along + shape.reach).clamp(min=0)
    index = ((along > -shape.reach) & (across < reach * reach)).nonzero()[:, 0]
    s = (along[index] - shape.reach).clamp(min=0.015)
    end = along[index] + shape.reach
    local = shape.to_local(points[index])
    light = shape.turn_to_local(_LIGHT[None])
    for _ in range(_SHADOW_STEPS):
        if not len(index):
            break
        clearance = shape.distance((local.T + s * light.T).T)
        free[index] = torch.minimum(free[index], (clearance / (_LIGHT_WIDTH * s)).clamp(min=0))
        s = s + clearance.clamp(0.015, 0.1)
        on = ((clearance > 0) & (s < end)).nonzero()[:, 0]
        index, s, end, local = index[on], s[on], end[on], local.T.index_select(1, on).T
    return free


def _openness(points: Tensor, normal: Tensor, shapes: list[Shape]) -> Tensor:
    """Return how open the space above points (N, 3) is, (N,) in [0, 1], from distances at a few heights."""
    heights = [height for height, _ in _OCCLUSION]
    nearest = [torch.full((len(points),), height) for height in heights]
    for shape in shapes:
        arms = points - shape.centre
        index = ((arms * arms).sum(-1) < (shape.reach + 2 * heights[-1]) ** 2).nonzero()[:, 0]
        local, up = shape.to_local(points[index]).T, shape.turn_to_local(normal[index]).T
        for height, least in zip(heights, nearest):
            least[index] = torch.minimum(least[index], shape.distance((local + height * up).T))
    closed = torch.zeros(len(points))
    for (height, weight), least in zip(_OCCLUSION, nearest):
        closed += weight * (1 - least.clamp(min=0) / height)
    return 1 - closed


def _ambient(directions: Tensor) -> Tensor:
    """Return the light (N, 3) from the hemisphere about directions (N, 3): sky above, ground below."""
    return 0.7 * torch.lerp(_GROUND, _SKY, 0.5 + 0.5 * directions[:, 2:])


def _sky(directions: Tensor) -> Tensor:
    """Return the colours (N, 3) that a mirror shows along directions (N, 3)."""
    height = directions[:, 2:]
    above = torch.lerp(_HORIZON, _SKY, height.clamp(0, 1).sqrt())
    return torch.lerp(_GROUND, above, (height * 6 + 0.5).clamp(0, 1))


def _shine(view: Tensor, normal: Tensor, mirrored: Tensor, lit: Tensor, ambient: Tensor) -> Tensor:
    """Return the highlight (N, 3) of the key light (Blinn and Phong) plus the sky's reflection (Schlick)."""
    middle = normalize(_LIGHT - view, dim=-1)
    highlight = 2.5 * lit * (normal * middle).sum(-1).clamp(min=0) ** 60
    grazing = 0.08 + 0.92 * (1 + (view * normal).sum(-1)).clamp(0, 1) ** 5
    return highlight[:, None] * _KEY + 0.8 * grazing[:, None] * _sky(mirrored)


def _srgb(linear: Tensor) -> Tensor:
    linear = linear.clamp(0, 1)
    return torch.where(
        linear < 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055
    )
