"""Occupancy, samplers and volume rendering, on fields whose pictures can be computed by hand."""

import math

import pytest
import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.cameras.rays import Rays
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, Field, FieldOutput, Meaning, Traits
from polyfield.fields.points import Features
from polyfield.kernels import march, transmittance
from polyfield.rendering.fused import LEAST_TRANSMITTANCE
from polyfield.rendering.radiance.occupancy import OccupancyGrid
from polyfield.rendering.radiance.pictures import RadiancePictures
from polyfield.rendering.radiance.rendering import lit_density, render_rays, sample_points
from polyfield.rendering.radiance.sampling import (
    Lattice,
    MarchingSampler,
    StratifiedSampler,
    crossing,
    sampler_for,
)

BOX = Domain("box", (1.0, 0.0, 0.0), (2.0, 2.0, 2.0))
SPACE = Domain("contraction", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Ball(Field):
    """A ball of even density round the domain's centre, coloured by direction."""

    def __init__(self, domain: Domain, radius: float, density: float) -> None:
        self.meaning = Meaning.of("radiance", domain)
        self.radius, self.inside = radius, density
        self.weight = torch.ones(1, requires_grad=True)

    def raw(self, points):
        distance = (points.x - points.x.new_tensor(self.meaning.domain.centre)).norm(dim=1)
        unit = self.meaning.domain.density_unit
        return torch.where(distance < self.radius, math.log(self.inside * unit), -50.0) * self.weight

    def features(self, points):
        return Features(self.raw(points), points.x)

    def head(self, features, points):
        return FieldOutput(density=self.density(features.raw), colour=(points.directions + 1) / 2)


def rays_at(offsets: list[float], domain: Domain = BOX) -> Rays:
    """Rays along +X that pass the centre at these distances."""
    origins = torch.tensor([[domain.centre[0] - 5.0, offset, 0.0] for offset in offsets]).reshape(-1, 3)
    return Rays(origins, torch.tensor([[1.0, 0.0, 0.0]]).expand(len(offsets), 3))


def full(cascades: int = 1, resolution: int = 8) -> torch.Tensor:
    return torch.ones((cascades, resolution, resolution, resolution), dtype=torch.bool)


SAMPLERS = {
    "marching": MarchingSampler(BOX, full(), Lattice(0.005, 0.0, 0.0)),
    "stratified": StratifiedSampler(BOX, 800, 0.0, 10.0),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=list(SAMPLERS))
@pytest.mark.parametrize("gradients", [True, False])
def test_a_ball_is_as_opaque_as_its_chords_are_long(sampler, gradients):
    offsets = [0.0, 0.5, 0.9, 1.5, 3.0]
    field = Ball(BOX, 1.0, 0.7)
    with torch.set_grad_enabled(gradients):
        result = render_rays(field, rays_at(offsets), sampler)
    chords = torch.tensor([2 * math.sqrt(max(1 - o * o, 0)) for o in offsets])
    torch.testing.assert_close(result.opacity, 1 - torch.exp(-0.7 * chords), atol=6e-3, rtol=0)
    torch.testing.assert_close(result.colour[0], torch.tensor([1.0, 0.5, 0.5]) * result.opacity[0])
    torch.testing.assert_close(result.over(torch.zeros(3))[3], torch.zeros(3))
    torch.testing.assert_close(result.over(torch.ones(3))[3], torch.ones(3))
    assert result.depth[4] == 0 and result.opacity.requires_grad == gradients


def test_depth_is_the_distance_along_the_ray():
    result = render_rays(Ball(BOX, 1.0, 1e3), rays_at([0.0, 0.6]), SAMPLERS["marching"])
    torch.testing.assert_close(result.depth, torch.tensor([4.0, 5 - 0.8]), atol=6e-3, rtol=0)


def test_what_is_behind_an_opaque_surface_is_neither_evaluated_nor_shaded():
    with torch.enable_grad():
        dense = render_rays(Ball(BOX, 1.0, 1e4), rays_at([0.0]), SAMPLERS["marching"])
        thin = render_rays(Ball(BOX, 1.0, 1e-3), rays_at([0.0]), SAMPLERS["marching"])
    assert dense.evaluated == 256 < thin.evaluated == 800 and dense.shaded < thin.shaded / 1.5


@pytest.mark.parametrize("density", [0.01, 3.0, 1e4])
def test_the_densities_of_lit_samples_are_those_of_all_samples(density):
    field, rays = Ball(BOX, 1.0, density), rays_at([0.0, 0.3, 0.9, 1.2, 3.0])
    samples = SAMPLERS["marching"](rays, torch.linspace(0, 0.9, len(rays)))
    every = field.density(field.raw(sample_points(rays, samples)))
    found, evaluated = lit_density(lambda points: field.density(field.raw(points)), rays, samples)
    lit = transmittance(samples, every) > LEAST_TRANSMITTANCE
    assert torch.equal(transmittance(samples, found) > LEAST_TRANSMITTANCE, lit)
    assert torch.equal(found[lit], every[lit]) and int(lit.sum()) <= evaluated <= len(samples)


def test_an_empty_grid_gives_an_empty_picture():
    sampler = MarchingSampler(BOX, torch.zeros_like(full()), Lattice(0.01, 0.0, 0.0))
    result = render_rays(Ball(BOX, 1.0, 1.0), rays_at([0.0, 0.5]), sampler)
    assert result.evaluated == 0 and not result.opacity.any() and not result.colour.any()


def test_no_rays():
    result = render_rays(Ball(BOX, 1.0, 1.0), rays_at([]), SAMPLERS["marching"])
    assert result.colour.shape == (0, 3)


def test_rays_enter_and_leave_the_box():
    origins = torch.tensor([[-5.0, 0, 0], [1, 0, 0], [-5, 2.5, 0], [-5, 2.0, 0], [1, 0, 0]])
    directions = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0.6, 0.8]])
    near, far = crossing(Rays(origins, directions), BOX, 1.0, 0.0)
    torch.testing.assert_close(near[:2], torch.tensor([4.0, 0.0]))
    torch.testing.assert_close(far[:2], torch.tensor([8.0, 2.0]))
    assert near[2] == far[2]
    assert torch.isfinite(near).all() and torch.isfinite(far).all()
    torch.testing.assert_close(far[4], torch.tensor(2.5))


