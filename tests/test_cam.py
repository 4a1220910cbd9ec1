"""Coordinate-aware modulation: what the grids and norms do, the papers' counts, and the table of its first experiment."""

import math

import pytest
import torch
from torch.nn.functional import layer_norm, linear

from polyfield.cameras.rays import Rays
from polyfield.distill.edited import Whole
from polyfield.distill.teacher import Teacher
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, Meaning, Points, create
from polyfield.fields.architecture import Extent
from polyfield.fields.architectures.cam import CamOptions, ModulatedTrunk, direction_coordinates, ray_norm
from polyfield.fields.context import FieldContext
from polyfield.fields.parts.frequency import fourier_code
from polyfield.fields.parts.initial import uniform_init
from polyfield.fields.registry import architecture
from polyfield.fitting.optimiser import Optimiser
from polyfield.kernels import mlp, uniform
from polyfield.rendering.radiance.rendering import render_rays, sample_points
from polyfield.rendering.radiance.sampling import Lattice, StratifiedSampler, sampler_for

FLAT = Domain("box", (0.5, 0.5), (0.5, 0.5))
BOX = Domain("box", (0.0,) * 3, (1.0,) * 3)


def field_of(signal: str = "image", moving: bool = False, **options):
    meaning = Meaning.of(
        signal, FLAT if signal == "image" else BOX, channels=3 if signal == "image" else None, moving=moving
    )
    small = {"width": 16, "layers": 2, "nodes": 5, "frequencies": 3}
    return create(FieldSpec("cam", meaning, small | options), seed=1)


def disturb(field) -> None:
    """Move gamma and beta from where they begin."""
    grid = field.trunk.modulation.grid
    grid.data += uniform(grid.shape, seed=2, stream="grid") - 0.5


def flat_points(count: int = 200) -> Points:
    return Points(uniform((count, 2), seed=3, stream="x"))


def ray_points(rays: int = 6, samples: int = 7) -> Points:
    origins = uniform((rays, 3), seed=4, stream="origins") * 2 - 1
    directions = torch.nn.functional.normalize(uniform((rays, 3), seed=5, stream="directions") * 2 - 1, dim=1)
    sampler = StratifiedSampler(Domain("box", (0.0,) * 3, (4.0,) * 3), samples, 0.0, 1.0)
    given = Rays(origins, directions)
    return sample_points(given, sampler(given, torch.full((rays,), 0.5)))


