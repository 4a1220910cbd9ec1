"""Radial basis functions as an architecture: clusters, shapes, what is frozen, and what kernels add."""

import itertools

import pytest
import torch

from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, Meaning, create
from polyfield.fields.architecture import Extent
from polyfield.fields.heads.kernel_radiance import KernelRadiance
from polyfield.fields.parts import clusters as clusters_module
from polyfield.fields.parts.clusters import clusters
from polyfield.fields.parts.composed_trunk import ComposedTrunk
from polyfield.fields.parts.radial import RadialKernels, log_spaced
from polyfield.fields.registry import architecture
from polyfield.fitting.optimiser import Optimiser

SQUARE = Domain("box", (0.5, 0.5), (0.5, 0.5))
BOX = Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SMALL = {"kernels": 60, "features": 16, "levels": 1, "coarsest": 8, "finest": 8, "layers": 2, "width": 32}


def cloud(count: int = 3000) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(count, 2, generator=rng), torch.rand(count, generator=rng) ** 3


def objective(points: torch.Tensor, weights: torch.Tensor, centres: torch.Tensor) -> float:
    nearest = (points[:, None] - centres).double().square().sum(-1).amin(1)
    return float((nearest * weights.double()).sum())


class TestClusters:
    def test_rounds_never_raise_the_weighted_error(self, monkeypatch):
        points, weights = cloud()
        errors = []
        for rounds in range(6):
            monkeypatch.setattr(clusters_module, "_ROUNDS", rounds)
            errors.append(objective(points, weights, clusters(points, weights, 40, seed=2)[0]))
        assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(errors))
        assert errors[-1] < 0.8 * errors[0]

    def test_a_point_twice_is_a_point_of_twice_the_weight(self, monkeypatch):
        points, weights = cloud(200)
        monkeypatch.setattr(clusters_module, "_ROUNDS", 1)
        start = points[:5]
        once = clusters_module._means(
            torch.cat((points, points[50:])), torch.cat((weights, weights[50:])).double(), start
        )
        doubled = weights.double().clone()
        doubled[50:] *= 2
        twice = clusters_module._means(points, doubled, start)
        torch.testing.assert_close(once[0], twice[0])
        torch.testing.assert_close(once[2], twice[2])

    def test_covariances_are_those_of_the_clusters(self):
        points, weights = cloud()
        centres, covariances = clusters(points, weights, 30, seed=3)
        own = (points[:, None] - centres).square().sum(-1).argmin(1)
        for cluster in range(30):
            away, mass = (
                (points[own == cluster] - centres[cluster]).double(),
                weights[own == cluster].double(),
            )
            expected = (mass[:, None, None] * away[:, :, None] * away[:, None, :]).sum(0) / mass.sum()
            torch.testing.assert_close(covariances[cluster], expected, rtol=1e-6, atol=1e-12)

    def test_points_without_weight_are_left_out(self):
        points, weights = cloud(500)
        far = torch.full((100, 2), 7.0)
        found, _ = clusters(torch.cat((points, far)), torch.cat((weights, torch.zeros(100))), 20, seed=1)
        assert float(found.max()) <= 1

    def test_a_flat_picture_has_kernels_everywhere(self):
        found, _ = clusters(cloud(500)[0], torch.zeros(500), 20, seed=1)
        assert len(found.unique(dim=0)) == 20


class TestKernels:
    def placed(self, importance, **options) -> RadialKernels:
        kernels = RadialKernels(2, 100, 8, linear=options.get("linear", False), band=None)
        kernels.initialise(1)
        kernels.place(importance, 1)
        return kernels

    def test_they_are_where_the_source_has_detail(self):
        def stripe(x):
            return torch.exp(-(((x[:, 0] - 0.3) / 0.02) ** 2))

        places = self.placed(stripe).trees()[0].points
        assert float(((places[:, 0] - 0.3).abs() < 0.06).float().mean()) > 0.95
        assert float(places[:, 1].max() - places[:, 1].min()) > 0.9

    def test_shapes_are_positive_definite_and_as_thin_as_the_clusters(self):
        kernels = self.placed(lambda x: (x[:, 0] - 0.3).abs().lt(0.0003).float())
        a, b, c = kernels.shapes.float().unbind(1)  # [[a, b], [0, c]]
        upper = torch.stack((torch.stack((a, b), 1), torch.stack((torch.zeros_like(a), c), 1)), 1)
        deviations = torch.linalg.eigvalsh((upper.mT @ upper).double()).rsqrt()
        assert float(deviations.min()) >= 2.0**-13 * 0.99 and float(deviations.max()) <= 0.1 * 1.01
        assert float(deviations.amin(1).median()) < 0.2 * float(deviations.amax(1).median())

    def test_the_seed_decides_and_the_search_follows_what_is_loaded(self):
        one, same = (self.placed(lambda x: x[:, 0]) for _ in range(2))
        assert torch.equal(one.places, same.places) and torch.equal(one.shapes, same.shapes)
        other = RadialKernels(2, 100, 8, linear=False, band=None)
        other.initialise(5)
        x = torch.rand(50, 2)
        assert not torch.equal(other(x), one(x))
        other.load_state_dict(one.state_dict())
        assert torch.equal(other(x), one(x))

    def test_frequencies_are_spaced_by_equal_ratios(self):
        found = log_spaced((0.125, 4096.0), 32)
        torch.testing.assert_close(found[1:] / found[:-1], torch.full((31,), 1.3985), rtol=1e-4, atol=0)
        assert found[0] == 0.125 and float(found[-1]) == pytest.approx(4096)