def test_nothing_is_sampled_nearer_than_near():
    sampler = MarchingSampler(SPACE, full(5), Lattice(0.1, 0.05, 0.4))
    samples = sampler(Rays(torch.zeros(3, 3), torch.eye(3)), torch.zeros(3))
    assert samples.t.min() >= 0.4 and samples.t.max() > 10
    ends = samples.t + samples.dt / 2
    torch.testing.assert_close(
        ends[:-1][samples.ray[:-1] == samples.ray[1:]],
        (samples.t - samples.dt / 2)[1:][samples.ray[:-1] == samples.ray[1:]],
        atol=2e-3,
        rtol=1e-3,
    )


@pytest.mark.parametrize("domain", [BOX, SPACE])
def test_stratified_samples_stay_in_their_parts(domain):
    sampler = StratifiedSampler(domain, 10, 0.1, 20.0)
    rays = rays_at([0.1, 0.3, 50.0], domain)
    low, high = sampler(rays, torch.zeros(3)), sampler(rays, torch.full((3,), 0.999))
    torch.testing.assert_close(high.t, low.t + low.dt * 0.999)
    assert (low.counts == torch.tensor([10, 10, 0 if domain is BOX else 10])).all()


def test_a_part_of_a_ray_has_the_samples_of_the_whole():
    ray = (torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 0.1]]))
    options = {"step": 0.07, "cone": 0.02, "jitter": torch.tensor([0.3])}

    def at(near, far):
        return march(*ray, torch.tensor([near]), torch.tensor([far]), full(2), **options).t

    torch.testing.assert_close(torch.cat((at(1.0, 2.5), at(2.5, 9.0))), at(1.0, 9.0))


def test_a_field_that_is_not_pointwise_is_not_culled():
    field = Ball(BOX, 1.0, 1.0)
    field.traits = Traits(pointwise=False)
    with pytest.raises(PolyfieldError, match="cannot be skipped; use StratifiedSampler"):
        render_rays(field, rays_at([0.0]), SAMPLERS["marching"])
    assert isinstance(sampler_for(field, full(), Lattice(0.1, 0.0, 0.0)), StratifiedSampler)
    assert isinstance(sampler_for(Ball(BOX, 1.0, 1.0), full(), Lattice(0.1, 0.0, 0.0)), MarchingSampler)