class TestModulation:
    @pytest.mark.parametrize("activation", ["relu", "sine"])
    def test_without_a_norm_it_begins_as_the_network_alone(self, activation):
        field = field_of(norm="none", activation=activation)
        points, layers = flat_points(), field.trunk.layers
        code = field.encoding(field.unit(points))
        alone = mlp(code, list(layers.weights), list(layers.biases), sine=activation == "sine")
        if activation == "relu":
            assert torch.equal(field.trunk(code, points), alone)
        torch.testing.assert_close(field.trunk(code, points), alone)  # sines are another implementation's

    def test_with_a_norm_it_begins_as_a_network_of_layer_norms(self):
        field = field_of()
        points, layers = flat_points(), field.trunk.layers
        code = x = field.encoding(field.unit(points))
        for weight, bias in zip(layers.weights[:-1], layers.biases[:-1]):
            x = layer_norm(x @ weight.T + bias, (16,)).relu()
        wanted = x @ layers.weights[-1].T + layers.biases[-1]
        torch.testing.assert_close(field.trunk(code, points), wanted)

    @pytest.mark.parametrize("channels", ["scalar", "vector"])
    def test_hidden_layers_are_scaled_and_shifted_by_the_grids(self, channels):
        """At a node by what it holds, half-way between two by their mean, outside by what the border holds."""
        field = field_of(channels=channels, norm="none")
        disturb(field)
        width = 16 if channels == "vector" else 1
        grid, layers = field.trunk.modulation.grid.view(5, 5, 2, 2, width), field.trunk.layers  # y, x
        for at, held in (
            ((0.25, 0.75), grid[3, 1]),
            ((0.375, 0.5), (grid[2, 1] + grid[2, 2]) / 2),
            ((1.5, -0.25), grid[0, 4]),
        ):
            points = Points(torch.tensor([at]))
            code = x = field.encoding(field.unit(points))
            for layer in range(2):
                change, beta = held[layer]
                x = ((1 + change) * (x @ layers.weights[layer].T + layers.biases[layer]) + beta).relu()
            wanted = x @ layers.weights[2].T + layers.biases[2]
            torch.testing.assert_close(field.trunk(code, points), wanted, rtol=1e-4, atol=1e-5)

    def test_the_gradient_to_a_scalar_is_a_sum_over_channels(self):
        """d/d gamma sums g_c norm(F)_c over all points and channels, d/d beta sums g_c; summed over the nodes, whose weights sum to 1."""
        field = field_of(layers=1)
        points, layers = flat_points(), field.trunk.layers
        code = field.encoding(field.unit(points))
        field.trunk(code, points).square().sum().backward()
        normed = layer_norm(code @ layers.weights[0].T + layers.biases[0], (16,)).detach().requires_grad_()
        (normed.relu() @ layers.weights[1].T + layers.biases[1]).square().sum().backward()
        found = field.trunk.modulation.grid.grad.sum(0)
        wanted = torch.stack(((normed.grad * normed).sum(), normed.grad.sum()))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize(
        "index, moving",
        [
            ("position", False),
            ("direction", False),
            ("time", True),
            ("position+time", True),
            ("direction+time", True),
        ],
    )
    def test_every_number_that_points_touch_moves_in_one_step(self, index, moving):
        options = {"index": index, "nodes": 3, "angle_nodes": 4, "time_nodes": 3}
        field = field_of("radiance", moving, **options)
        count = 4000
        x = uniform((count, 3), seed=1, stream="x") * 2 - 1
        directions = torch.nn.functional.normalize(uniform((count, 3), seed=1, stream="d") * 2 - 1, dim=1)
        points = Points(x, directions, uniform((count,), seed=1, stream="t") if moving else None)
        before = {name: tensor.detach().clone() for name, tensor in field.named_parameters()}
        optimiser = Optimiser(field.parameter_groups(), decay=0.0)
        features = field.features(points)
        (field.head(features, points).colour - 0.2).square().mean().backward()
        optimiser.step(1e-3)
        name = "trunk.modulation.grid"
        moved = (field.get_parameter(name).detach() - before[name]).abs()
        assert (moved > 0).all()
        # Adam's first step is the learning rate: ten times the network's.
        torch.testing.assert_close(moved.median(), torch.tensor(1e-2), rtol=1e-2, atol=0)
        weights = f"trunk.layers.weights.{len(field.trunk.layers.weights) - 1}"
        network = (field.get_parameter(weights).detach() - before[weights]).abs()
        torch.testing.assert_close(network.median(), torch.tensor(1e-3), rtol=1e-2, atol=0)


