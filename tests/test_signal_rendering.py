"""Pictures of what is no radiance field: volumes, surfaces and slices, against closed forms and slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.rays import Rays
from polyfield.errors import PolyfieldError
from polyfield.render.pictures.emission import TransferFunction, ramp, render_emission
from polyfield.render.pictures.slices import picture, slice_picture, slice_points
from polyfield.render.surfaces.shading import shade
from polyfield.render.surfaces.tracing import KINDS, SurfaceHits, clip, surface_normals, trace_surface

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


class TestEmission:
    white = TransferFunction(extinction=3.0)
    black = torch.zeros(3)

    def render(self, values, rays, transfer=white, step=0.01, background=black):
        return render_emission(values, LOW, HIGH, rays, transfer, step=step, background=background)

    @pytest.mark.parametrize("step", [0.013, 0.3, 100.0])
    def test_an_even_cube_follows_beer_and_lambert_at_any_step(self, step):
        rays, background = random_rays(300), torch.tensor([0.2, 0.9, 0.4])
        transfer = TransferFunction(window=(-1.0, 3.0), exponent=2.0, extinction=5.0)
        seen = self.render(lambda x: torch.full((len(x), 1), 1.0), rays, transfer, step, background)
        near, far = slow_clip(rays, LOW, HIGH)
        light = torch.exp(-5.0 * 0.5**2 / DIAGONAL * (far - near)).float()
        assert 50 < (far > near).sum() < 300
        torch.testing.assert_close(seen.opacity, 1 - light, atol=2e-6, rtol=0)
        glow = ramp(torch.tensor([0.5]))
        wanted = (1 - light)[:, None] * glow + light[:, None] * background
        torch.testing.assert_close(seen.colour, wanted, atol=2e-6, rtol=0)

    def test_depth_is_the_mean_distance_of_what_is_seen(self):
        seen = self.render(lambda x: torch.ones(len(x), 1), along_x(0.0))
        extinction = 3.0 / DIAGONAL
        gone = math.exp(-extinction * 3.0)
        wanted = 3.5 + 1 / extinction - 3.0 * gone / (1 - gone)
        torch.testing.assert_close(seen.depth, torch.tensor([wanted]), atol=1e-4, rtol=0)

    def test_of_two_slabs_the_front_one_hides_the_other(self):
        first, second = torch.tensor([1.0, 0.0, 0.25, 0.3]), torch.tensor([0.0, 0.5, 1.0, 0.8])
        seen = self.render(lambda x: torch.where(x[:, :1] < 0, first, second), along_x(0.3), step=0.125)
        through = [math.exp(-3.0 / DIAGONAL * dense * 1.5) for dense in (0.3, 0.8)]
        wanted = (1 - through[0]) * first[:3] + through[0] * (1 - through[1]) * second[:3]
        torch.testing.assert_close(seen.colour[0], wanted, atol=1e-6, rtol=0)
        torch.testing.assert_close(seen.opacity[0], torch.tensor(1 - through[0] * through[1]))

    def test_halving_the_step_quarters_the_error(self):
        def blob(x: Tensor) -> Tensor:
            return torch.cat((x.abs() / 2, torch.exp(-4 * (x * x).sum(1, keepdim=True))), 1)

        x = np.linspace(-1.5, 1.5, 400_001)
        optical = 3.0 / DIAGONAL * np.exp(-4 * x * x)
        light = np.exp(-np.concatenate(([0.0], np.cumsum((optical[1:] + optical[:-1]) / 2) * (x[1] - x[0]))))
        exact = np.trapezoid(light * optical * np.abs(x) / 2, x)
        errors = [
            abs(float(self.render(blob, along_x(0.0), step=step).colour[0, 0]) - exact)
            for step in (0.1, 0.05, 0.025)
        ]
        assert 3.3 < errors[0] / errors[1] < 4.7 and 3.3 < errors[1] / errors[2] < 4.7
        assert errors[2] < 1e-4

    def test_no_more_is_asked_once_no_light_is_left(self):
        asked: list[Tensor] = []

        def solid(x: Tensor) -> Tensor:
            asked.append(x)
            return torch.ones(len(x), 1)

        seen = self.render(solid, along_x(0.0, 9.0), TransferFunction(extinction=400.0))
        assert torch.cat(asked)[:, 0].max() < -1.0  # of -1.5 .. 1.5
        torch.testing.assert_close(seen.opacity, torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)

    def test_a_miss_shows_the_background_and_no_depth(self):
        backgrounds = torch.rand(3, 3)
        seen = self.render(lambda x: torch.ones(len(x), 1), along_x(0.0, 1.5, -7.0), background=backgrounds)
        assert torch.equal(seen.colour[1:], backgrounds[1:]) and not torch.equal(
            seen.colour[0], backgrounds[0]
        )
        assert not seen.depth[1:].any() and not seen.opacity[1:].any()

    def test_a_ray_from_inside_sees_what_is_ahead_only(self):
        rays = Rays(torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
        seen = self.render(lambda x: torch.ones(len(x), 1), rays)
        torch.testing.assert_close(seen.opacity[0], torch.tensor(1 - math.exp(-3.0 / DIAGONAL)))

    def test_no_rays(self):
        assert self.render(lambda x: torch.ones(len(x), 1), along_x()).colour.shape == (0, 3)

    def test_channels_become_density_and_colour(self):
        transfer = TransferFunction(window=(0.0, 10.0), extinction=2.0)
        dense, colour = transfer(torch.tensor([[10.0, 0.0, 5.0, 2.5], [20.0, -1.0, 0.0, 20.0]]))
        torch.testing.assert_close(colour, torch.tensor([[1.0, 0.0, 0.5], [1.0, 0.0, 0.0]]))
        torch.testing.assert_close(dense, torch.tensor([0.5, 2.0]))
        dense, colour = transfer(torch.tensor([[10.0, 10.0, 10.0], [0.0, 10.0, 0.0]]))
        torch.testing.assert_close(dense, torch.tensor([2.0, 2 * 0.7152]))

    def test_the_ramp_is_even_in_lightness(self):
        from skimage.color import rgb2lab

        lightness = rgb2lab(ramp(torch.linspace(0, 1, 25))[None].numpy())[0, :, 0]
        steps = np.diff(lightness)
        assert lightness[0] < 8 and lightness[-1] > 95
        assert steps.min() > 0.8 * steps.mean() and steps.max() < 1.25 * steps.mean()

    @pytest.mark.parametrize(
        ("bad", "says"),
        [
            (
                lambda render: render(TransferFunction(), torch.ones(1, 2), 0.1),
                "2 channels; expected 1, 3 or 4",
            ),
            (
                lambda render: render(TransferFunction((1.0, 1.0)), torch.ones(1, 1), 0.1),
                "window is 1 to 1",
            ),
            (lambda render: render(TransferFunction(), torch.ones(1, 1), 0.0), "step is 0.0"),
            (lambda render: TransferFunction(exponent=0.0), "exponent is 0.0"),
            (lambda render: TransferFunction(extinction=math.inf), "extinction inf"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, bad, says):
        def render(transfer: TransferFunction, value: Tensor, step: float) -> None:
            self.render(lambda x: value.expand(len(x), -1), along_x(0.0), transfer, step)

        with pytest.raises(PolyfieldError, match=says):
            bad(render)


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


class TestSurfaces:
    def trace(self, kind, values, rays):
        hits = trace_surface(kind, values, rays, LOW, HIGH)
        return hits, surface_normals(kind, values, hits, rays, LOW, HIGH)

    @pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
    @pytest.mark.parametrize("kind", KINDS)
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

    @pytest.mark.parametrize("kind", KINDS)
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

    @pytest.mark.parametrize("kind", KINDS)
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
        trace_surface("sdf", counted, rays, LOW, HIGH)
        asked_points = torch.cat(asked)
        assert len(asked_points) < 30 * len(rays)
        assert ball(asked_points).min() > -DIAGONAL / 2048

    @pytest.mark.parametrize("kind", KINDS)
    def test_values_that_are_no_numbers_end_as_a_miss(self, kind):
        hits = trace_surface(kind, lambda x: x[:, 0] * math.nan, along_x(0.0), LOW, HIGH)
        assert not hits.hit.any() and hits.t.isfinite().all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_rays(self, kind):
        hits, normals = self.trace(kind, ball, along_x())
        assert hits.hit.shape == (0,) and hits.points.shape == normals.shape == (0, 3)

    def test_an_unknown_kind_is_refused(self):
        with pytest.raises(PolyfieldError, match="'mesh' is unknown; expected one of sdf, udf, occupancy"):
            trace_surface("mesh", ball, along_x(0.0), LOW, HIGH)

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


class TestSlices:
    def test_points_are_the_pixels_centres(self):
        low, high = (0.0, 10.0, -2.0), (4.0, 12.0, 6.0)
        for axis, shape, first, last in (
            (0, (8, 2), (1.5, 10.5, 5.5), (1.5, 11.5, -1.5)),
            (1, (8, 4), (0.5, 1.5, 5.5), (3.5, 1.5, -1.5)),
            (2, (4, 8), (0.25, 11.75, 1.5), (3.75, 10.25, 1.5)),
        ):
            position = 1.5 if axis != 1 else 11.0
            points = slice_points(low, high, axis, position, 8)
            wanted = [torch.tensor(corner) for corner in (first, last)]
            for corner in wanted:
                corner[axis] = position
            assert points.shape == (*shape, 3)
            assert torch.equal(points[0, 0], wanted[0]) and torch.equal(points[-1, -1], wanted[1])

    @pytest.mark.parametrize(
        ("axis", "position", "says"), [(3, 0.0, "axis is 3"), (1, 1.8, "position is 1.8 along y")]
    )
    def test_no_section_is_outside_the_box(self, axis, position, says):
        with pytest.raises(PolyfieldError, match=says):
            slice_points(LOW, HIGH, axis, position, 8)

    def test_a_signed_distance_is_blue_outside_orange_inside_and_dark_between(self):
        points = slice_points(LOW, HIGH, 2, 0.0, 150)
        pixel = 3.0 / 150
        shown = slice_picture("sdf", ball, points)
        distance = ball(points.reshape(-1, 3)).view(150, 150)
        line = distance.abs() < pixel
        assert shown[line].max() < 0.1
        red, blue = shown[..., 0], shown[..., 2]
        assert (blue > red)[distance > 2 * pixel].all() and (red > blue)[distance < -2 * pixel].all()
        assert shown[distance.abs() > 2 * pixel].amax(1).min() > 0.3 and shown.min() >= 0 and shown.max() <= 1

    def test_bands_are_level_lines_and_stand_even(self):
        """A plane's distance, falling to the right: dark lines where it is a whole number of sixteenths of the width."""
        shown = slice_picture(
            "sdf", lambda x: x[:, 0] + 1.6, slice_points((-1.0,) * 3, (1.0,) * 3, 2, 0.0, 320)
        )
        row = shown.sum(2)[7]
        darker = (row[1:-1] < row[:-2]) & (row[1:-1] <= row[2:])
        assert torch.equal(shown[7], shown[300])
        between = darker.nonzero()[:, 0].diff()
        assert len(between) == 15 and ((between - 20).abs() <= 1).all()

    def test_a_picture_does_not_hang_on_the_unit(self):
        points = slice_points(LOW, HIGH, 0, 0.25, 40)
        large = slice_points(tuple(256 * x for x in LOW), tuple(256 * x for x in HIGH), 0, 64.0, 40)
        torch.testing.assert_close(
            slice_picture("sdf", ball, points), slice_picture("sdf", lambda x: 256 * ball(x / 256), large)
        )

    def test_an_unsigned_distance_shows_its_surface_and_no_inside(self):
        points = slice_points(LOW, HIGH, 2, 0.0, 100)
        shown = slice_picture("udf", of_kind("udf", ball), points)
        distance = ball(points.reshape(-1, 3)).view(100, 100).abs()
        assert shown[distance < 0.03].max() < 0.1
        assert (shown[..., 2] > shown[..., 0]).all()

    def test_occupancies_and_volumes_are_shown_as_they_are(self):
        points = slice_points(LOW, HIGH, 2, 0.0, 30)
        flat = points.reshape(-1, 3)
        grey = slice_picture("occupancy", ball, points)
        torch.testing.assert_close(grey, (1 / (1 + torch.exp(-ball(flat)))).view(30, 30, 1).expand(-1, -1, 3))
        grey = slice_picture("volume", lambda x: x[:, :1], points, window=(-0.5, 1.5))
        torch.testing.assert_close(grey, ((points[..., :1] + 0.5) / 2).clamp(0, 1).expand(-1, -1, 3))
        colour = slice_picture("volume", lambda x: x, points)
        torch.testing.assert_close(colour, points.clamp(0, 1))
        faded = slice_picture("volume", lambda x: torch.cat((x, torch.full_like(x[:, :1], 0.25)), 1), points)
        torch.testing.assert_close(faded, colour / 4 + 0.75)  # on white

    def test_an_unknown_kind_is_refused(self):
        with pytest.raises(PolyfieldError, match="'image' is unknown; expected one of sdf, udf"):
            slice_picture("image", ball, slice_points(LOW, HIGH, 2, 0.0, 4))

    def test_slices_are_asked_in_parts(self, monkeypatch):
        points, whole = slice_points(LOW, HIGH, 1, 0.0, 30), []
        whole = slice_picture("sdf", ball, points)
        monkeypatch.setattr("polyfield.render.pictures.slices._AT_ONCE", 70)

        def part(x: Tensor) -> Tensor:
            assert len(x) <= 70
            return ball(x)

        torch.testing.assert_close(slice_picture("sdf", part, points), whole)


class TestPicture:
    @pytest.mark.parametrize("tile", [1, 7, 1 << 18])
    def test_pixels_are_asked_at_their_centres(self, tile):
        asked: list[int] = []

        def where(x: Tensor) -> Tensor:
            asked.append(len(x))
            return torch.cat((x, x[:, :1] * x[:, 1:]), 1)

        shown = picture(where, 5, 3, tile)
        assert shown.shape == (3, 5, 3) and max(asked) <= tile and sum(asked) == 15
        for row in range(3):
            for column in range(5):
                x, y = (column + 0.5) / 5, (row + 0.5) / 3
                torch.testing.assert_close(shown[row, column], torch.tensor([x, y, x * y]))

    def test_pixels_keep_apart_at_16384_columns(self):
        shown = picture(lambda x: x[:, :1] * 16384, 16384, 1)
        assert torch.equal(shown[0, :, 0], torch.arange(16384) + 0.5)