def test_an_image_is_its_rays_whatever_the_chunk(monkeypatch):
    c2w = look_at(
        torch.tensor([[1.0, -6.0, 0.5]]), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    )
    cameras = Cameras.perspective(c2w, focal=20.0, size=(24, 17))
    field = Ball(BOX, 1.0, 2.0)
    pictures = RadiancePictures(field, SAMPLERS["marching"])
    whole = pictures.render(cameras, 0)
    monkeypatch.setattr("polyfield.rendering.radiance.pictures._RAYS_AT_ONCE", 50)
    pieces = pictures.render(cameras, 0)
    assert whole.colour.shape == (17, 24, 3) and whole.opacity.max() > 0.9 and whole.opacity.min() == 0
    torch.testing.assert_close(whole.colour, pieces.colour)
    torch.testing.assert_close(whole.depth, pieces.depth)
    torch.testing.assert_close(whole.opacity[8, 12], torch.tensor(1 - math.exp(-4.0)), atol=0.01, rtol=0)


class TestOccupancyGrid:
    @staticmethod
    def ball(local: torch.Tensor) -> torch.Tensor:
        return torch.where(local.norm(dim=1) < 0.6, 20.0, 0.0)

    def grid(self, updates: int = 30, cells: int = 1 << 20, resolution: int = 16) -> OccupancyGrid:
        grid = OccupancyGrid(2, resolution)
        for _ in range(updates):
            grid.update(self.ball, torch.tensor([0.05, 0.05]), seed=0, cells=cells)
        return grid

    def test_everything_is_occupied_at_first(self):
        assert OccupancyGrid(2, 8).occupancy() == 1.0

    @pytest.mark.parametrize("cells", [1 << 20, 1000])
    def test_it_keeps_what_is_dense_and_drops_what_is_empty(self, cells):
        grid = self.grid(updates=30 if cells > 1000 else 400, cells=cells)
        n = grid.resolution
        middle = (torch.arange(n) + 0.5) * 2 / n - 1
        z, y, x = torch.meshgrid(middle, middle, middle, indexing="ij")
        distance = torch.stack((x, y, z)).norm(dim=0)
        half_cell = math.sqrt(3) / n
        assert grid.occupied[0][distance < 0.6 - half_cell].all()
        assert not grid.occupied[0][distance > 0.6 + half_cell].any()
        assert grid.occupied[1][2 * distance < 0.6 - 2 * half_cell].all()

    def test_even_haze_is_kept_whole(self):
        grid = OccupancyGrid(2, 8)
        for _ in range(5):
            grid.update(
                lambda x: torch.full((len(x),), 1e-3), torch.tensor([0.05, 0.05]), seed=0, cells=1 << 20
            )
        assert grid.occupancy() == 1.0

    def test_refining_changes_no_decision(self):
        grid = self.grid()
        before = grid.occupied.clone()
        grid.refine(32)
        assert grid.resolution == 32
        assert torch.equal(grid.occupied[:, ::2, ::2, ::2], before)
        assert torch.equal(grid.occupied[:, 1::2, 1::2, 1::2], before)

    def test_the_same_seed_gives_the_same_grid(self):
        assert torch.equal(self.grid(3, 500).density, self.grid(3, 500).density)

    def test_march_reads_it_the_way_update_writes_it(self):
        """A lone dense spot off all axes is found by the ray that goes through it, in the right cascade."""
        spot = torch.tensor([0.3, -1.2, 1.7])  # in the second cascade
        grid = OccupancyGrid(2, 16)
        for _ in range(10):  # each looks at a random point of the cell
            grid.update(
                lambda x: ((x - spot).abs().amax(1) < 0.15).float() * 50,
                torch.ones(2) / 10,
                seed=1,
                cells=1 << 20,
            )
        origin = torch.tensor([[0.3, -1.2, -5.0]])
        samples = march(
            origin,
            torch.tensor([[0.0, 0.0, 1.0]]),
            torch.zeros(1),
            torch.full((1,), 10.0),
            grid.occupied,
            step=0.02,
            cone=0.0,
            jitter=torch.zeros(1),
        )
        assert 0 < len(samples) < 40 and (samples.t - 6.7).abs().max() < 0.31

    def test_it_comes_back_from_its_tensors(self):
        grid = self.grid(4, 500)
        again = OccupancyGrid.restored(
            **{k: t.clone() for k, t in grid.tensors().items()}, updates=grid.updates
        )
        for one in (grid, again):
            one.update(self.ball, torch.tensor([0.05, 0.05]), seed=0, cells=500)
        assert torch.equal(grid.density, again.density) and torch.equal(grid.occupied, again.occupied)