class TestNorms:
    def test_over_a_point_others_change_nothing(self):
        field = field_of()
        disturb(field)
        points = flat_points()
        whole = field.features(points).vector
        order = torch.arange(200).flip(0)[:50]
        torch.testing.assert_close(field.features(points[order]).vector, whole[order])

    def test_over_a_ray_rays_are_independent_and_samples_are_not(self):
        field = field_of("radiance", norm="ray")
        disturb(field)
        points = ray_points()
        whole = field.features(points).vector
        order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
        index = torch.cat([(points.rays == ray).nonzero()[:, 0] for ray in order])
        torch.testing.assert_close(field.features(points[index]).vector, whole[index], rtol=1e-3, atol=1e-4)
        x = points.x.clone()
        x[10] += 0.3  # of the second ray
        moved = field.features(Points(x, points.directions, None, points.rays)).vector
        same = torch.isclose(moved, whole, rtol=1e-3, atol=1e-4).all(1)
        assert (same == (points.rays != 1)).all()

    def test_over_a_ray_mean_and_variance_are_0_and_1(self):
        x = uniform((30, 8), seed=1, stream="x") * 5 + 3
        rays = torch.arange(30) // 10
        found = ray_norm(x, rays).view(3, -1)
        torch.testing.assert_close(found.mean(1), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(found.var(1, correction=0), torch.ones(3), atol=1e-4, rtol=0)
        assert ray_norm(x[:0], rays[:0]).shape == (0, 8)


class TestFieldsThatAreNotPointwise:
    @pytest.mark.parametrize("options", [{"norm": "ray"}, {"index": "direction"}])
    def test_empty_space_is_not_skipped_and_rendering_is_one_pass(self, options):
        """The picture and the training step see the same field, whose gradients reach every sample."""
        field = field_of("radiance", **options)
        disturb(field)
        assert not field.traits.pointwise
        occupied = torch.zeros(1, 8, 8, 8, dtype=torch.bool)
        sampler = sampler_for(field, occupied, Lattice(0.1, 0.0, 0.0))
        assert isinstance(sampler, StratifiedSampler)
        rays = Rays(torch.tensor([[-3.0, 0.1, 0.2]] * 3), torch.eye(3)[[0, 0, 0]])
        trained = render_rays(field, rays, sampler)
        with torch.no_grad():
            drawn = render_rays(field, rays, sampler)
        torch.testing.assert_close(trained.colour.detach(), drawn.colour)
        torch.testing.assert_close(trained.opacity.detach(), drawn.opacity)
        trained.colour.sum().backward()
        assert field.trunk.modulation.grid.grad.abs().sum() > 0

    def test_densities_without_a_direction_or_a_ray_are_refused(self):
        x, directions = torch.zeros(2, 3), torch.eye(3)[:2]
        with pytest.raises(
            PolyfieldError, match="its densities depend on the viewing direction; call query with directions"
        ):
            field_of("radiance", index="direction").raw_at(x)
        with pytest.raises(PolyfieldError, match="depends on all samples of its ray"):
            field_of("radiance", norm="ray").query(x, directions)

    @pytest.mark.parametrize("options", [{"norm": "ray"}, {"index": "direction"}])
    def test_they_are_neither_converted_nor_edited(self, options):
        field = field_of("radiance", **options)
        with pytest.raises(
            PolyfieldError, match="convert: the teacher's densities depend on the viewing direction or on all"
        ):
            Teacher(field, FieldContext())
        with pytest.raises(PolyfieldError, match="the field's densities depend on the viewing direction"):
            Whole(field, FieldContext())


def test_azimuth_is_periodic_and_elevation_covers_the_sphere():
    up, down = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, -1.0])
    around = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    found = direction_coordinates(torch.stack((up, down, *around)))
    torch.testing.assert_close(found[:, 1], torch.tensor([1.0, 0.0, 0.5, 0.5, 0.5]))
    torch.testing.assert_close(found[2:, 0], torch.tensor([0.5, 0.75, 0.25]))
    field = field_of("radiance", index="direction", angle_nodes=6)
    disturb(field)
    angles = torch.tensor([math.pi - 1e-4, -math.pi + 1e-4, math.pi / 3])  # both sides of the seam; a node
    directions = torch.stack((angles.cos(), angles.sin(), torch.zeros(3)), 1)
    left, right, node = field.trunk.modulation(Points(torch.zeros(3, 3), directions))
    torch.testing.assert_close(left, right, rtol=0, atol=1e-3)
    grid = field.trunk.modulation.grid.view(3, 6, -1)  # elevation, azimuth
    torch.testing.assert_close(left, grid[1, 0], rtol=0, atol=1e-3)
    torch.testing.assert_close(node, grid[1, 4], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "signal, options, words",
    [
        ("radiance", {"index": "time"}, "cam: option index is 'time', but this radiance field has no times"),
        ("sdf", {"index": "position+time"}, "this sdf field has no times; use 'position'"),
        (
            "image",
            {"index": "direction"},
            "cam: option index is 'direction', but image fields have no viewing directions",
        ),
        ("volume", {"norm": "ray"}, "cam: option norm is 'ray', but volume fields have no rays; use 'point'"),
    ],
)
def test_an_index_or_a_norm_that_a_field_does_not_have_is_refused(signal, options, words):
    with pytest.raises(PolyfieldError, match=words):
        field_of(signal, **options)


def test_options_that_suit_a_source():
    kind = architecture("cam")
    assert kind.suited(Extent(200, 3, 30))["index"] == "position+time"  # of a video
    of_moving_scene = kind.suited(Extent(200, 4, 30))
    assert of_moving_scene["norm"] == "none" and "index" not in of_moving_scene
    assert "index" not in kind.suited(Extent(200, 3))


