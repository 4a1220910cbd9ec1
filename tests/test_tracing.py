"""Traced and shaded surfaces, against closed forms and slow references."""

from __future__ import annotations

import math

import pytest
import torch
from surface_shapes import (
    BOX_HALF,
    DIAGONAL,
    HIGH,
    LOW,
    SURFACES,
    TILT,
    along_x,
    ball,
    box,
    disc,
    of_kind,
    random_rays,
    rays_towards,
    slow_clip,
)
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.rays import Rays
from polyfield.fields import SIGNALS
from polyfield.rendering.surfaces.shading import shade
from polyfield.rendering.surfaces.tracing import SurfaceHits, clip, surface_normals, trace_surface


class TestSurfaces:
    def trace(self, kind, values, rays):
        hits = trace_surface(SIGNALS[kind], values, rays, LOW, HIGH)
        return hits, surface_normals(SIGNALS[kind], values, hits, rays, LOW, HIGH)

    @pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
    @pytest.mark.parametrize("kind", SURFACES)
    def test_a_ball_is_hit_where_its_equation_says(self, kind, scale):
        rays = random_rays()
        hits, normals = self.trace(kind, of_kind(kind, ball, scale), rays)
        origins, directions = rays.origins.double(), rays.directions.double()
        along = -(origins * directions).sum(1)
        depth = 1 - ((origins + along[:, None] * directions) ** 2).sum(1)
        t = along - depth.clamp(min=0).sqrt()
        clear = depth.abs() > 0.02
        assert torch.equal(hits.hit[clear], (depth > 0)[clear])
        met = depth > 0.02
        assert 300 < met.sum() < 1200
        assert (hits.t - t)[met].abs().max() < 1e-4
        torch.testing.assert_close(hits.points, rays.origins + hits.t[:, None] * rays.directions)
        most = 1e-3 / min(scale, 1.0) if kind == "udf" else 1e-4
        assert (normals - hits.points)[met].norm(dim=1).max() < most
        assert not normals[~hits.hit].any()

    @pytest.mark.parametrize("kind", SURFACES)
    def test_a_box_is_hit_where_its_faces_are(self, kind):
        rays = random_rays()
        hits, normals = self.trace(kind, of_kind(kind, box), rays)
        near, far = slow_clip(rays, tuple(-half for half in BOX_HALF), BOX_HALF)
        met = far > near + 0.02
        assert 50 < met.sum() < 1200
        assert hits.hit[met].all() and (hits.t - near)[met].abs().max() < 1e-3
        assert box(hits.points[hits.hit]).max() < DIAGONAL / 1000  # a udf's rim is that thick

        shares = hits.points / torch.tensor(BOX_HALF)
        face = torch.nn.functional.one_hot(shares.abs().argmax(1), 3)
        inner = met & ((shares.abs() * (1 - face)).amax(1) < 0.9)
        cosine = (rays.directions * face).sum(1).abs()
        inner &= cosine > 0.2
        assert inner.sum() > 40
        assert (hits.t - near)[inner].abs().max() < 1e-4
        assert (normals - face * shares.sign())[inner].norm(dim=1).max() < 1e-3

    def test_an_open_disc_is_seen_from_both_sides(self):
        for eye in ((0.0, -4.0, 2.0), (0.0, 4.0, -2.0)):
            rays = rays_towards(3 * torch.rand(1000, 3) - 1.5, eye)
            hits, normals = self.trace("udf", disc, rays)
            slope = rays.directions @ TILT
            t = -(rays.origins @ TILT) / slope
            place = rays.origins + t[:, None] * rays.directions
            within = place.norm(dim=1)
            # Seen nearly edge-on, the rim's thickness is what one sees.
            clear = slope.abs() > 0.3
            assert hits.hit[clear & (within < 0.99)].all() and not hits.hit[clear & (within > 1.02)].any()
            met = clear & (within < 0.95)
            assert met.sum() > 100
            assert (hits.t - t)[met].abs().max() < 1e-4
            assert (normals + TILT * slope.sign()[:, None])[met].norm(dim=1).max() < 1e-3
            assert ((normals * rays.directions).sum(1) <= 0).all()

    def test_a_grazing_ray_sees_the_normal_of_an_unsigned_distance(self):
        """Close to the surface the differences would straddle it and point anywhere."""
        heights = (0.9, 0.97, 0.99)
        rays = along_x(*heights)
        _, normals = self.trace("udf", of_kind("udf", ball), rays)
        wanted = torch.tensor([[-math.sqrt(1 - height**2), 0.0, height] for height in heights])
        assert (normals - wanted).norm(dim=1).max() < 1e-3

    def test_an_unsigned_distance_that_is_0_for_a_while_is_met_there(self):
        for thick in (0.001, 0.004, 0.02):  # less than a step to several
            hits, _ = self.trace(
                "udf", lambda x, half=thick: (x[:, 0].abs() - half).clamp(min=0), along_x(0.0)
            )
            assert hits.hit.all() and (hits.t - 5.0).abs().max() < thick

    def test_a_distance_that_is_nowhere_small_enough_is_no_surface(self):
        hits, _ = self.trace("udf", lambda x: x[:, 0].abs() + DIAGONAL / 500, along_x(0.0))
        assert not hits.hit.any()

    @pytest.mark.parametrize("kind", SURFACES)
    def test_the_box_ends_what_is_looked_at(self, kind):
        """A plane at x = 0.75 is met from before it; one just behind its far face is not."""
        for place, hit in ((0.75, True), (1.501, False)):
            hits, _ = self.trace(
                kind, of_kind(kind, lambda x, at=place: at - x[:, 0]), along_x(0.0, 0.9, 7.0)
            )
            assert hits.hit.tolist() == [hit, hit, False]
            torch.testing.assert_close(hits.t[:2], torch.full((2,), 5 + min(place, 1.5)))

    @pytest.mark.parametrize("kind", ["sdf", "occupancy"])
    def test_a_ray_that_enters_the_box_inside_is_a_hit_there(self, kind):
        hits, _ = self.trace(kind, of_kind(kind, lambda x: x[:, 0]), along_x(0.0))
        torch.testing.assert_close(hits.t, torch.tensor([3.5]))
        assert hits.hit.all()

    def test_distances_take_few_steps_and_none_behind_the_surface(self):
        asked: list[Tensor] = []

        def counted(x: Tensor) -> Tensor:
            asked.append(x)
            return ball(x)

        rays = random_rays()
        trace_surface(SIGNALS["sdf"], counted, rays, LOW, HIGH)
        asked_points = torch.cat(asked)
        assert len(asked_points) < 30 * len(rays)
        assert ball(asked_points).min() > -DIAGONAL / 2048

    @pytest.mark.parametrize("kind", SURFACES)
    def test_values_that_are_no_numbers_end_as_a_miss(self, kind):
        hits = trace_surface(SIGNALS[kind], lambda x: x[:, 0] * math.nan, along_x(0.0), LOW, HIGH)
        assert not hits.hit.any() and hits.t.isfinite().all()

    @pytest.mark.parametrize("kind", SURFACES)
    def test_no_rays(self, kind):
        hits, normals = self.trace(kind, ball, along_x())
        assert hits.hit.shape == (0,) and hits.points.shape == normals.shape == (0, 3)

    def test_rays_are_clipped_to_the_box(self):
        rays = random_rays()
        near, far = slow_clip(rays, LOW, HIGH)
        found = clip(rays, LOW, HIGH)
        crosses = far > near
        assert 500 < crosses.sum() < 1500
        assert ((found[1] > found[0]) == crosses)[(far - near > 1e-4) | ~crosses].all()
        torch.testing.assert_close(found[0].double()[crosses], near[crosses], atol=1e-5, rtol=0)
        torch.testing.assert_close(found[1].double()[crosses], far[crosses], atol=1e-5, rtol=0)


