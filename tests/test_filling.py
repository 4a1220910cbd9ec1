"""Voxels: values at nodes that are taken over from another field, and total variation."""

import pytest
import torch
from test_voxels import BOX, SPACE, made, some_cells

from polyfield.distill.options import Conversion
from polyfield.distill.task import Taught
from polyfield.distill.value_task import ValueConversion
from polyfield.fields import Domain, FieldSpec, Points, create
from polyfield.fields.context import FieldContext
from polyfield.fields.meaning import Meaning
from polyfield.fields.parts.sparse import positions
from polyfield.fitting.runs.config import FitConfig
from polyfield.kernels import uniform
from polyfield.progress import silent

UNIT = Domain("box", (0.0, 0.0), (1.0, 1.0))


def answers(points: Points):
    """Raw densities that are linear in x, and colours whose logits are linear in the direction and in x."""
    x = BOX.to_local(points.x)
    raw = 2 * x[:, :1] - x[:, 1:2] + 0.5 * x[:, 2:]
    if points.directions is None:
        return raw, None
    return raw, torch.stack([(x[:, i] + points.directions[:, i]) for i in range(3)], 1).sigmoid()


class TestRadiance:
    def test_linear_densities_and_colours_are_met_everywhere(self):
        field, occupied = made(rows=6000, nodes=40), some_cells()
        assert field.fill(answers, occupied).keys() == {"encoding.tables.0", "encoding.tables.1"}
        cells = occupied.nonzero()[:, 1:].flip(1)  # x, y, z
        inside = uniform((len(cells), 3), seed=0, stream="inside")
        x = BOX.to_world((cells + inside) / 4 - 1)
        d = torch.nn.functional.normalize(uniform((len(x), 3), seed=0, stream="d") - 0.5, dim=1)
        wanted_raw, wanted_colour = answers(Points(x, d))
        found = field.query(x, d)
        torch.testing.assert_close(found.raw, wanted_raw[:, 0], atol=1e-4, rtol=0)
        torch.testing.assert_close(found.colour, wanted_colour, atol=5e-3, rtol=0)

    def test_far_nodes_of_an_unbounded_scene_are_finite(self):
        occupied = torch.ones(3, 8, 8, 8, dtype=torch.bool)
        field = made(SPACE, rows=6000, nodes=40)
        assert field.fill(answers, occupied) is not None
        assert all(table.isfinite().all() for table in field.encoding.tables)

    def test_an_empty_scene_has_no_rows(self):
        field = made(rows=6000, nodes=40)
        assert field.fill(answers, torch.zeros(1, 8, 8, 8, dtype=torch.bool)) is not None
        assert int(field.encoding.node_of_row.max()) == -1

    def test_the_structure_stays(self):
        field = made(rows=6000, nodes=40)
        field.fill(answers, some_cells())
        nodes = field.encoding._nodes
        assert nodes > 17 and field.learning_rate < field.encoding.learning_rate
        for progress in (0.0, 0.2, 0.5, 1.0):
            assert field.advance(progress, ~some_cells()) is None and field.encoding._nodes == nodes

    def test_without_an_occupancy_grid_nothing_is_taken_over(self):
        field = made(rows=6000, nodes=40)
        before = field.encoding.tables[0].clone()
        assert field.fill(answers) is None and torch.equal(field.encoding.tables[0], before)
        assert field.advance(0.5, some_cells())


class TestValues:
    def test_values_at_nodes_are_the_others_own(self):
        field = create(FieldSpec("voxels", Meaning.of("image", UNIT, channels=3), {"rows": 30 * 30}), seed=0)
        field.advance(0.0)
        maps = field.fill(lambda points: (torch.cat((points.x, points.x[:, :1] * points.x[:, 1:]), 1), None))
        assert maps.keys() == {"encoding.tables.0"} and field.encoding.tables[0].shape == (900, 3)
        x = uniform((100, 2), seed=0, stream="x") * 2 - 1  # bilinear functions are met everywhere
        wanted = torch.cat((x, x[:, :1] * x[:, 1:]), 1)
        torch.testing.assert_close(field.features(Points(x)).vector, wanted, atol=1e-5, rtol=0)
        assert field.advance(0.0) is None

    def test_a_conversion_of_occupancy_takes_over_logits(self):
        meaning = Meaning.of("occupancy", BOX)
        teacher = create(FieldSpec("densegrid", meaning, {"levels": 1, "finest": 8}), seed=0)
        with torch.no_grad():
            teacher.encoding.tables[0].mul_(1e4)
        task = ValueConversion(Taught(teacher, FieldContext(), "a", "0" * 64), Conversion())
        config = FitConfig(source="a", field="voxels", signal="occupancy", steps=3, options={"rows": 20**3})
        student = task.begin(config, silent).field
        x = BOX.from_unit(positions(torch.arange(20**3), 20))
        with torch.no_grad():
            wanted, found = (field.features(Points(x)).raw for field in (teacher, student))
        assert wanted.std() > 0.1
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)

    def test_a_field_with_a_network_takes_nothing_over(self):
        field = create(FieldSpec("densegrid", Meaning.of("image", UNIT), {"levels": 1, "finest": 8}), seed=0)
        assert field.fill(lambda points: (points.x, None)) is None


class TestTotalVariation:
    def test_constants_have_none(self):
        field = made(rows=1729, nodes=12)
        with torch.no_grad():
            for table in field.encoding.tables:
                table[1:] = 0.7
        assert float(field.penalties(0).detach()) < 1e-7

    def test_it_is_the_mean_size_of_differences_between_neighbours(self):
        """Of f(i, j, k) = 3 i + 4 k, whose differences along x and z have the size 5, but for the last nodes along an axis."""
        nodes = 12
        field = made(rows=nodes**3 + 1, nodes=nodes)
        i, k = torch.arange(nodes).repeat(nodes * nodes), torch.arange(nodes).repeat_interleave(nodes * nodes)
        with torch.no_grad():
            field.encoding.tables[1].zero_()
            field.encoding.tables[0][1:, 0] = (3 * i + 4 * k).float()
        n = nodes - 1
        wanted = (n * n * 5 + n * 3 + n * 4) * nodes / nodes**3
        found = field.penalties(0)
        assert float(found.detach()) == pytest.approx(1e-2 * wanted, rel=1e-3)
        found.backward()
        gradient = field.encoding.tables[0].grad
        assert gradient[0] == 0 and gradient.abs().max() > 0

    def test_only_some_steps_have_it_and_other_architectures_none(self):
        field = made(rows=1729, nodes=12)
        assert [field.penalties(step) is not None for step in (0, 1, 63, 64, 65)] == [
            True,
            False,
            False,
            True,
            False,
        ]
        assert create(FieldSpec.of("hashgrid", "radiance", BOX)).penalties(0) is None

    def test_nodes_without_a_row_have_no_part_in_it(self):
        field, occupied = made(rows=3000, nodes=64), some_cells()
        field.advance(0.5, occupied)
        with torch.no_grad():
            for table in field.encoding.tables:
                table[1:] = 0.7
        assert float(field.penalties(0).detach()) < 1e-7

    def test_an_empty_scene_has_none(self):
        field = made(rows=3000, nodes=64)
        field.advance(0.5, torch.zeros(1, 8, 8, 8, dtype=torch.bool))
        assert field.penalties(0) is None