def test_fourier_features_are_drawn_from_the_seed_and_kept():
    """sin and cos of 2 pi B u, B normal with the standard deviation sigma (Tancik et al. 2020)."""
    spec = FieldSpec("mlp", Meaning.of("image", FLAT, channels=3), {"fourier": 2000, "sigma": 7})
    field, same, other = create(spec, seed=1), create(spec, seed=1), create(spec, seed=2)
    frequencies = field.encoding.fourier
    assert torch.equal(frequencies, same.encoding.fourier)
    assert not torch.equal(frequencies, other.encoding.fourier)
    assert abs(float(frequencies.std()) - 7) < 0.2 and abs(float(frequencies.mean())) < 0.3
    # As many within one and two standard deviations as of a normal distribution.
    within = [(frequencies.abs() < 7 * k).float().mean().item() for k in (1, 2)]
    assert abs(within[0] - 0.683) < 0.03 and abs(within[1] - 0.954) < 0.015
    other.load_state_dict(field.state_dict())
    x = flat_points(20).x
    torch.testing.assert_close(other.query(x).colour, field.query(x).colour)
    assert "encoding.fourier" in field.stored() and field.plan() is None
    unit = torch.tensor([[0.3, 0.6]])
    code = fourier_code(unit, torch.tensor([[1.0, 2.0]]))
    torch.testing.assert_close(code, torch.tensor([[math.sin(3 * math.pi), math.cos(3 * math.pi)]]))


class TestCounts:
    """Numbers that the authors' own code has."""

    def test_pictures(self):
        """512 Fourier features, three layers of 256: 263,683; grids of 32 x 32: 6,144."""
        options = {"fourier": 256, "width": 256, "layers": 3, "nodes": 32}
        field = field_of(**options)
        assert sum(p.numel() for p in field.trunk.layers.parameters()) == 263_683
        assert field.parameter_count() == 263_683 + 6_144

    def test_moving_scenes(self):
        """Five nodes along time for each of eight layers."""
        field = field_of("radiance", True, index="time", layers=8, time_nodes=5)
        assert field.trunk.modulation.grid.numel() == 80

    @pytest.mark.parametrize("inputs, alone", [(1, 12_673), (33, 14_721)])
    def test_functions_of_one_number(self, inputs, alone):
        trunk = line_trunk(inputs)
        assert sum(p.numel() for p in trunk.layers.parameters()) == alone
        assert sum(p.numel() for p in trunk.parameters()) == alone + 512


def line_trunk(inputs: int) -> ModulatedTrunk:
    """A trunk over one coordinate, the time of a moving field: 64 nodes, four hidden layers of 64."""
    options = CamOptions(index="time", norm="none", time_nodes=64, layers=4, width=64)
    return ModulatedTrunk(inputs, 1, options, Meaning.of("radiance", BOX, moving=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "octaves, modulated, least, most",
    [(0, False, 4.9, 5.1), (16, False, 3.2, 3.6), (0, True, 0.03, 0.1), (16, True, 0.015, 0.05)],
)
def test_a_linear_network_fits_sines_only_with_modulation(octaves, modulated, least, most):
    """The paper's function of one number: mean squared errors 4.97, 3.34 with octaves, 0.07 with modulation, 0.03 with both.

    Ten sines of 5 to 50 periods, 200 points, 1,500 steps of Adam, no activations, PyTorch's own initial weights.
    """
    unit = torch.linspace(0, 1, 200)[:, None]
    periods, phases = torch.arange(5.0, 55.0, 5.0), uniform((10,), seed=0, stream="phases")
    wanted = (2 * math.pi * (unit * periods + phases)).sin().sum(1, keepdim=True)
    angles = unit * 2.0 ** torch.arange(octaves)
    code = torch.cat((unit, angles.sin(), angles.cos()), 1)
    trunk = line_trunk(code.shape[1])
    trunk.initialise(0, "line")
    for layer, (weight, bias) in enumerate(zip(trunk.layers.weights, trunk.layers.biases)):
        bound = weight.shape[1] ** -0.5
        uniform_init(weight, bound, seed=0, name=f"weight {layer}")
        uniform_init(bias, bound, seed=0, name=f"bias {layer}")
    points = Points(torch.zeros(200, 3), times=unit[:, 0])
    optimiser = torch.optim.Adam(trunk.parameters(), 1e-3)

    def error() -> torch.Tensor:
        x = code
        modulation = trunk.modulation(points).view(200, 4, 2)
        for layer, (weight, bias) in enumerate(zip(trunk.layers.weights, trunk.layers.biases)):
            x = linear(x, weight, bias)
            if modulated and layer < 4:
                x = (1 + modulation[:, layer, :1]) * x + modulation[:, layer, 1:]
        return (x - wanted).square().mean()

    for _ in range(1500):
        optimiser.zero_grad()
        error().backward()
        optimiser.step()
    assert least < float(error().detach()) < most
