"""Edited fields: what is erased, moved, copied, recoloured and pasted, and the runs that hold edits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import polyfield
from polyfield.distill import radiance_task, teacher_points, teacher_rays
from polyfield.distill.edited import Box, Erased, Pasted, Recoloured, Whole, copied, moved, occupancy_of
from polyfield.distill.effort import effort
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, Points, create
from polyfield.fields.context import FieldContext
from polyfield.fitting.rays import source
from polyfield.kernels import uniform

BOX = Domain("box", (0.0,) * 3, (1.0,) * 3)
LEFT = Box((-0.5, 0.0, 0.0), (0.25, 0.25, 0.25))
SMALL = {"levels": 2, "entries": 1 << 10, "finest": 20, "width": 16}


def field_of(seed: int, domain: Domain = BOX):
    field = create(FieldSpec.of("hashgrid", "radiance", domain, **SMALL), seed=seed)
    with torch.no_grad():
        field.encoding.tables[0].copy_(uniform(field.encoding.tables[0].shape, seed=seed, stream="t") * 4 - 2)
    return field


@pytest.fixture
def base() -> Whole:
    return Whole(field_of(1), FieldContext())


def points(box: Box | None = None, count: int = 400) -> Points:
    x = uniform((count, 3), seed=3, stream="x") * 2 - 1
    if box is not None:
        x = x * torch.tensor(box.half) * 0.99 + torch.tensor(box.centre)
    return Points(x, torch.nn.functional.normalize(uniform((count, 3), seed=4, stream="d") - 0.5, dim=1))


def seen(field, at: Points):
    output = field.head(field.features(at), at)
    assert torch.equal(output.raw, field.raw(Points(at.x)))
    return output


def test_a_whole_field_is_the_field(base):
    own = field_of(1)
    at = points()
    wanted = own.head(own.features(at), at)
    found = seen(base, at)
    assert torch.equal(found.density, wanted.density) and torch.equal(found.colour, wanted.colour)


def test_nothing_is_left_in_an_erased_box_and_all_else_is(base):
    erased = Erased(base, LEFT)
    assert (seen(erased, points(LEFT)).raw == -15).all()
    at = points()
    outside = ~LEFT.holds(at.x)
    assert torch.equal(seen(erased, at).raw[outside], seen(base, at).raw[outside])
    assert not erased.occupied(points(LEFT).x).any() and erased.occupied(at.x)[outside].all()


@pytest.mark.parametrize(("edit", "left"), [(moved, False), (copied, True)])
def test_what_is_in_a_box_is_at_another_place(base, edit, left):
    edited = edit(base, LEFT, (0.9, 0.1, 0.0))
    at = points(LEFT)
    there = Points(at.x + torch.tensor((0.9, 0.1, 0.0)), at.directions)
    wanted, found = seen(base, at), seen(edited, there)
    # Positions come back through an addition and a subtraction.
    assert torch.allclose(found.raw, wanted.raw, atol=1e-3) and torch.allclose(
        found.colour, wanted.colour, atol=1e-3
    )
    assert bool((seen(edited, at).raw > -15).any()) is left


def test_a_recoloured_box_keeps_its_brightness(base):
    at, weights = points(LEFT), torch.tensor((0.2126, 0.7152, 0.0722))
    before, after = seen(base, at).colour, seen(Recoloured(base, LEFT, (0.6, 0.5, 0.4)), at).colour
    inside = (after < 1).all(1)
    assert torch.allclose((before @ weights)[inside], (after @ weights)[inside], atol=1e-5)
    assert torch.allclose(
        after[inside][:, 0] / after[inside][:, 2], torch.full((int(inside.sum()),), 1.5), atol=1e-4
    )
    with pytest.raises(PolyfieldError, match="three numbers from 0 to 1"):
        Recoloured(base, LEFT, (2.0, 0.0, 0.0))


def test_densities_of_another_domain_keep_their_length(base):
    other = Whole(field_of(2, Domain("box", (0.0,) * 3, (3.0,) * 3)), FieldContext())
    at = points(LEFT)
    assert torch.allclose(seen(Pasted(base, LEFT, other), at).density, seen(other, at).density, rtol=1e-4)


def test_the_grid_of_an_edit_has_what_is_left(base):
    occupied = torch.ones(1, 16, 16, 16, dtype=torch.bool)
    grid = occupancy_of(Erased(base, LEFT), occupied)[0]
    # Cells are 1/8 wide; the box reaches from -0.75 to -0.25 along x, and from -0.25 to 0.25 along y and z.
    assert not grid[6:10, 6:10, 2:6].any() and int((~grid).sum()) == 4**3


def test_a_mask_erases_only_its_cells_of_the_box(base):
    mask = torch.zeros(2, 1, 4, dtype=torch.bool)
    mask[1, 0, 0] = True  # the upper half along x, the lowest quarter along z
    erased = Erased(base, Box(LEFT.centre, LEFT.half, mask))
    at = points(LEFT)
    marked = (at.x[:, 0] > -0.5) & (at.x[:, 2] < -0.125)
    assert 0 < int(marked.sum()) < len(marked)
    assert torch.equal(erased.occupied(at.x), ~marked)
    assert torch.equal(seen(erased, at).raw, torch.where(marked, -15.0, seen(base, at).raw))
    assert erased.occupied(points().x[~LEFT.holds(points().x)]).all()


def test_a_mask_moves_with_its_box(base):
    mask = torch.zeros(2, 1, 1, dtype=torch.bool)
    mask[0] = True
    there = Box(LEFT.centre, LEFT.half, mask).moved((0.9, 0.1, 0.0))
    at = points(LEFT)
    assert torch.equal(there.holds(at.x + torch.tensor((0.9, 0.1, 0.0))), at.x[:, 0] < -0.5)


@pytest.mark.parametrize("half", [(0.0, 1.0, 1.0), (1.0, float("nan"), 1.0), (-1.0, 1.0, 1.0)])
def test_a_box_without_a_side_is_refused(half):
    with pytest.raises(PolyfieldError, match="three half sizes above 0"):
        Box((0.0, 0.0, 0.0), half)


class TestRuns:
    def test_a_mask_is_read_from_a_volume(self, stored, tmp_path):
        mask = np.zeros((4, 2, 2), np.uint8)  # (Z, Y, X), as the file has it
        mask[0, :, 1] = 1
        np.save(tmp_path / "mask.npy", mask)
        box = (*LEFT.centre, *LEFT.half)
        run = polyfield.edit(stored, erase=box, mask=tmp_path / "mask.npy", out=tmp_path / "edited")
        at, field = points(LEFT), polyfield.load(run)
        marked = (at.x[:, 0] > -0.5) & (at.x[:, 2] < -0.125)
        assert torch.equal(field.occupied(at.x), ~marked)
        np.save(tmp_path / "mask.npy", 1 - mask)
        with pytest.raises(PolyfieldError, match=r"mask\.npy has changed since the edit was made"):
            polyfield.load(run)

    @pytest.mark.parametrize(
        ("mask", "said"),
        [
            (np.ones((4, 4, 4, 3), np.uint8), "has 3 channels; expected a mask of one channel"),
            (np.zeros((4, 4, 4), np.uint8), "all voxels are 0, so nothing would be edited"),
        ],
    )
    def test_a_mask_that_makes_no_sense_is_refused(self, stored, tmp_path, mask, said):
        np.save(tmp_path / "mask.npy", mask)
        box = (*LEFT.centre, *LEFT.half)
        with pytest.raises(PolyfieldError, match=said):
            polyfield.edit(stored, erase=box, mask=tmp_path / "mask.npy", out=tmp_path / "edited")
        assert not (tmp_path / "edited").exists()

    @pytest.fixture
    def stored(self, tmp_path):
        path = tmp_path / "scene.field"
        field = field_of(1)
        field.context = FieldContext(step_size=0.2, occupancy=torch.ones(1, 16, 16, 16, dtype=torch.bool))
        polyfield.save(field, path)
        return path

    def test_an_edit_is_a_run_that_is_loaded_rendered_and_edited_again(self, stored, tmp_path):
        with polyfield.quiet():
            first = polyfield.edit(stored, erase=(-0.5, 0, 0, 0.25, 0.25, 0.25), out=tmp_path / "one")
            second = polyfield.edit(first, erase=(0.5, 0, 0, 0.25, 0.25, 0.25), out=tmp_path / "two")
        field = polyfield.load(second)
        for centre in (-0.5, 0.5):
            at = points(Box((centre, 0.0, 0.0), (0.25, 0.25, 0.25)))
            assert (field.query(at.x, at.directions).density == 0).all()
        assert (field.query(points().x, points().directions).density > 0).any()
        with pytest.raises(PolyfieldError, match="save: expected a field with parameters of its own"):
            polyfield.save(field, tmp_path / "no.field")
        with pytest.raises(
            PolyfieldError, match="is an edited field, which was not fitted; convert it first"
        ):
            polyfield.resume(second)

    def test_a_field_that_changed_since_is_refused(self, stored, tmp_path):
        with polyfield.quiet():
            run = polyfield.edit(stored, erase=(0, 0, 0, 1, 1, 1), out=tmp_path / "one")
        polyfield.save(field_of(7), stored)
        with pytest.raises(PolyfieldError, match="has changed since the edit was made"):
            polyfield.load(run)
        stored.unlink()
        with pytest.raises(PolyfieldError, match="no longer exists"):
            polyfield.load(run)

    @pytest.mark.parametrize(
        ("operation", "message"),
        [
            (
                {"kind": "melt"},
                "operations\\[0\\]: kind is 'melt'; expected erase, move, copy, recolour or paste",
            ),
            (
                {"kind": "erase", "box": [0, 1]},
                "operations\\[0\\] \\(erase\\): box is \\[0, 1\\]; expected 6 numbers",
            ),
            (
                {"kind": "move", "box": [0, 0, 0, 1, 1, 1], "by": "up"},
                "the vector 'by' is up; expected 3 numbers",
            ),
            ("erase", "kind is None"),
        ],
    )
    def test_a_damaged_edit_is_refused(self, stored, tmp_path, operation, message):
        with polyfield.quiet():
            run = polyfield.edit(stored, erase=(0, 0, 0, 1, 1, 1), out=tmp_path / "one")
        config = json.loads((run / "config.json").read_text())
        config["edit"]["operations"] = [operation]
        (run / "config.json").write_text(json.dumps(config))
        with pytest.raises(PolyfieldError, match=message):
            polyfield.load(run)

    def test_nothing_to_do_is_refused_and_leaves_nothing(self, stored, tmp_path):
        with pytest.raises(PolyfieldError, match="nothing to do"):
            polyfield.edit(stored, out=tmp_path / "none")
        with pytest.raises(PolyfieldError, match="three half sizes above 0"), polyfield.quiet():
            polyfield.edit(stored, erase=(0, 0, 0, 0, 1, 1), out=tmp_path / "none")
        with pytest.raises(PolyfieldError, match=r"^edit \(recolour\): colour is \(255.0, 0.0, 0.0\)"):
            polyfield.edit(stored, recolour=(0, 0, 0, 1, 1, 1, 255, 0, 0), out=tmp_path / "none")
        assert not (tmp_path / "none").exists()

    def test_only_radiance_is_edited(self, tmp_path):
        polyfield.save(polyfield.create("hashgrid", "sdf", BOX, **SMALL), tmp_path / "shape.field")
        with pytest.raises(
            PolyfieldError, match="edit: the field stores sdf; only still radiance fields can be edited"
        ):
            polyfield.edit(tmp_path / "shape.field", erase=(0, 0, 0, 1, 1, 1), out=tmp_path / "none")


class TestConvertCommand:
    """What `polyfield.convert` takes and refuses."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setattr(teacher_points, "POOL", 1 << 13)
        monkeypatch.setattr(teacher_points, "_RAYS", 1 << 10)
        monkeypatch.setattr(teacher_rays, "POOL", 1 << 12)
        monkeypatch.setattr(source, "POOL", 1 << 12)
        monkeypatch.setattr(radiance_task, "_PIXELS", 48)

    def test_an_edit_is_baked(self, tmp_path):
        field = field_of(1)
        field.context = FieldContext(step_size=0.2, occupancy=torch.ones(1, 16, 16, 16, dtype=torch.bool))
        polyfield.save(field, tmp_path / "scene.field")
        with polyfield.quiet():
            run = polyfield.edit(
                tmp_path / "scene.field", erase=(-0.5, 0, 0, 0.25, 0.25, 0.25), out=tmp_path / "edited"
            )
            student = polyfield.convert(
                run, to="hashgrid", steps=4, options=SMALL, out=tmp_path / "student"
            ).run
        at = points(LEFT)
        assert (polyfield.load(student).query(at.x, at.directions).density == 0).all()

    def test_a_function_is_a_teacher(self, tmp_path, monkeypatch):
        (tmp_path / "balls.py").write_text(
            "def sdf(x):\n    return x.norm(dim=1) - 0.5\n\ndef wrong(x):\n    return x\n\n"
            "def glow(x, d):\n    return (x.norm(dim=1) < 0.5) * 20.0, x * 0 + 0.5\n"
        )
        monkeypatch.chdir(tmp_path)
        box = (0, 0, 0, 1)
        with polyfield.quiet():
            result = polyfield.convert(
                "balls:sdf", to="hashgrid", signal="sdf", box=box, steps=300, options=SMALL, out="shape"
            )
            assert result.figures["iou_to_teacher"] > 0.8
            glowing = polyfield.convert(
                "balls:glow", to="hashgrid", signal="radiance", box=box, steps=6, options=SMALL, out="glow"
            )
            assert glowing.figures["psnr_to_teacher"] > 3
            with pytest.raises(
                PolyfieldError, match=r"balls:wrong returned an array of shape .*, 3\) for .*; expected"
            ):
                polyfield.convert("balls:wrong", to="hashgrid", signal="sdf", box=box, steps=5, out="no")
            with pytest.raises(PolyfieldError, match="a function needs --signal"):
                polyfield.convert("balls:sdf", steps=5, out="no")
            with pytest.raises(PolyfieldError, match="a function needs --box"):
                polyfield.convert("balls:sdf", signal="sdf", steps=5, out="no")
            with pytest.raises(PolyfieldError, match="balls:none: the function cannot be loaded"):
                polyfield.convert("balls:none", signal="sdf", box=box, steps=5, out="no")

    def test_what_is_no_teacher_is_refused(self, tmp_path):
        with pytest.raises(PolyfieldError, match=r"missing.png: no such file"):
            polyfield.convert(tmp_path / "missing.png", steps=5)
        damaged = tmp_path / "damaged.field"
        damaged.write_bytes(b"no field")
        with pytest.raises(PolyfieldError, match="damaged.field"), polyfield.quiet():
            polyfield.convert(damaged, steps=5, out=tmp_path / "no")
        with pytest.raises(PolyfieldError, match="--signal is for functions and meshes only; omit it"):
            polyfield.convert(damaged, signal="sdf", steps=5, out=tmp_path / "no")
        assert not (tmp_path / "no").exists()

    def test_a_teacher_that_changed_stops_a_resume(self, tmp_path):
        polyfield.save(
            polyfield.create("hashgrid", "image", Domain("box", (0.5, 0.5), (0.5, 0.5)), entries=1 << 8),
            tmp_path / "a.field",
        )
        with polyfield.quiet():
            run = polyfield.convert(tmp_path / "a.field", to="mlp", steps=5, out=tmp_path / "run").run
            again = polyfield.evaluate(run)
            assert again["psnr_to_teacher"] > 0
            polyfield.save(
                polyfield.create(
                    "hashgrid", "image", Domain("box", (0.5, 0.5), (0.5, 0.5)), entries=1 << 8, seed=5
                ),
                tmp_path / "a.field",
            )
            with pytest.raises(PolyfieldError, match="has changed since the run began"):
                polyfield.evaluate(run)


