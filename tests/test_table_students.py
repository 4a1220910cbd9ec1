"""Students with tables: which stages they have, whose occupancy grid they keep, and voxels that start at the teacher's values."""

from dataclasses import replace

import pytest
import torch
from test_distill import SMALL, conversion, run, small_pools, taught, whole_and_resumed  # noqa: F401 - fixtures

from polyfield.cameras.cameras import Cameras
from polyfield.distill.function import FunctionField
from polyfield.distill.options import Conversion
from polyfield.distill.poses import Poses
from polyfield.distill.radiance_task import RadianceConversion
from polyfield.distill.task import Taught
from polyfield.distill.teacher import Teacher
from polyfield.distill.teacher_rays import TeacherRays
from polyfield.distill.together import Together
from polyfield.fields.context import FieldContext
from polyfield.fitting.rays.source import POOL
from polyfield.progress import silent

VOXELS = {"rows": 1 << 14, "nodes": 64}


def glow(x, directions):
    """A dense ball, red."""
    inside = (x.norm(dim=1) < 0.5).float()
    return 50 * inside, torch.tensor([1.0, 0.0, 0.0]).expand(len(x), 3)


def test_tables_have_one_step_at_points_in_eight_and_networks_end_along_rays(taught):  # noqa: F811
    fit = conversion(taught, 17, to="hashgrid", options=SMALL, stages=(0.0, 0.0))
    assert isinstance(fit.objective.last, Together)
    kinds = [set(fit.step().counts) & {"rays"} for _ in range(17)]
    assert [not kind for kind in kinds] == [step % 8 == 7 for step in range(17)]
    network = conversion(taught, 20, to="mlp", options={"width": 16})
    along_rays = [step >= 10 and step % 8 != 7 for step in range(20)]
    assert ["rays" in network.step().counts for _ in range(20)] == along_rays


def test_networks_of_a_teacher_without_a_grid_learn_from_samples_alone(taught):  # noqa: F811
    bare = Taught(taught.field, replace(taught.context, occupancy=None), taught.name, taught.sha256)
    network = run(conversion(bare, 20, to="mlp", options={"width": 16}))
    assert "rays" not in network.totals and network.totals["points"] > 0


def test_a_picture_that_is_used_again_has_other_samples(taught):  # noqa: F811
    teacher = Teacher(taught.field, taught.context)
    poses = Poses(Cameras.from_json(taught.context.cameras), teacher.blocked)
    source = TeacherRays(teacher, poses, uses=2)
    first, again, own = (source.draw(POOL, seed=0, step=step) for step in range(3))
    by_direction = {tuple(d): float(j) for d, j in zip(first.rays.directions.tolist(), first.jitter)}
    shared = [
        (by_direction[tuple(d)], float(j)) for d, j in zip(again.rays.directions.tolist(), again.jitter)
    ]
    assert len(shared) == POOL and sum(a != b for a, b in shared) > 0.99 * POOL
    picture = teacher.picture(own.rays, own.jitter)
    assert torch.equal(picture, own.target)


def test_the_teachers_occupancy_grid_is_kept(taught):  # noqa: F811
    fit = run(conversion(taught, 40, to="hashgrid", options=SMALL))
    grid = fit.objective.last.rays.grid
    assert grid.updates == 0 and torch.equal(grid.occupied, taught.context.occupancy)


def test_without_a_grid_of_the_teacher_the_student_finds_its_own(taught):  # noqa: F811
    field = FunctionField(glow, taught.field.meaning, "glow")
    context = FieldContext(step_size=0.05, cameras=taught.context.cameras)
    fit = run(conversion(Taught(field, context, "glow", "0"), 120, to="hashgrid", options=SMALL))
    grid = fit.objective.last.rays.grid
    assert grid.updates == 7 and grid.occupied.float().mean() < 0.9


def test_voxels_start_near_the_teacher(taught):  # noqa: F811
    """A student that starts anew has 10 dB after so few steps."""
    fit = run(conversion(taught, 2, to="voxels", options=VOXELS))
    task = RadianceConversion(taught, Conversion())
    found = task.evaluate(fit.field, taught.context, silent)
    assert found.figures["psnr_to_teacher"] > 16.5


@pytest.mark.parametrize("stopped", [3, 15])
def test_filled_voxels_go_on_to_the_byte(taught, stopped):  # noqa: F811
    whole, resumed = whole_and_resumed(taught, stopped, to="voxels", options=VOXELS)
    assert resumed.field.learning_rate == whole.field.learning_rate < whole.field.encoding.learning_rate
