"""Distillation: a teacher's samples and pictures, its poses, the pools of what a student is worst at, and whole conversions."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from ball_scene import new_fit, views

from polyfield.cameras.cameras import Cameras
from polyfield.distill import teacher_points, values
from polyfield.distill.edited import Whole
from polyfield.distill.hard import POSES, RAYS, HardPoses, HardRays
from polyfield.distill.important import largest
from polyfield.distill.options import Conversion
from polyfield.distill.poses import Poses, around, rays_of
from polyfield.distill.radiance_task import RadianceConversion
from polyfield.distill.task import Taught, copy_field
from polyfield.distill.teacher import Teacher
from polyfield.distill.teacher_points import TeacherPoints
from polyfield.distill.teacher_rays import TeacherRays
from polyfield.distill.value_task import ValueConversion
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, Field, FieldOutput, FieldSpec, Meaning, Points, create
from polyfield.fields.context import FieldContext
from polyfield.fields.points import Features
from polyfield.fitting.fit import Fit
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rays import ray_objective
from polyfield.fitting.rays.source import POOL
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.schedule import Length
from polyfield.kernels import transmittance, uniform
from polyfield.progress import silent
from polyfield.rendering.radiance.rendering import sample_points

BOX = Domain("box", (0.0,) * 3, (1.0,) * 3)
SMALL = {"levels": 3, "entries": 1 << 10, "finest": 32, "width": 16}


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    monkeypatch.setattr(teacher_points, "POOL", 1 << 14)
    monkeypatch.setattr(values, "POOL", 1 << 15)


@pytest.fixture(scope="module")
def taught() -> Taught:
    """A red ball in a small hash grid."""
    fit = new_fit(steps=120)
    while fit.progress < 1:
        fit.step()
    objective = fit.objective
    context = FieldContext(
        step_size=objective.lattice.step,
        occupancy=objective.grid.occupied,
        cameras=views().to_json(),
    )
    fit.field.context = context
    return Taught(fit.field, context, "ball", "0" * 64)


@pytest.fixture
def teacher(taught: Taught) -> Teacher:
    return Teacher(taught.field, taught.context)


@pytest.fixture
def poses(teacher: Teacher) -> Poses:
    return Poses(views(), teacher.blocked)


def conversion(taught: Taught, steps: int, to: str = "mlp", **options) -> Fit:
    config = FitConfig(source="ball", field=to, steps=steps, options=options.pop("options", {}))
    return RadianceConversion(taught, Conversion(**options)).begin(config, silent)


def run(fit: Fit, steps: int | None = None) -> Fit:
    while fit.progress < 1 and (steps is None or fit.steps < steps):
        fit.step()
    return fit


class TestPoses:
    def test_they_are_rotations_near_the_training_cameras(self, poses):
        frame, c2w = poses.draw(200, seed=1, step=0)
        turn = c2w[:, :, :3]
        assert torch.allclose(turn.mT @ turn, torch.eye(3).expand_as(turn), atol=1e-5)
        assert torch.allclose(torch.linalg.det(turn), torch.ones(200), atol=1e-5)
        own = views().c2w[:, :, 3]
        nearest = torch.cdist(c2w[:, :, 3], own).amin(1)
        assert nearest.max() < 1.5 * torch.cdist(own, own).fill_diagonal_(9).amin(1).max()
        assert nearest.max() > 0.1  # they are not the training cameras alone
        assert frame.unique().numel() == len(views())

    def test_the_same_seed_and_step_give_the_same(self, poses):
        assert torch.equal(poses.draw(9, seed=1, step=2)[1], poses.draw(9, seed=1, step=2)[1])
        assert not torch.equal(poses.draw(9, seed=1, step=2)[1], poses.draw(9, seed=1, step=3)[1])

    def test_none_is_where_something_is(self):
        everywhere = Poses(views(), lambda x: x[:, 0] > 0)
        frame, c2w = everywhere.draw(100, seed=0, step=0)
        own = views().c2w[frame]
        blocked = c2w[:, 0, 3] > 0
        assert blocked.any() and torch.equal(c2w[blocked], own[blocked])

    def test_one_camera_is_enough(self):
        alone = Poses(views()[[0]], lambda x: torch.zeros(len(x), dtype=torch.bool))
        assert torch.allclose(alone.draw(5, seed=0, step=0)[1], views().c2w[:1].expand(5, 3, 4), atol=1e-6)

    def test_a_field_without_cameras_is_looked_at_from_all_around(self):
        cameras = around(BOX, 32)
        rays = cameras.rays(torch.arange(32), cameras.sizes / 2)
        along = -(rays.origins * rays.directions).sum(1, keepdim=True)
        assert (rays.origins + along * rays.directions).norm(dim=1).max() < 1e-4
        assert cameras.c2w[:, 1, 3].min() < -3 and cameras.c2w[:, 1, 3].max() > 3


class TestSamples:
    def test_they_are_those_that_light_reaches_and_no_others(self, teacher, poses):
        cameras = poses.at(*poses.draw(8, seed=0, step=0))
        _, rays = rays_of(cameras, 300, seed=0, step=0)
        jitter = uniform((300,), seed=0, stream="j")
        answers = teacher.answers(rays, jitter)
        samples = teacher.sampler(rays, jitter)
        points = sample_points(rays, samples)
        density = teacher.field.density(teacher.field.raw(Points(points.x)))
        light = transmittance(samples, density)
        assert len(answers.raw) == pytest.approx(int((light > 1e-3).sum()), abs=3)
        weights = torch.zeros(300).index_add(0, answers.ray, answers.weight)
        assert torch.allclose(weights, teacher.picture(rays, jitter)[:, 3], atol=0.02)

    def test_rays_that_miss_change_nothing(self, teacher, poses):
        _, rays = rays_of(poses.at(*poses.draw(8, seed=0, step=0)), 100, seed=0, step=0)
        away = type(rays)(rays.origins * 9, -rays.directions)
        both = type(rays)(
            torch.cat((rays.origins, away.origins)), torch.cat((rays.directions, away.directions))
        )
        one, two = teacher.answers(rays, torch.zeros(100)), teacher.answers(both, torch.zeros(200))
        assert len(one.raw) and torch.equal(one.raw, two.raw) and torch.equal(one.points.x, two.points.x)

    def test_a_pool_is_used_and_drawn_anew(self, teacher, poses):
        source = TeacherPoints(teacher, poses, uses=2)
        first = source.draw(1000, seed=0, step=0)
        pool = len(source._pool.points)
        for _ in range(pool // 1000 - 1):
            source.draw(1000, seed=0, step=0)
        assert source.state()["used"] == 0
        again = source.draw(1000, seed=0, step=0)
        assert source.state() | {"seconds": 0} == {"pool": 0, "taken": 1000, "used": 1, "seconds": 0}
        assert torch.equal(first.points.x, again.points.x)
        for _ in range(pool // 1000):
            last = source.draw(1000, seed=0, step=0)
        assert source.state()["pool"] == 1 and not torch.equal(first.points.x, last.points.x)

    def test_important_ones_are_the_largest_of_each_ray(self):
        numbers = torch.Generator().manual_seed(0)
        segment = torch.arange(40).repeat_interleave(torch.randint(0, 9, (40,), generator=numbers))
        values = torch.rand(len(segment), generator=numbers).mul(5).round()  # with ties
        found = largest(values, segment, 40, 0.3)
        for ray in range(40):
            own = (segment == ray).nonzero()[:, 0]
            order = sorted(own.tolist(), key=lambda i: (-float(values[i]), i))
            wanted = set(order[: int(0.3 * len(own)) + 1])
            assert {int(i) for i in own if found[i]} == wanted


class TestHardRays:
    def test_it_fills_and_then_rewrites_the_slots_that_were_drawn(self):
        pool = HardRays(torch.device("cpu"))
        steps = 0
        while pool.filled < RAYS:
            rows = torch.full((4096, 12), float(steps))
            pool.learn(rows, torch.zeros(0, dtype=torch.int64), torch.rand(4096))
            steps += 1
        assert steps == -(-RAYS // 409)
        before = pool._rays.clone()
        mixed, slot = pool.mixed_in(torch.full((4096, 12), -1.0), seed=0, step=0)
        drawn = slot >= 0
        assert int(drawn.sum()) == 410 and torch.equal(mixed[drawn], before[slot[drawn]])
        errors = torch.arange(4096.0)
        pool.learn(torch.arange(4096.0)[:, None].expand(-1, 12), slot[drawn], errors)
        changed = (pool._rays != before).any(1)
        assert torch.equal(changed.nonzero()[:, 0], slot[drawn].unique())
        assert pool._rays[changed].min() >= 4096 - 410


class TestHardPoses:
    def test_the_pose_with_the_largest_error_is_kept_whatever_the_order_of_its_rays(self, poses):
        pool = HardPoses(64, torch.device("cpu"))
        frame, c2w = pool.mixed_in(*poses.draw(64, seed=0, step=0), seed=0, step=0)
        assert pool.filled == 0
        order = torch.randperm(6400, generator=torch.Generator().manual_seed(0))
        pose = (torch.arange(6400) % 64)[order]
        pool.learn(pose, torch.where(pose == 17, 10.0, 1.0))
        pool.mixed_in(*poses.draw(64, seed=0, step=1), seed=0, step=1)
        assert pool.filled == 6 and torch.equal(pool._c2w[0], c2w[17]) and pool._frame[0] == frame[17]

    def test_a_full_pool_gives_poses_turned_about_their_centres(self, poses):
        pool = HardPoses(64, torch.device("cpu"))
        for step in range(20):
            pool.mixed_in(*poses.draw(64, seed=0, step=step), seed=0, step=step)
            pool.learn(torch.arange(64), torch.rand(64))
        assert pool.filled == POSES
        kept = pool._c2w.clone()
        _, c2w = pool.mixed_in(*poses.draw(64, seed=0, step=99), seed=0, step=99)
        turned = c2w[:6]
        same = torch.cdist(turned[:, :, 3], kept[:, :, 3]).argmin(1)
        assert torch.equal(turned[:, :, 3], kept[same][:, :, 3])
        turn = turned[:, :, :3] @ kept[same][:, :, :3].mT
        assert torch.allclose(torch.linalg.det(turned[:, :, :3]), torch.ones(6), atol=1e-5)
        angle = ((turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1).acos().rad2deg()
        assert angle.max() < 16 and angle.max() > 1


class TestItself:
    """A teacher and a bit-copy of it."""

    def test_every_loss_and_gradient_is_zero(self, taught, monkeypatch):
        monkeypatch.setattr(
            ray_objective, "_STEP_FACTORS", ((1.0, 1.0),)
        )  # the student's samples are the teacher's
        copied = RadianceConversion(taught, Conversion(stages=(0.3, 0.6)))
        config = FitConfig(source="ball", field="hashgrid", steps=9, options=taught.field.spec.options)
        fit = copied.begin(config, silent)
        assert copied.field_copied
        before = {name: tensor.clone() for name, tensor in fit.field.state_dict().items()}
        fit.optimiser._decay = 0.0
        kinds = []
        for _ in range(9):
            step = fit.step()
            kinds.append(set(step.counts))
            assert step.figures["loss"] == 0
        for name, tensor in fit.field.state_dict().items():
            assert torch.equal(tensor, before[name]), name
        assert not any(moment.any() for moment in fit.optimiser.tensors().values())

    def test_its_rays_are_rendered_alike(self, teacher, poses):
        source = TeacherRays(teacher, poses, uses=1)
        batch = source.draw(POOL, seed=0, step=0)
        assert torch.equal(teacher.picture(batch.rays, batch.jitter), batch.target)
        assert (batch.target[:, 3] > 0).all()


@pytest.mark.parametrize("hard", [(), ("poses",), ("rays",), ("points",), ("poses", "rays", "points")])
def test_each_level_alone_is_a_fit(taught, hard):
    fit = run(conversion(taught, 24, stages=(0.2, 0.4), hard=hard))
    assert (
        fit.steps == 24 and fit.totals["skipped"] == 0 and fit.totals["rays"] > 0 and fit.totals["points"] > 0
    )


def whole_and_resumed(taught: Taught, stopped: int, **options) -> tuple[Fit, Fit]:
    """Return a conversion of 24 steps, and one that was stopped and resumed, whose tensors are the same."""
    whole = run(conversion(taught, 24, **options))
    half = run(conversion(taught, 24, **options), stopped)
    tensors, state = {k: t.clone() for k, t in half.tensors().items()}, copy.deepcopy(half.state())
    resumed = conversion(taught, 24, **options)
    resumed.restore(tensors, state)
    run(resumed)
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name]), name
    return whole, resumed


@pytest.mark.parametrize("stopped", [3, 11, 20])
def test_a_conversion_that_was_stopped_in_any_stage_goes_on_to_the_byte(taught, stopped):
    options = {"stages": (0.2, 0.5), "to": "hashgrid", "options": taught.field.spec.options}
    whole, resumed = whole_and_resumed(taught, stopped, **options)
    without_times = [
        {k: v for k, v in fit.state().items() if k in ("steps", "totals", "adam_steps")}
        for fit in (whole, resumed)
    ]
    assert without_times[0] == without_times[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "to", ["hashgrid", "densegrid", "triplane", "kplanes", "vm", "cp", "voxels", "mlp", "cam", "rbf"]
)
def test_every_architecture_learns_the_ball(taught, to):
    task = RadianceConversion(taught, Conversion(init_field=False))
    small = {
        "hashgrid": SMALL,
        "densegrid": {"levels": 2, "finest": 24, "width": 16},
        "triplane": {"resolution": 32, "width": 16},
        "kplanes": {"levels": 1, "finest": 32, "width": 16},
        "vm": {"resolution": 32, "rank": 4, "width": 16},
        "cp": {"resolution": 32, "rank": 12, "width": 16},
        "voxels": {"rows": 1 << 14},
        "mlp": {"width": 32},
        "cam": {"width": 32, "nodes": 8},
        "rbf": {"kernels": 500, "levels": 4, "finest": 64, "width": 16},
    }[to]
    fit = run(task.begin(FitConfig(source="ball", field=to, steps=300, options=small), silent))
    found = task.evaluate(fit.field, task.context(fit), silent)
    assert found.figures["psnr_to_teacher"] > 22  # an empty field has 12


def test_the_head_is_copied_only_between_equal_shapes(taught):
    same = RadianceConversion(taught, Conversion(init_field=False))
    same.begin(FitConfig(source="b", field="hashgrid", steps=3, options=SMALL), silent)
    assert same.head_copied and not same.field_copied
    other = RadianceConversion(taught, Conversion())
    other.begin(FitConfig(source="b", field="hashgrid", steps=3, options=SMALL | {"width": 32}), silent)
    assert not other.head_copied
    off = RadianceConversion(taught, Conversion(init_head=False, init_field=False))
    off.begin(FitConfig(source="b", field="hashgrid", steps=3, options=SMALL), silent)
    assert not off.head_copied


def test_a_field_whose_tables_grow_is_copied(taught):
    spec = FieldSpec.of("vm", "radiance", taught.field.meaning.domain, resolution=20, rank=3)
    teacher, student = create(spec, seed=1), create(spec, seed=2)
    student.advance(0.0)
    assert copy_field(teacher, student, Optimiser(student.parameter_groups(), decay=0.0))
    theirs, own = teacher.state_dict(), student.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)


def test_an_edited_field_with_structure_is_not_copied(taught):
    spec = FieldSpec.of("voxels", "radiance", taught.field.meaning.domain, rows=5000)
    field = create(spec, seed=1)
    config = FitConfig(source="b", field="voxels", steps=3, options={"rows": 5000})
    for teacher, copied in ((field, True), (Whole(field, taught.context), False)):
        task = RadianceConversion(Taught(teacher, taught.context, "b", "0" * 64), Conversion())
        task.begin(config, silent)
        assert task.field_copied == copied


def test_a_field_is_copied_only_between_equal_forms(taught):
    for options, copied in ((taught.field.spec.options, True), (SMALL | {"finest": 30}, False)):
        task = RadianceConversion(taught, Conversion())
        fit = task.begin(FitConfig(source="b", field="hashgrid", steps=3, options=options), silent)
        assert task.field_copied == copied
        theirs, own = taught.field.state_dict(), fit.field.state_dict()
        assert all(torch.equal(own[name], theirs[name]) for name in own if "tables" in name) == copied


def test_a_teacher_without_anything_teaches_emptiness(taught):
    empty = FieldContext(step_size=0.05, occupancy=torch.zeros(1, 8, 8, 8, dtype=torch.bool))
    fit = run(conversion(Taught(taught.field, empty, "empty", "0"), 20, stages=(0.0, 1.0)))
    found = fit.field.raw_in_chunks(Points(uniform((500, 3), seed=0, stream="x") * 2 - 1))
    assert found.mean() < -1


def test_density_is_zero_where_nothing_was_fitted(taught):
    field, occupied = taught.field, taught.context.occupancy
    x = uniform((4000, 3), seed=0, stream="x") * 2.4 - 1.2
    output = field.query(x, torch.nn.functional.normalize(x, dim=1))
    cells = ((x + 1) * (occupied.shape[-1] / 2)).long()
    inside = (x.abs() < 1).all(1)
    cells = cells.clamp(0, occupied.shape[-1] - 1)
    there = inside & occupied[0, cells[:, 2], cells[:, 1], cells[:, 0]]
    assert there.any() and (~there & inside).any()
    assert (output.density[~there] == 0).all() and (output.density[there] > 0).all()
    assert (field.raw_at(x)[~there] == -15).all() and (field.raw_at(x)[there] > -15).any()


class Sphere(Field):
    """The distance to a sphere of radius 0.6."""

    meaning = FieldSpec.of("hashgrid", "sdf", BOX).meaning

    def features(self, points):
        raw = points.x.norm(dim=1) - 0.6
        return Features(raw, raw[:, None])

    def head(self, features, points):
        raise NotImplementedError


def test_distances_are_converted():
    task = ValueConversion(Taught(Sphere(), FieldContext(), "sphere", "0"), Conversion())
    options = {"levels": 3, "entries": 1 << 12, "finest": 24, "width": 16}
    fit = run(task.begin(FitConfig(source="s", field="hashgrid", steps=200, options=options), silent))
    figures = task.evaluate(fit.field, FieldContext(), silent).figures
    assert figures["iou_to_teacher"] > 0.97 and figures["error_to_teacher"] < 0.1


class Goer(Field):
    """A red ball that goes from one side of the box to the other."""

    meaning = Meaning.of("radiance", BOX, moving=True)

    def features(self, points):
        centre = torch.zeros_like(points.x)
        centre[:, 0] = points.times * 1.2 - 0.6
        raw = (0.4 - (points.x - centre).norm(dim=1)).clamp(-0.2, 0.2) * 40
        return Features(raw, raw[:, None].expand(-1, 16))

    def head(self, features, points):
        red = torch.tensor([0.9, 0.1, 0.1]).expand(len(points), 3)
        return FieldOutput(raw=features.raw, density=self.density(features.raw), colour=red)


@pytest.fixture(scope="module")
def goer() -> Taught:
    cameras = replace(views(), times=torch.linspace(0, 1, len(views())))
    context = FieldContext(
        step_size=0.1, cameras=cameras.to_json(), occupancy=torch.ones(1, 16, 16, 16, dtype=torch.bool)
    )
    return Taught(Goer(), context, "goer", "0" * 64)


def test_points_and_rays_of_a_moving_teacher_have_the_times_of_its_cameras(goer):
    task = RadianceConversion(goer, Conversion())
    times = task.poses.cameras.times
    points = TeacherPoints(task.teacher, task.poses, uses=1, important=True).draw(500, seed=0, step=0)
    assert torch.isin(points.points.times, times).all() and len(points.points.times.unique()) > 1
    torch.testing.assert_close(points.raw[:, 0], goer.field.features(points.points).raw)
    source = TeacherRays(task.teacher, task.poses, uses=1, hard_poses=True, hard_rays=True)
    batch = source.draw(POOL, seed=0, step=0)
    assert torch.isin(batch.rays.times, times).all() and len(batch.rays.times.unique()) > 1
    some = slice(0, 200)
    torch.testing.assert_close(
        task.teacher.picture(batch.rays[some], batch.jitter[some]), batch.target[some], atol=1e-4, rtol=0
    )
    nowhere = Taught(Goer(), replace(goer.context, cameras={}), "goer", "0" * 64)
    assert RadianceConversion(nowhere, Conversion()).poses.cameras.times.aminmax() == (0.0, 1.0)


@pytest.mark.slow
def test_a_moving_field_is_converted(goer):
    task = RadianceConversion(goer, Conversion(stages=(0.0, 0.8)))
    options = {"levels": 1, "finest": 24, "features": 8, "width": 16, "time_nodes": 6}
    fit = run(task.begin(FitConfig(source="g", field="kplanes", steps=160, options=options), silent))
    assert fit.totals["rays"] > 0 and fit.totals["skipped"] == 0
    assert task.evaluate(fit.field, task.context(fit), silent).figures["psnr_to_teacher"] > 17
    x, directions = torch.tensor([[-0.5, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    early, late = (fit.field.query(x, directions, torch.tensor([time])).raw for time in (0.1, 0.9))
    assert early > late + 1


def test_a_video_is_converted():
    meaning = Meaning.of("video", Domain("box", (0.5, 0.5), (0.5, 0.5)))
    field = create(FieldSpec("kplanes", meaning, {"levels": 1, "finest": 6, "features": 4, "time_nodes": 4}))
    for table in field.encoding.tables:
        table.data += uniform(table.shape, seed=3, stream="table")
    task = ValueConversion(Taught(field, FieldContext(), "video", "0"), Conversion())
    options = {"levels": 2, "entries": 1 << 12, "finest": 16, "width": 16}
    fit = run(task.begin(FitConfig(source="v", field="hashgrid", steps=150, options=options), silent))
    assert task.evaluate(fit.field, FieldContext(), silent).figures["psnr_to_teacher"] > 25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": (0.5, 0.2)}, "--stages 0.5 0.2: expected two numbers from 0 to 1, the smaller one first"),
        ({"stages": (0.5, float("nan"))}, "--stages 0.5 nan"),
        ({"stages": (0.5,)}, "--stages 0.5: expected two"),
        ({"hard": ("cameras",)}, "--hard 'cameras': expected one or more of poses, rays, points"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(PolyfieldError, match=message):
        Conversion(**options)


def test_options_survive_their_file():
    chosen = Conversion((0.1, 0.3), ("rays",), False)
    assert Conversion.from_json(chosen.to_json()) == chosen
    with pytest.raises(PolyfieldError, match="conversion is"):
        Conversion.from_json({"stages": [0, 1]})


def test_the_length_of_a_fit_is_that_of_the_student(taught):
    assert conversion(taught, 7).length == Length(steps=7)
    assert isinstance(Cameras.from_json(taught.context.cameras), Cameras)


def test_features_of_different_heads_are_not_compared(taught):
    task = RadianceConversion(taught, Conversion(init_head=False, init_field=False))
    loss = [{"part": "features", "measure": "squares"}]
    config = FitConfig(source="ball", field="hashgrid", steps=2, options=taught.field.spec.options, loss=loss)
    with pytest.raises(PolyfieldError, match="latent vectors"):
        task.begin(config, silent)
