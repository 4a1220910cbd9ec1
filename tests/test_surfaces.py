"""Sphere tracing against spheres, whose hits are known in closed form, and normals by differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.rays import Rays
from polyfield.rendering.surfaces.tracing import normals, sphere_trace


def ball(points: Tensor) -> Tensor:
    return points.norm(dim=-1) - 1


def rays_towards(points: Tensor, origin: tuple[float, float, float]) -> Rays:
    origins = points.new_tensor(origin).expand_as(points)
    return Rays(origins, normalize(points - origins, dim=-1))


def random_rays(count: int = 2000) -> Rays:
    points = 3 * torch.rand(count, 3, generator=torch.Generator().manual_seed(1)) - 1.5
    return rays_towards(points, (0.5, -3.0, 1.0))


def analytic_hits(rays: Rays) -> tuple[Tensor, Tensor]:
    """The first roots of |o + t d| = 1 in float64, and how far inside the unit sphere each line comes."""
    origins, directions = rays.origins.double(), rays.directions.double()
    along = -(origins * directions).sum(-1)
    depth = 1 - ((origins + along[:, None] * directions) ** 2).sum(-1)
    return along - depth.clamp(min=0).sqrt(), depth


def test_hits_are_the_analytic_ones() -> None:
    rays = random_rays()
    hits = sphere_trace(ball, rays, near=0.0, far=10.0)
    t, depth = analytic_hits(rays)
    clear = depth.abs() > 0.01
    assert (hits.hit == (depth > 0))[clear].all()
    met = depth > 0.01
    assert 200 < met.sum() < 1800
    slant = depth.clamp(
        min=0
    ).sqrt()  # cosine between ray and normal: an error in height is longer along the ray
    assert ((hits.t - t) * slant)[met].abs().max() < 1e-4
    assert ball(hits.points[hits.hit]).abs().max() < 1e-4
    torch.testing.assert_close(hits.points, rays.origins + hits.t[:, None] * rays.directions)


def test_misses_stand_at_far() -> None:
    hits = sphere_trace(ball, random_rays(), near=0.0, far=7.0)
    assert not hits.hit.all()
    assert (hits.t[~hits.hit] == 7.0).all()


def test_nothing_counts_beyond_far() -> None:
    rays = rays_towards(torch.zeros(1, 3), (0.0, 0.0, 3.0))
    assert sphere_trace(ball, rays, near=0.0, far=2.01).hit.item()
    assert not sphere_trace(ball, rays, near=0.0, far=1.99).hit.item()


@pytest.mark.parametrize("near", [0.0, 0.3])
def test_a_start_inside_is_a_hit_at_near(near: float) -> None:
    rays = rays_towards(torch.eye(3), (0.1, 0.0, 0.0))
    hits = sphere_trace(ball, rays, near=near, far=5.0)
    assert hits.hit.all()
    assert (hits.t == near).all()


@pytest.mark.parametrize(("clearance", "hit"), [(5e-4, True), (2e-2, False)])
def test_a_ray_out_of_steps_is_a_hit_only_near_the_surface(clearance: float, hit: bool) -> None:
    """The first ray still creeps along the sphere after 100 steps, within ten tolerances; the second has passed it."""
    rays = Rays(torch.tensor([[-3.0, 0.0, 1 + clearance]]), torch.tensor([[1.0, 0.0, 0.0]]))
    assert sphere_trace(ball, rays, near=0.0, far=8.0, max_steps=100).hit.item() == hit


def test_a_ray_far_from_all_when_steps_run_out_is_a_miss() -> None:
    rays = rays_towards(torch.zeros(1, 3), (0.0, 0.0, 3.0))
    assert not sphere_trace(lambda x: 0.1 * ball(x), rays, near=0.0, far=8.0, max_steps=3).hit.item()


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_scaled_distances_find_the_same_surface(scale: float) -> None:
    """A distance that is too small takes more steps; one that is too large steps over it and comes back."""
    rays = rays_towards(torch.rand(200, 3) - 0.5, (0.0, 0.0, 3.0))
    hits = sphere_trace(lambda x: scale * ball(x), rays, near=0.0, far=10.0)
    t, _ = analytic_hits(rays)
    assert hits.hit.all()
    assert (hits.t - t).abs().max() < 2e-4 / min(scale, 1.0)


def test_no_rays() -> None:
    hits = sphere_trace(ball, Rays(torch.zeros(0, 3), torch.zeros(0, 3)), near=0.0, far=1.0)
    assert hits.hit.shape == hits.t.shape == (0,) and hits.points.shape == (0, 3)


def test_only_rays_on_their_way_are_asked() -> None:
    asked: list[int] = []

    def counted(points: Tensor) -> Tensor:
        asked.append(len(points))
        return ball(points)

    sphere_trace(counted, random_rays(), near=0.0, far=10.0)
    assert asked == sorted(asked, reverse=True)
    assert sum(asked) < 20 * asked[0] and asked[-1] < asked[0] / 50


def test_normals_of_a_sphere_point_outwards() -> None:
    points = normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(2)), dim=-1)
    found = normals(ball, points, epsilon=1e-3)
    assert (found - points).norm(dim=-1).max() < 2e-3
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(500))


def test_normals_of_a_plane_are_exact() -> None:
    slope = normalize(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), dim=0)
    found = normals(lambda x: x @ slope - 0.2, torch.rand(50, 3, dtype=torch.float64), epsilon=0.1)
    torch.testing.assert_close(found, slope.expand(50, 3))
