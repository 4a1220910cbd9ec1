"""Sparse voxels: which nodes are stored, values that pruning and refining keep, colours, files and resumed fits."""

import pytest
import torch
from ball_scene import finished, new_fit

from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, StoredField, create
from polyfield.fields.context import FieldContext
from polyfield.fields.field_file import load_field, save_field
from polyfield.fields.occupied import boxes_of, occupied_at
from polyfield.fields.parts.sparse import around, positions
from polyfield.kernels import Levels, interpolate, uniform
from polyfield.kernels.dispatch import built

BOX = Domain("box", (0.5, 0.0, -1.0), (1.5, 1.0, 2.0))
SPACE = Domain("contraction", (0.0, 0.1, 0.0), (0.8, 0.8, 0.8))
FORMS = ["reference", *(["native"] if built("native") else [])]


def made(domain: Domain = BOX, **options: int) -> StoredField:
    """A field with numbers everywhere, and -3 in the row that empty nodes share."""
    field = create(FieldSpec.of("voxels", "radiance", domain, **options))
    with torch.no_grad():
        for index, table in enumerate(field.encoding.tables):
            table.copy_(uniform(table.shape, seed=1, stream=str(index)) * 4 - 2)
            table[0] = -3
    return field


def some_cells(cascades: int = 1, cells: int = 8) -> torch.Tensor:
    return uniform((cascades, cells, cells, cells), seed=3, stream="cells") < 0.05


def within(domain: Domain, occupied: torch.Tensor, count: int = 20_000) -> torch.Tensor:
    """World points of the occupied cells."""
    unit = uniform((count, 3), seed=4, stream="within")
    x = domain.from_unit(unit * 0.98 + 0.01)
    return x[occupied_at(occupied, domain.to_local(x))]


