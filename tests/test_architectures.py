"""What single architectures promise: exact tensors, exact counts, growth."""

import math

import pytest
import torch

from polyfield.fields import Domain, FieldSpec, create
from polyfield.fields.parts.network import Layers
from polyfield.kernels import mlp

BOX = Domain("box", (0.5, 0.0, -1.0), (1.5, 1.0, 2.0))
NODES = 7


def at_nodes(nodes: int) -> torch.Tensor:
    """World points (nodes^3, 3) of a grid's nodes, x fastest."""
    line = torch.linspace(0, 1, nodes, dtype=torch.float64)
    z, y, x = torch.meshgrid(line, line, line, indexing="ij")
    return BOX.from_unit(torch.stack((x, y, z), -1).reshape(-1, 3)).float()


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("architecture", ["vm", "cp"])
def test_a_separable_tensor_is_met_at_the_nodes(architecture):
    """A tensor of rank 3: sum_r a_r(x) b_r(y) c_r(z)."""
    spec = FieldSpec.of(architecture, "sdf", BOX, resolution=NODES, rank=3, layers=0)
    field = create(spec)
    lines = torch.randn(3, NODES, 3, generator=torch.Generator().manual_seed(0))  # axis, node, rank
    tables = field.encoding.tables
    with torch.no_grad():
        if architecture == "cp":
            for axis in range(3):
                tables[axis].copy_(lines[axis])
            field.trunk.layers.weights[0].fill_(1.0)
        else:  # one part holds it, as a plane (y, z) times a line (x); the others are empty
            for table in tables:
                table.zero_()
            plane = lines[2][:, None] * lines[1][None]  # z, y, rank: y fastest
            tables[0].copy_(plane.reshape(-1, 3))
            tables[1].copy_(lines[0])
            field.trunk.layers.weights[0].fill_(1.0)
    wanted = torch.einsum("xr,yr,zr->zyx", *lines.double()).reshape(-1)
    found = field.query(at_nodes(NODES)).raw
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-6 * float(wanted.abs().max()))


@pytest.mark.parametrize("architecture", ["hashgrid", "triplane", "kplanes", "vm", "cp", "mlp", "cam"])
def test_a_dense_grid_filled_from_any_field_is_it_at_the_nodes(architecture):
    source = create(FieldSpec.of(architecture, "sdf", BOX), seed=1)
    for parameter in source.encoding.parameters():
        parameter.data.uniform_(-1, 1)
    values = source.query(at_nodes(NODES)).raw.detach()
    grid = create(FieldSpec.of("densegrid", "sdf", BOX, levels=1, features=1, finest=NODES, layers=0))
    with torch.no_grad():
        grid.encoding.tables[0][:, 0] = values
        grid.trunk.layers.weights[0].fill_(1.0)
    torch.testing.assert_close(grid.query(at_nodes(NODES)).raw, values, rtol=1e-5, atol=1e-6)


class TestCounts:
    """Numbers that the papers' own code has."""

    def test_triplane_of_neural_processing(self):
        """3 planes of 32 x 32 x 16, ten octaves, a SIREN of three layers of 64: 49,152 + 13,505 = 62,657."""
        options = {"resolution": 32, "features": 16, "frequencies": 10, "layers": 3, "activation": "sine"}
        field = create(FieldSpec.of("triplane", "sdf", BOX, **options))
        assert count(field.encoding) == 49_152
        assert count(field.trunk) == 13_505
        assert field.parameter_count() == 62_657
        assert field.stored_bytes() == 2 * 49_152 + 4 * 13_505  # tables are stored in half precision

    def test_siren_baseline(self):
        """Five layers of 512 with biases: 790,529."""
        field = create(FieldSpec.of("mlp", "sdf", BOX, activation="sine", width=512, layers=4))
        assert field.parameter_count() == 790_529

    def test_radiance_networks_without_biases(self):
        """Behind planes of 32 x 32 x 16 with 288 sines and cosines, 77,824 in all; and the baseline without planes."""
        planes = create(FieldSpec.of("triplane", "sdf", BOX, resolution=32, features=16)).encoding
        network = Layers([planes.width + 288, 64, 64, 64, 16])
        assert count(network) == 28_672
        assert count(planes) + count(network) == 77_824
        assert count(Layers([288, 128, 128, 128, 128, 16])) == 88_064

    def test_vm_of_the_distillation_paper(self):
        """300^3 with ranks 16 and 48: 17.3 M in planes and lines."""
        field = create(FieldSpec.of("vm", "radiance", BOX, resolution=300, rank=64, layers=0))
        assert count(field.encoding) == 3 * 64 * (300**2 + 300) == 17_337_600

    def test_plenoxels_of_the_distillation_paper(self):
        """One dense grid of 128^3 entries; 28 features are 58.7 M."""
        field = create(FieldSpec.of("densegrid", "radiance", BOX, levels=1, finest=128, features=4))
        assert count(field.encoding) * 7 == 128**3 * 28 == 58_720_256

    def test_kplanes(self):
        options = {"levels": 2, "coarsest": 64, "finest": 128, "features": 32}
        field = create(FieldSpec.of("kplanes", "radiance", BOX, **options))
        assert count(field.encoding) == 3 * 32 * (64**2 + 128**2)