def picture() -> tuple[torch.Tensor, torch.Tensor]:
    """Points and colours of a picture with a fine texture in one corner."""
    axis = (torch.arange(48) + 0.5) / 48
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    fine = torch.sin(60 * x * y) * ((x - 0.3) ** 2 + (y - 0.3) ** 2 < 0.06)
    return torch.stack((x, y), -1).view(-1, 2), torch.stack((fine, x, y), -1).view(-1, 3)


def fitted(steps: int = 150, **options):
    x, wanted = picture()
    field = create(FieldSpec("rbf", Meaning.of("image", SQUARE, channels=3), {**SMALL, **options}), seed=1)
    field.place(lambda at: ((at - 0.3).square().sum(1) < 0.06).float() + 0.05, 1)
    structure = {name: buffer.clone() for name, buffer in field.named_buffers()}
    points, optimiser = field.points(x), Optimiser(field.parameter_groups(), decay=0.0)
    for _ in range(steps):
        optimiser.clear()
        error = (field.features(points).vector - wanted).square().mean()
        error.backward()
        optimiser.step(field.learning_rate)
    return field, structure, float(error.detach())


def test_places_and_shapes_stay_as_they_were_placed():
    field, structure, _ = fitted(5)
    assert structure.keys() == {"encoding.kernels.places", "encoding.kernels.shapes"}
    assert all(torch.equal(structure[name], buffer) for name, buffer in field.named_buffers())
    assert all(parameter.grad is not None for parameter in field.parameters())


def test_sines_of_heights_make_small_fields_better():
    """NeuRBF, section 3.2."""
    sines, none = (fitted(sines=sines)[2] for sines in ("kernels", "none"))
    assert sines < 0.75 * none


def test_the_first_layer_adds_sines_to_itself():
    spec = FieldSpec("rbf", Meaning.of("image", SQUARE, channels=3), {**SMALL, "sines": "network"})
    trunk = create(spec, seed=1).trunk
    assert isinstance(trunk, ComposedTrunk)
    code = torch.randn(7, trunk.layers.weights[0].shape[1])
    (first, second, last), biases = trunk.layers.weights, trunk.layers.biases
    h = code @ first.T + biases[0]
    h = h + torch.sin(h * log_spaced((1.0, 1000.0), 32))
    expected = ((h @ second.T + biases[1]).relu()) @ last.T + biases[2]
    torch.testing.assert_close(trunk(code, None), expected, rtol=1e-4, atol=1e-5)


def test_the_density_of_radiance_is_without_kernels():
    field = create(
        FieldSpec("rbf", Meaning.of("radiance", BOX), {"kernels": 200, "levels": 2, "finest": 32}), seed=1
    )
    assert isinstance(field, KernelRadiance)
    x, directions = torch.rand(40, 3) * 2 - 1, torch.nn.functional.normalize(torch.randn(40, 3), dim=1)
    before = field.query(x, directions)
    field.kernels.weights.data += 5.0
    after = field.query(x, directions)
    assert torch.equal(before.density, after.density) and not torch.allclose(before.colour, after.colour)


@pytest.mark.parametrize("extent", [Extent(300, 2), Extent(1 << 20, 2), Extent(640, 3), Extent(1 << 20, 3)])
def test_options_that_suit_a_source_are_within_their_limits(extent):
    kind = architecture("rbf")
    assert kind.parse(kind.suited(extent)).finest <= 1 << 16


def test_radiance_refuses_sines():
    with pytest.raises(
        PolyfieldError, match="rbf: option sines is 'both', but kernels of radiance fields have no sines"
    ):
        create(FieldSpec("rbf", Meaning.of("radiance", BOX), {"kernels": 200, "sines": "both"}))