class TestShading:
    up = torch.tensor([0.0, 0.0, 5.0])

    def shade(self, normals: Tensor, directions: Tensor, albedo: Tensor) -> Tensor:
        rays = Rays(torch.zeros_like(directions), directions)
        hits = SurfaceHits(normals.any(1), torch.ones(len(normals)), directions)
        return shade(hits, normals, rays, albedo=albedo, light=self.up)

    def test_what_faces_camera_and_sky_has_its_albedo(self):
        albedo = torch.tensor([0.8, 0.5, 0.2])
        down = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, -1.0]])
        normals = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
        torch.testing.assert_close(self.shade(normals, down, albedo), torch.stack((albedo, torch.zeros(3))))

    def test_it_darkens_away_from_camera_and_from_sky(self):
        angles = torch.linspace(0, math.pi / 2, 10)
        zero = torch.zeros_like(angles)
        ahead = torch.tensor([1.0, 0.0, 0.0]).expand(10, 3)
        level = torch.stack((-angles.cos(), angles.sin(), zero), 1)  # turning away from the camera
        assert (self.shade(level, ahead, torch.ones(3)).diff(dim=0) < 0).all()
        sinking = torch.stack((zero, angles.sin(), angles.cos()), 1)  # turning away from the sky
        assert (self.shade(sinking, ahead, torch.ones(3)).diff(dim=0) < 0).all()

    def test_every_ray_may_have_its_albedo(self):
        albedo, normals = torch.rand(20, 3), normalize(torch.randn(20, 3), dim=1)
        directions = normalize(torch.randn(20, 3), dim=1)
        found = self.shade(normals, directions, albedo)
        torch.testing.assert_close(found, albedo * self.shade(normals, directions, torch.ones(3)))
        assert found.min() > 0 and (found <= albedo).all()