class TestGrowth:
    @pytest.mark.parametrize("architecture", ["vm", "cp"])
    def test_values_stay_where_nodes_coincide(self, architecture):
        """From 5 nodes to 9 the old nodes are nodes still."""
        field = create(FieldSpec.of(architecture, "sdf", BOX, resolution=9, rank=4), seed=2)
        field.encoding._last = 12.5  # 0.4 of it is 5
        field.advance(0.0)
        x = at_nodes(5)
        before = field.query(x).raw.detach()
        field.encoding._last = 9
        maps = field.advance(1.0)
        assert set(maps) == {name for name, _ in field.named_parameters() if "tables" in name}
        torch.testing.assert_close(field.query(x).raw.detach(), before, rtol=1e-4, atol=1e-5)

    def test_a_fit_begins_coarse_and_ends_as_the_spec_says(self):
        spec = FieldSpec.of("vm", "sdf", BOX, resolution=40, rank=4)
        field, sizes = create(spec), []
        for progress in (0.0, 0.05, 0.1, 0.15, 0.5, 1.0):
            field.advance(progress)
            sizes.append(math.isqrt(len(field.encoding.tables[0])))
        assert sizes == [16, 16, 22, 30, 40, 40]
        assert field.state_dict().keys() == create(spec).state_dict().keys()

    def test_maps_lead_from_old_tensors_to_new(self):
        field = create(FieldSpec.of("cp", "image", Domain("box", (0.5, 0.5), (0.5, 0.5)), resolution=20))
        old = {name: p.detach().clone() for name, p in field.named_parameters()}
        for name, change in field.advance(0.0).items():
            torch.testing.assert_close(change(old[name]), field.get_parameter(name).detach())


def test_sine_layers_are_sirens():
    """sin(30 (W x + b)) layer by layer, with the factor folded into weights and biases."""
    layers = Layers([3, 8, 8, 1], "sine")
    layers.initialise(0, "test")
    x = torch.rand(50, 3) * 2 - 1
    hidden = x
    for weight, bias in zip(layers.weights[:-1], layers.biases[:-1]):
        hidden = torch.sin(30 * (hidden @ (weight / 30).T + bias / 30))
    wanted = hidden @ layers.weights[-1].T + layers.biases[-1]
    torch.testing.assert_close(layers(x), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        mlp(x, list(layers.weights), list(layers.biases), sine=True), wanted, rtol=1e-4, atol=1e-5
    )
    # What comes out of the sines fills [-1, 1], as the initialisation is meant to make it (SIREN, section 3.2).
    wide = Layers([3, 256, 256, 256, 1], "sine")
    wide.initialise(0, "wide")
    x = torch.rand(1000, 3) * 2 - 1
    for weight, bias in zip(wide.weights[:-1], wide.biases[:-1]):
        x = torch.sin(x @ weight.T + bias)
        assert 0.6 < float(x.detach().std()) < 0.8  # of an arcsine distribution 0.71


def test_distances_are_in_the_sources_unit():
    """The same tensors over a domain ten times as large give distances ten times as large."""
    spec = FieldSpec.of("densegrid", "sdf", BOX, levels=1, finest=8)
    ten = Domain("box", (5.0, 0.0, -10.0), (15.0, 10.0, 20.0))
    large = FieldSpec.of("densegrid", "sdf", ten, levels=1, finest=8)
    x = at_nodes(5)
    torch.testing.assert_close(create(large).query(x * 10).distance, create(spec).query(x).distance * 10)