def test_an_edited_teacher_counts_as_what_it_is_a_view_of(base):
    edited = Pasted(Erased(base, LEFT), LEFT.moved((0.5, 0.0, 0.0)), base)
    assert effort(edited) == effort(base) == 2 * effort(field_of(1))


@pytest.mark.parametrize("signal, axes", [("radiance", 3), ("image", 2), ("sdf", 3)])
def test_the_search_for_radial_basis_functions_counts(signal, axes):
    domain = Domain("box", (0.0,) * axes, (1.0,) * axes)
    small = {"levels": 2, "finest": 20, "kernels": 40}
    assert effort(polyfield.create("rbf", signal, domain, **small)) > 5e4
    assert effort(polyfield.create("hashgrid", signal, domain, levels=2, finest=20)) < 5e4


def test_edited_fields_by_the_fused_kernel_are_those_by_the_general_path():
    occupancy = torch.rand(1, 8, 8, 8) > 0.3
    base = Whole(field_of(1), FieldContext(occupancy=occupancy))
    other = Whole(field_of(2), FieldContext(occupancy=~occupancy))
    edited = Pasted(Erased(base, LEFT), LEFT.moved((0.6, 0.1, 0.0)), other, (0.2, 0.0, 0.0))
    at = points()
    general = edited.look(at, coloured=True)
    with torch.no_grad():
        fused = edited.look(at, coloured=True)
        empty = edited.look(points()[:0], coloured=True)
    torch.testing.assert_close(fused[0], general[0], atol=2e-2, rtol=0)
    seen = general[0] > edited.lowest
    assert seen.float().mean() > 0.3
    torch.testing.assert_close(fused[1][seen], general[1][seen], atol=1e-2, rtol=0)
    assert empty[0].shape == (0,) and empty[1].shape == (0, 3)


@pytest.mark.parametrize("edit", ["move", "copy", "recolour"])
def test_an_edit_says_how_many_numbers_it_takes(edit):
    with pytest.raises(PolyfieldError, match=rf"edit \({edit}\): found 7 numbers; expected 9: the centre"):
        polyfield.edit("run", **{edit: (0.0,) * 7})