@pytest.mark.parametrize("form", FORMS)
def test_an_index_of_all_nodes_is_a_dense_level(form, monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", form)
    nodes = (5, 6, 7)
    points = uniform((300, 3), seed=0, stream="points")
    wanted = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for index in (None, torch.arange(210, dtype=torch.int32)):
        table = torch.randn(210, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        x = points.clone().requires_grad_()
        codes = interpolate(table, x, Levels((nodes,), 210, index))
        (codes * wanted).sum().backward()
        found.append((codes.detach(), table.grad, x.grad))
    assert all(torch.equal(dense, indexed) for dense, indexed in zip(*found, strict=True))


@pytest.mark.parametrize(
    "index, words",
    [
        (
            torch.zeros(26, dtype=torch.int32),
            "index has shape \\(26,\\) and dtype torch.int32, for 1 levels; expected",
        ),
        (torch.zeros(27), "index has shape \\(27,\\) and dtype torch.float32"),
        (torch.full((27,), 9, dtype=torch.int32), "index goes from 9 to 9; expected entries from 0 to 8"),
        (torch.full((27,), -1, dtype=torch.int32), "index goes from -1 to -1"),
    ],
)
def test_an_index_beyond_its_table_is_refused(index, words):
    with pytest.raises(PolyfieldError, match=words):
        Levels(((3, 3, 3),), 9, index)


class TestStructure:
    def test_nodes_round_boxes_are_the_corners_of_cells_that_reach_into_them(self):
        boxes = torch.tensor([[[0.0, 0.26, 0.5], [0.1, 0.3, 0.5]], [[0.9, 0.9, 0.9], [1.0, 1.0, 1.0]]])
        found = {tuple(node) for node in around(boxes, 5).nonzero().flip(1).tolist()}
        first = {(x, y, 2) for x in (0, 1) for y in (1, 2)}
        assert found == first | {(x, y, z) for x in (3, 4) for y in (3, 4) for z in (3, 4)}

    @pytest.mark.parametrize("domain, cascades", [(BOX, 1), (SPACE, 3)])
    def test_every_point_of_an_occupied_cell_has_its_own_rows(self, domain, cascades):
        field, occupied = made(domain, rows=6000, nodes=40), some_cells(cascades)
        field.advance(0.5, occupied)
        encoding = field.encoding
        assert encoding._nodes > 17 and int((encoding.node_of_row >= 0).sum()) > 3000
        with torch.no_grad():
            encoding.tables[0].fill_(2.0)
            encoding.tables[0][0] = -3.0
        raw = field.encoding.density(domain.to_unit(within(domain, occupied)))
        torch.testing.assert_close(raw, torch.full_like(raw, 2.0))

    def test_the_finest_grid_that_fits_its_rows_is_taken(self):
        field, occupied = made(rows=3000, nodes=64), some_cells()
        field.advance(0.5, occupied)
        boxes, nodes = boxes_of(occupied, BOX), field.encoding._nodes
        assert int(around(boxes, nodes).sum()) < 3000 <= int(around(boxes, nodes + 4).sum())

    def test_pruning_keeps_values(self):
        field, occupied = made(rows=1729, nodes=12), some_cells()
        x = within(BOX, occupied)
        directions = torch.nn.functional.normalize(x, dim=1)
        before = field.query(x, directions)
        assert field.advance(0.5, occupied) and field.encoding._nodes == 12
        assert int((field.encoding.node_of_row >= 0).sum()) < 1200
        after = field.query(x, directions)
        torch.testing.assert_close(after.raw, before.raw)
        torch.testing.assert_close(after.colour, before.colour)

    def test_refining_keeps_values_at_old_nodes(self):
        """From 12 nodes to 56, all of the 5th are old ones."""
        field, occupied = made(rows=1729, nodes=56), torch.zeros(1, 16, 16, 16, dtype=torch.bool)
        occupied[0, 3:5, 4:6, 8:9] = True
        old = BOX.from_unit(positions(torch.arange(12**3), 12))
        x = old[occupied_at(occupied, BOX.to_local(old))]
        before = field.encoding.density(BOX.to_unit(x))
        maps = field.advance(0.5, occupied)
        assert field.encoding._nodes == 56 and set(maps) == {"encoding.tables.0", "encoding.tables.1"}
        assert len(x) and torch.allclose(field.encoding.density(BOX.to_unit(x)), before, atol=1e-4)

    def test_it_changes_once_a_stage_and_only_where_occupancy_is_known(self):
        field, occupied = made(rows=1729, nodes=24), some_cells()
        assert field.advance(0.05, occupied) is None
        assert field.advance(0.2, None) is None and field.encoding._nodes == 12
        assert field.advance(0.24, occupied) is None
        assert field.advance(0.3, occupied) and field.advance(0.31, ~occupied) is None


def test_colours_of_degree_one_do_not_depend_on_the_direction():
    x = BOX.from_unit(uniform((50, 3), seed=0, stream="x"))
    for degree, same in ((1, True), (2, False)):
        field = made(rows=1000, degree=degree)
        one, other = (field.query(x, d.expand(50, 3)).colour for d in torch.eye(3)[:2])
        assert torch.equal(one, other) == same


class TestFiles:
    def test_a_sparse_field_is_loaded_as_it_was(self, tmp_path):
        field, occupied = made(rows=3000, nodes=64), some_cells()
        field.advance(0.5, occupied)
        save_field(tmp_path / "a.field", field, FieldContext())
        loaded, _ = load_field(tmp_path / "a.field")
        x = within(BOX, occupied)
        with torch.no_grad():  # tables are stored in half precision
            torch.testing.assert_close(
                loaded.query(x, torch.eye(3)[:1].expand(len(x), 3)).raw,
                field.query(x, torch.eye(3)[:1].expand(len(x), 3)).raw,
                atol=1e-2,
                rtol=1e-2,
            )

    @pytest.mark.parametrize(
        "name, row, value, words",
        [
            ("nodes", None, 1, "tensor 'nodes' is 1; expected 2 to 24"),
            ("nodes", None, 25, "tensor 'nodes' is 25; expected 2 to 24"),
            ("node_of_row", 5, 12**3, "has values from -1 to 1728"),
            ("node_of_row", 5, -2, "begins with -1 and has values from -2 to"),
            ("node_of_row", 0, 0, "tensor 'node_of_row' begins with 0"),
        ],
    )
    def test_structure_that_makes_no_sense_is_refused(self, name, row, value, words, tmp_path):
        field = made(rows=1729, nodes=24)
        buffer = field.encoding.get_buffer(name)
        buffer[() if row is None else row] = value
        save_field(tmp_path / "a.field", field, FieldContext())
        with pytest.raises(PolyfieldError, match=words):
            load_field(tmp_path / "a.field")


SPEC = FieldSpec.of("voxels", "radiance", Domain("box", (0.0,) * 3, (1.0,) * 3), rows=4096, nodes=28)


@pytest.mark.slow
@pytest.mark.parametrize("at", [20, 50])
def test_a_fit_resumed_before_or_behind_a_refinement_goes_on_exactly(at):
    whole, part = (new_fit(steps=90, spec=SPEC) for _ in range(2))
    finished(whole)
    for _ in range(at):
        part.step()
    again = new_fit(steps=90, spec=SPEC)
    again.restore({name: t.clone() for name, t in part.tensors().items()}, part.state())
    finished(again)
    assert whole.field.encoding._nodes > 15 and not whole.totals["skipped"]
    expected, found = whole.tensors(), again.tensors()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
