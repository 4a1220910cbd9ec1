"""Fits to values at points: pictures, shapes and volumes, their state, their size and what is measured."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from polyfield.data.clouds import Cloud
from polyfield.data.meshes import Mesh
from polyfield.data.pictures import Picture
from polyfield.data.videos import Video
from polyfield.data.volumes import Volume
from polyfield.errors import PolyfieldError
from polyfield.fields import ARCHITECTURES, SIGNALS, Domain, FieldSpec, Meaning, Points, create
from polyfield.fields.context import FieldContext
from polyfield.fields.field_file import load_field, save_field
from polyfield.fields.registry import architecture
from polyfield.fitting import fit as fit_module
from polyfield.fitting.fit import Diverged, Fit
from polyfield.fitting.losses import Term
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.points import point_objective, shape_points
from polyfield.fitting.points.picture_points import PicturePoints
from polyfield.fitting.points.point_objective import PointObjective
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.fitting.points.video_points import VideoPoints
from polyfield.fitting.points.volume_points import voxel_centres
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.schedule import Length
from polyfield.fitting.tasks import picture_task, shape_task, volume_task
from polyfield.fitting.tasks.picture_task import PictureTask
from polyfield.fitting.tasks.shape_task import ShapeTask
from polyfield.fitting.tasks.task import Evaluation, Task
from polyfield.fitting.tasks.video_task import VideoTask
from polyfield.fitting.tasks.volume_task import VolumeTask
from polyfield.kernels.dispatch import form
from polyfield.rendering.pictures.slices import as_rgb

SMALL = {
    "hashgrid": {"levels": 4, "entries": 1 << 12, "finest": 32, "features": 4},
    "densegrid": {"levels": 2, "finest": 24},
    "triplane": {"resolution": 32, "features": 16},
    "kplanes": {"levels": 2, "coarsest": 12, "finest": 32, "features": 8},
    "vm": {"resolution": 32, "rank": 8},
    "cp": {"resolution": 48, "rank": 32},
    "voxels": {"rows": 4096},
    "mlp": {"width": 32, "layers": 2, "frequencies": 4},
    "rbf": {"kernels": 200, "levels": 2, "entries_per_kernel": 4, "finest": 24},
    "cam": {"width": 32, "layers": 2, "frequencies": 4, "nodes": 8},
}


def quiet(share: float, doing: str = "") -> None:
    assert doing and 0 <= share <= 1


def config(field: str = "hashgrid", signal: str = "image", steps: int = 60, **more) -> FitConfig:
    options = more.pop("options", SMALL[field])
    return FitConfig("x", field, steps, None, 1, options, 0, "cpu", 30.0, signal=signal, **more)


def picture(width: int = 40, height: int = 24, channels: int = 3) -> Picture:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 5 + k) * np.cos(y / 4 - k) for k in range(channels)]
    return Picture("waves", np.uint8(127.5 + 127 * np.stack(waves, -1)), False, 255.0, "a picture", "00")


def video() -> Video:
    """Waves that go to the right."""
    t, y, x = np.mgrid[:8, :12, :20]
    waves = [np.sin((x - t) / 3 + k) * np.cos(y / 4) for k in range(3)]
    return Video("waves", np.uint8(127.5 + 127 * np.stack(waves, -1)), 25.0, "a video", (), "00")


def volume() -> Volume:
    x, y, z = np.mgrid[:20, :16, :12] / 8
    values = np.exp(-((x - 1.2) ** 2 + (y - 1) ** 2 + (z - 0.7) ** 2) * 3) * 900 - 100
    return Volume(
        "blob", np.float32(values[..., None]), (0.5, 0.5, 1.0), (3.0, 0.0, -2.0), "a volume", "00", ()
    )


def ball(radius: float = 2.0, centre: tuple[float, float, float] = (5.0, 0.0, -1.0)) -> Mesh:
    import trimesh

    sphere = trimesh.creation.icosphere(4, radius)
    vertices = np.array(sphere.vertices) + centre
    return Mesh("ball", vertices, np.array(sphere.faces), None, "a mesh", "00", ())


@pytest.fixture(autouse=True)
def few_points(monkeypatch):
    """As many as tests have time for."""
    monkeypatch.setattr(point_objective, "POINTS", (1024, 2048))
    monkeypatch.setattr(shape_points, "POOL", 20_000)
    monkeypatch.setattr(shape_task, "IOU_POINTS", 20_000)
    monkeypatch.setattr(shape_task, "SURFACE_POINTS", 30_000)
    monkeypatch.setattr(shape_task, "RESOLUTION", 48)
    monkeypatch.setattr(shape_task, "_PIXELS", 24)
    monkeypatch.setattr(volume_task, "_SIDE", 24)


def task_of(signal: str) -> Task:
    if signal == "image":
        return PictureTask(picture(), 1)
    if signal == "video":
        return VideoTask(video(), 1)
    if signal == "volume":
        return VolumeTask(volume())
    return ShapeTask.of_mesh(ball(), signal)


def fitted(task: Task, given: FitConfig) -> Fit:
    fit = task.begin(given, quiet)
    while fit.progress < 1:
        fit.step()
    fit.field.requires_grad_(False)
    return fit


def measured(task: Task, fit: Fit) -> Evaluation:
    return task.measure(fit.field, FieldContext(), quiet)


def box(axes: int) -> Domain:
    return Domain("box", (0.0,) * axes, (1.0,) * axes)


PAIRS = [
    (field, signal)
    for field in ARCHITECTURES
    for signal, kind in SIGNALS.items()
    if signal != "radiance" and architecture(field).refusal(Meaning.of(signal, box(kind.dimensions))) is None
]


@pytest.mark.slow
@pytest.mark.parametrize("field, signal", PAIRS)
def test_every_pair_learns(field, signal):
    """After some steps the loss is far below that of the beginning."""
    task = task_of(signal)
    fit = task.begin(config(field, signal, steps=80), quiet)
    losses = []
    while fit.progress < 1:
        losses.append(fit.step().figures["loss"])
    first, last = np.mean(losses[:3]), np.mean(losses[-10:])
    # In entropy, doubt about what is near weighs most.
    slow = field in ("mlp", "vm", "cp") or signal == "occupancy"
    assert last < (0.9 if slow else 0.6) * first
    assert fit.totals["points"] == pytest.approx(80 * 1500, rel=0.1) and fit.totals["skipped"] == 0


class TestState:
    @pytest.mark.parametrize("stop", [1, 3, 5])
    def test_a_fit_by_seconds_is_restored_with_the_structure_it_had(self, stop, monkeypatch):
        """Whatever a step took: here each takes 3.1 % of the fit, so that it grows in the third, the fifth and the seventh."""
        given = dataclasses.replace(config("vm", "volume"), steps=None, seconds=100.0)
        now = iter(x for k in range(1000) for x in (0.0, 3.1))
        monkeypatch.setattr(fit_module.time, "perf_counter", lambda: next(now))
        first, second = (task_of("volume").begin(given, quiet) for _ in range(2))
        for _ in range(stop):
            first.step()
        second.restore(first.tensors(), first.state())
        assert second.seconds == first.seconds
        for name, tensor in first.tensors().items():
            assert torch.equal(tensor, second.tensors()[name]), name

    @pytest.mark.slow
    def test_one_long_step_ends_with_the_whole_structure(self, tmp_path, monkeypatch):
        monkeypatch.setattr(point_objective, "POINTS", (1 << 17, 1 << 17))
        given = dataclasses.replace(config("vm", "volume"), steps=None, seconds=1e-3)
        fit = fitted(task_of("volume"), given)
        assert fit.steps == 1
        save_field(tmp_path / "a.field", fit.field, FieldContext())
        assert load_field(tmp_path / "a.field")[0].spec == fit.field.spec

    @pytest.mark.slow
    @pytest.mark.parametrize("field", ["hashgrid", "vm"])
    def test_a_restored_fit_goes_on_to_the_byte(self, field):
        """Also where the field has grown: vm does at 7, 13 and 20 % of the way."""
        given = config(field, "sdf", steps=30)
        for stop in (1, 4, 20):
            straight = fitted(task_of("sdf"), given)
            first = task_of("sdf").begin(given, quiet)
            for _ in range(stop):
                first.step()
            second = task_of("sdf").begin(given, quiet)
            second.restore({name: t.clone() for name, t in first.tensors().items()}, first.state())
            while second.progress < 1:
                second.step()
            untimed = {"seconds": 0, "prepare_seconds": 0}
            assert straight.state() | untimed == second.state() | untimed
            for name, tensor in straight.tensors().items():
                assert torch.equal(tensor, second.tensors()[name]), name

    def test_another_fields_checkpoint_is_refused(self):
        one = fitted(task_of("image"), config(steps=2))
        other = task_of("image").begin(config("cp", steps=2), quiet)
        with pytest.raises(PolyfieldError, match="checkpoint: tensor adam.mean.encoding.tables.0 is"):
            other.restore(one.tensors(), one.state())
        edited = one.state() | {"steps": 1.5}
        again = task_of("image").begin(config(steps=2), quiet)
        with pytest.raises(PolyfieldError, match="checkpoint: state.json: steps is 1.5; expected int"):
            again.restore(one.tensors(), edited)

    def test_it_gives_up_where_nothing_is_finite(self):
        class Nowhere(PointSource):
            def draw(self, count, *, seed, step):
                return Targets(Points(torch.rand(count, 2)), raw=torch.full((count, 1), math.nan))

        field = create(FieldSpec.of("hashgrid", "image", box(2), **SMALL["hashgrid"]))
        optimiser = Optimiser(field.parameter_groups(), decay=1e-6)
        objective = PointObjective(field, optimiser, Nowhere(), seed=0, loss=[Term("raw", "squares")])
        fit = Fit(field, optimiser, objective, length=Length(steps=100))
        before = {name: t.clone() for name, t in fit.field.state_dict().items()}
        with pytest.raises(
            Diverged, match="step 20: the fit was stopped, because 20 steps in a row had no samples"
        ):
            while True:
                assert fit.step().counts["skipped"]
        assert all(torch.equal(before[name], t) for name, t in fit.field.state_dict().items())


class TestPictures:
    def test_samples_are_the_pixels(self):
        source = picture(7, 5)
        drawn = PicturePoints(source, "cpu").draw(2000, seed=1, step=3)
        x, colours = drawn.points.x, drawn.raw
        column, row = (x * torch.tensor([7, 5]) - 0.5).round().long().T
        torch.testing.assert_close(x, (torch.stack((column, row), 1) + 0.5) / torch.tensor([7, 5]))
        wanted = torch.from_numpy(source.values).float()[row, column] / 255
        assert torch.equal(colours, wanted)
        assert len(set((row * 7 + column).tolist())) == 35
        again, other = (
            PicturePoints(source, "cpu").draw(2000, seed=1, step=step).points.x for step in (3, 4)
        )
        assert torch.equal(x, again) and not torch.equal(x, other)

    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_a_fit_is_measured_on_all_pixels(self, channels):
        task = PictureTask(picture(channels=channels), 1)
        fit = fitted(task, config(steps=150))
        found = measured(task, fit)
        yy, xx = np.mgrid[:24, :40]
        x = torch.from_numpy(np.stack(((xx + 0.5) / 40, (yy + 0.5) / 24), -1).reshape(-1, 2)).float()
        shown = (fit.field.query(x).colour.detach().clamp(0, 1) * 255).round().reshape(24, 40, channels)
        mse = float(((shown - torch.from_numpy(picture(channels=channels).values)) / 255).square().mean())
        assert found.figures["psnr"] == pytest.approx(-10 * math.log10(mse), abs=1e-3)
        assert found.figures["psnr"] > 28 and found.figures["ssim"] > 0.9
        assert [image.shape for image in found.sheet[0]] == [(24, 40, 3)] * 3

    def test_large_pictures_are_measured_in_strips(self, monkeypatch):
        task = PictureTask(picture(), 1)
        fit = fitted(task, config(steps=20))
        whole = measured(task, fit).figures
        monkeypatch.setattr(picture_task, "_ROWS_AT_ONCE", 200)
        monkeypatch.setattr(picture_task, "_LARGEST_SSIM", 100)
        monkeypatch.setattr(picture_task, "_SHOWN", 10)
        parts = measured(task, fit)
        assert parts.figures["psnr"] == pytest.approx(whole["psnr"], abs=1e-6)
        assert parts.figures["ssim"] is None and parts.sheet[0][0].shape == (6, 10, 3)

    def test_pictures_are_shown_on_white(self):
        assert torch.equal(as_rgb(torch.tensor([[[0.5, 0.0]]])), torch.ones(1, 1, 3))
        assert torch.equal(as_rgb(torch.tensor([[[0.25]]])), torch.full((1, 1, 3), 0.25))
        assert torch.equal(as_rgb(torch.tensor([[[0.0, 1.0, 0.0, 0.5]]])), torch.tensor([[[0.5, 1.0, 0.5]]]))
        premultiplied = as_rgb(torch.tensor([[[0.0, 0.5, 0.25, 0.5]]]), premultiplied=True)
        assert torch.equal(premultiplied, torch.tensor([[[0.5, 1.0, 0.75]]]))

    def test_floats_keep_their_unit(self):
        """A picture that is brighter than 1 has a field that says so, and is measured relative to its peak."""
        bright = dataclasses.replace(picture(), values=np.float32(picture().values) / 16, peak=255 / 16)
        fits = [fitted(PictureTask(source, 1), config(steps=100)) for source in (bright, picture())]
        plain = fits[1].field.colour_at(torch.rand(50, 2, generator=torch.manual_seed(0)))
        scaled = fits[0].field.colour_at(torch.rand(50, 2, generator=torch.manual_seed(0)))
        torch.testing.assert_close(scaled, plain * 255 / 16, rtol=1e-3, atol=1e-2)
        found, wanted = (measured(PictureTask(p, 1), f) for p, f in zip((bright, picture()), fits))
        assert found.figures["psnr"] == pytest.approx(wanted.figures["psnr"], abs=0.1)


class TestVideos:
    def test_samples_are_the_pixels_of_all_frames(self):
        source = video()
        drawn = VideoPoints(source, "cpu").draw(20_000, seed=1, step=3)
        frames, height, width, _ = source.values.shape
        column, row = (drawn.points.x * torch.tensor([width, height]) - 0.5).round().long().T
        frame = (drawn.points.times * frames - 0.5).round().long()
        torch.testing.assert_close(drawn.points.times, (frame + 0.5) / frames)
        assert torch.equal(drawn.raw, torch.from_numpy(source.values).float()[frame, row, column] / 255)
        assert len(set(((frame * height + row) * width + column).tolist())) == frames * height * width
        other = VideoPoints(source, "cpu").draw(20_000, seed=1, step=4)
        assert not torch.equal(drawn.points.x, other.points.x)

    @pytest.mark.parametrize("field", ["hashgrid", "kplanes"])
    def test_a_fit_by_the_fused_kernel_is_measured_on_all_frames(self, field):
        task = VideoTask(video(), 1)
        fit = fitted(task, config(field, "video", steps=50))
        assert fit.objective.fused is not None or form(torch.device("cpu")) == "reference"
        found = measured(task, fit)
        yy, xx = np.mgrid[:12, :20]
        x = torch.from_numpy(np.stack(((xx + 0.5) / 20, (yy + 0.5) / 12), -1).reshape(-1, 2)).float()
        expected = []
        for frame in range(8):
            colours = fit.field.query(x, times=torch.full((240,), (frame + 0.5) / 8)).colour.detach()
            shown = (colours.clamp(0, 1) * 255).round().reshape(12, 20, 3)
            mse = float(((shown - torch.from_numpy(video().values[frame])) / 255).square().mean())
            expected.append(-10 * math.log10(mse))
        assert found.figures["psnr_of_frames"] == pytest.approx(expected, abs=1e-3)
        assert found.figures["psnr"] == pytest.approx(np.mean(expected), abs=1e-3)
        assert found.figures["psnr"] > 18
        assert [len(row) for row in found.sheet] == [4, 4, 4]

    def test_options_follow_the_resolution_and_the_frames(self):
        task = VideoTask(video(), 1)
        for field in ("hashgrid", "kplanes"):
            spec = task.spec(config(field, "video", options={}, bytes=200_000))
            assert spec.options["time_nodes"] == 2
            levels = create(spec).encoding.factors()[0][-1].levels
            assert max(nodes[-1] for nodes in levels.resolutions) == 2


class TestVolumes:
    def test_samples_are_the_voxels_in_the_sources_place(self):
        source, task = volume(), VolumeTask(volume())
        drawn = task.points(config(signal="volume"), "cpu", quiet).draw(500, seed=0, step=0)
        x, raw = drawn.points.x, drawn.raw
        index = ((x - torch.tensor([3.0, 0.0, -2.0])) / torch.tensor([0.5, 0.5, 1.0]) - 0.5).round().long()
        wanted = torch.from_numpy(source.values)[index[:, 0], index[:, 1], index[:, 2]]
        low, high = float(source.values.min()), float(source.values.max())
        torch.testing.assert_close(raw * (high - low) + low, wanted, rtol=1e-4, atol=1e-2)
        assert float(raw.min()) >= 0 and float(raw.max()) <= 1

    @pytest.mark.slow
    def test_a_fit_reaches_35_db_in_the_sources_unit(self):
        task = VolumeTask(volume())
        fit = fitted(task, config(signal="volume", steps=250))
        found = measured(task, fit)
        assert found.figures["psnr"] > 35
        centre = voxel_centres(torch.tensor([[9], [8], [5]]), (20, 16, 12), task.meaning.domain)
        wanted = float(volume().values[9, 8, 5, 0])
        assert float(fit.field.query(centre).colour) == pytest.approx(wanted, abs=40)
        assert [len(row) for row in found.sheet] == [3, 3, 3]

    def test_values_of_any_size_survive_a_file(self, tmp_path):
        large = dataclasses.replace(volume(), values=volume().values * np.float32(1e20))
        fit = fitted(VolumeTask(large), config(signal="volume", steps=2))
        save_field(tmp_path / "a.field", fit.field, FieldContext())
        assert load_field(tmp_path / "a.field")[0].meaning.transform.scale > 1e22
        with pytest.raises(PolyfieldError, match="transform: scale is .*; rescale the values of the source"):
            VolumeTask(dataclasses.replace(volume(), values=volume().values * np.float32(1e35)))


class TestShapes:
    def test_a_mesh_that_is_wound_inwards_is_the_same_shape(self):
        turned = dataclasses.replace(ball(), faces=ball().faces[:, ::-1])
        for mesh in (ball(), turned):
            x, normals = ShapeTask.of_mesh(mesh, "sdf")._surface(500, 0)
            outwards = ((x - (5.0, 0.0, -1.0)) * normals).sum(1)
            assert outwards.min() > 1.9

    @pytest.mark.slow
    @pytest.mark.parametrize("signal, iou", [("sdf", 0.97), ("occupancy", 0.97), ("udf", None)])
    def test_a_ball(self, signal, iou):
        task = task_of(signal)
        fit = fitted(task, config(signal=signal, steps=500))
        found = measured(task, fit).figures
        assert (found["iou"] > iou) if iou else ("iou" not in found)
        assert found["chamfer"] < 0.02 and found["f_score"] > (0.1 if signal == "udf" else 0.4)
        if signal != "udf":
            assert found["normal_error_degrees"] < 25
        if signal != "occupancy":
            assert found["distance_error"] < 0.035
            middle = fit.field.query(torch.tensor([[5.0, 0.0, -1.0]])).distance
            assert float(middle.abs()) == pytest.approx(2.0, abs=1.0)
            assert (float(middle) < 0) == (signal == "sdf")

    def test_labels_are_distances_in_domain_sizes(self):
        def drawn(signal: str) -> Targets:
            return task_of(signal).points(config(signal=signal), "cpu", quiet).draw(4000, seed=0, step=0)

        targets = drawn("sdf")
        x, values = targets.points.x, targets.raw
        size = task_of("sdf").meaning.domain.size
        wanted = (x - torch.tensor([5.0, 0.0, -1.0])).norm(dim=1) - 2.0
        assert (values[:, 0] * size - wanted).abs().max() < 0.02  # the ball has flat faces
        assert (values < 0).float().mean() > 0.3 and (values == 0).float().mean() < 0.01
        assert set(drawn("occupancy").raw.unique().tolist()) == {0.0, 1.0}

    def test_a_source_far_from_zero_gets_an_origin(self):
        task = ShapeTask.of_mesh(ball(centre=(4e6, 5e5, 0.0)), "sdf")
        domain = task.spec(config(signal="sdf")).meaning.domain
        assert domain.origin == pytest.approx((4e6, 5e5, 0.0)) and domain.centre == (0.0, 0.0, 0.0)
        assert task_of("sdf").spec(config(signal="sdf")).meaning.domain.origin == (0.0, 0.0, 0.0)
        field, near = task.begin(config(signal="sdf", steps=1), quiet).field, torch.rand(20, 3)
        far = near.double() + torch.tensor(domain.origin, dtype=torch.float64)
        for found in (field.query(far).raw, field.raw_at(far)):
            torch.testing.assert_close(found, field.raw(Points(near)), rtol=1e-3, atol=1e-6)

    @pytest.mark.slow
    def test_a_cloud_has_distances_without_sign(self):
        points = np.random.default_rng(0).standard_normal((3000, 3))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        task = ShapeTask.of_cloud(Cloud("cloud", points, None, "a cloud", "00"))
        fit = fitted(task, config(signal="udf", steps=500))
        found = measured(task, fit).figures
        assert found["distance_error"] < 0.03 and found["chamfer"] < 0.03
        assert found["normal_error_degrees"] is None and "iou" not in found

    def test_one_point_is_no_shape(self):
        with pytest.raises(PolyfieldError, match="have the same position"):
            ShapeTask.of_cloud(Cloud("dot", np.zeros((5, 3)), None, "a cloud", "00"))
