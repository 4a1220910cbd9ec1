"""Fitting: pixels, schedule, metrics, the optimiser, and the loop's promises, on a scene of a few tiny views."""

import math
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.data.readers import open_scene
from polyfield.demo.scenes import make_scene
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, create
from polyfield.fit.metrics.images import images as metrics
from polyfield.fit.metrics.views import evaluate
from polyfield.fit.optimiser import Optimiser
from polyfield.fit.rays.contrast import contrast
from polyfield.fit.rays.lattice import lattice
from polyfield.fit.rays.pixels import PixelStore
from polyfield.fit.rays.radiance import Diverged, RadianceFit
from polyfield.fit.runs.config import FitConfig
from polyfield.fit.runs.interrupt import Interruption, Stopped, stoppable
from polyfield.fit.schedule import Length, learning_rate
from polyfield.fit.tasks import scene_task
from polyfield.fit.tasks.memory import predict, predict_on_gpu
from polyfield.fit.warm import warm
from polyfield.render.radiance.fused import FusedField

BOX = Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SPEC = FieldSpec.of("hashgrid", "radiance", BOX, levels=3, log2_size=10, finest=32, width=16)


def views(count: int = 6, size: tuple[int, int] = (40, 32)) -> Cameras:
    angle = torch.arange(count) * (2 * math.pi / count)
    eye = torch.stack((3 * angle.cos(), 3 * angle.sin(), torch.full_like(angle, 1.0)), 1)
    up = torch.tensor([0.0, 0.0, 1.0])
    return Cameras.perspective(look_at(eye, torch.zeros(3), up), focal=48.0, size=size)


def pictures(cameras: Cameras) -> list[np.ndarray]:
    """An opaque red ball of radius 0.6 on nothing, as every camera sees it."""
    images = []
    for frame in range(len(cameras)):
        rays = cameras.image_rays(frame)
        along = -(rays.origins * rays.directions).sum(1)
        hit = (rays.origins + along[:, None] * rays.directions).norm(dim=1) < 0.6
        rgba = torch.zeros(len(rays), 4)
        rgba[hit] = torch.tensor([1.0, 0.2, 0.1, 1.0])
        width, height = cameras.sizes[frame].tolist()
        images.append((rgba * 65535).round().numpy().astype(np.uint16).reshape(height, width, 4))
    return images


def new_fit(steps: int = 60, seed: int = 0, spec: FieldSpec = SPEC) -> RadianceFit:
    cameras = views()
    store = PixelStore(cameras, pictures(cameras), [None] * len(cameras))
    return RadianceFit(spec, cameras, store, near=0.0, length=Length(steps=steps), seed=seed)


class TestPixelStore:
    def test_a_pixel_comes_with_its_own_ray(self):
        """Every drawn colour is the one that its ray, computed from scratch, should have."""
        cameras = views()
        rays, colour, _ = PixelStore(cameras, pictures(cameras), [None] * 6).draw(500, seed=1, step=2)
        along = -(rays.origins * rays.directions).sum(1)
        hit = (rays.origins + along[:, None] * rays.directions).norm(dim=1) < 0.6
        assert 20 < hit.sum() < 480
        expected = torch.where(hit[:, None], torch.tensor([1.0, 0.2, 0.1, 1.0]), torch.zeros(4))
        torch.testing.assert_close(colour, expected, atol=1e-4, rtol=0)

    def test_views_may_have_different_sizes_and_masks(self):
        small, large = views(1, (4, 3)), views(1, (6, 5))
        cameras = Cameras(
            *(torch.cat((getattr(small, n), getattr(large, n))) for n in ("c2w", "intrinsics", "sizes")),
            lens=small.lens + large.lens,
            distortion=torch.zeros(2, 8),
        )
        images = [np.full((3, 4, 4), 100, np.uint16), np.full((5, 6, 4), 60000, np.uint16)]
        mask = np.zeros((5, 6), bool)
        mask[2, 3] = True
        images[1][2, 3] = 7
        store = PixelStore(cameras, images, [None, mask])
        assert len(store) == 13
        _, colour, _ = store.draw(400, seed=0, step=0)
        found = set((colour[:, 0] * 65535).round().int().tolist())
        assert found == {100, 7}

    def test_draws_depend_on_seed_and_step_alone(self):
        cameras = views()
        store = PixelStore(cameras, pictures(cameras), [None] * 6)
        one, again = store.draw(50, seed=1, step=5), store.draw(50, seed=1, step=5)
        other = store.draw(50, seed=1, step=6)
        assert torch.equal(one[0].directions, again[0].directions)
        assert not torch.equal(one[0].directions, other[0].directions)

    def test_every_pixel_is_drawn(self):
        cameras = views(1, (5, 4))
        rays, _, _ = PixelStore(cameras, pictures(cameras), [None]).draw(2000, seed=0, step=0)
        assert len(torch.unique(rays.directions, dim=0)) == 20

    def test_pixels_are_drawn_by_contrast_and_their_odds_say_so(self):
        """Half of the picture is flat, half a checkerboard; weighed by the odds, every pixel counts the same."""
        image = np.zeros((32, 32, 4), np.uint16)
        image[:16][np.indices((16, 32)).sum(0) % 2 == 0] = 65535
        cameras = views(1, (32, 32))
        weights = contrast(image)
        assert weights[:16].min() == 255 and weights[20:].max() == weights[20:].min() == 42
        rays, _, odds = PixelStore(cameras, [image], [None]).draw(20_000, seed=0, step=0)
        of_pixel = torch.from_numpy(weights.reshape(-1) / weights.mean()).float()
        drawn = (rays.directions[:, None] - cameras.image_rays(0).directions).abs().sum(2).argmin(1)
        torch.testing.assert_close(odds, of_pixel[drawn])
        count = torch.bincount(drawn, minlength=1024) * 1024 / 20_000
        assert (count - of_pixel).abs().mean() < 0.25 and abs(float((1 / odds).mean()) - 1) < 0.02

    def test_contrast_is_the_largest_difference_nearby(self):
        image = np.random.default_rng(0).integers(0, 65536, (9, 7, 4), dtype=np.uint16) // 2
        bytes_ = (image >> 8).astype(int)
        for y, x in ((0, 0), (4, 3), (8, 6), (1, 5)):
            near = bytes_[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            spread = (near.max((0, 1)) - near.min((0, 1))).max()
            assert contrast(image)[y, x] == (spread + 51) * 255 // 306


class TestMetrics:
    def test_psnr(self):
        a = torch.zeros(4, 4, 3)
        assert metrics.psnr(a, a + 0.1) == pytest.approx(20.0, abs=1e-5)
        assert metrics.psnr(a, a) == math.inf

    def test_ssim_is_the_formula_in_the_middle_of_a_small_image(self):
        """An 11 x 11 image has one whole window: the formula can be written out for it."""
        rng = np.random.default_rng(0)
        x, y = rng.random((2, 11, 11))
        at = np.arange(11) - 5
        line = np.exp(-(at**2) / (2 * 1.5**2))
        w = np.outer(line, line) / line.sum() ** 2
        mx, my = (w * x).sum(), (w * y).sum()
        vx, vy, cov = (w * x * x).sum() - mx**2, (w * y * y).sum() - my**2, (w * x * y).sum() - mx * my
        c1, c2 = 0.01**2, 0.03**2
        expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
        images = [torch.from_numpy(z)[..., None].expand(-1, -1, 3) for z in (x, y)]
        assert metrics.ssim(*images) == pytest.approx(expected, abs=1e-6)
        assert metrics.ssim(images[0], images[0]) == pytest.approx(1.0)
        assert math.isnan(metrics.ssim(images[0][:5], images[1][:5]))

    def test_rounding_and_mean(self):
        assert torch.equal(
            metrics.to_8_bits(torch.tensor([-1.0, 0.5, 2.0])), torch.tensor([0.0, 128 / 255, 1.0])
        )
        assert metrics.mean([10.0, math.nan, 20.0]) == 15.0
        assert metrics.mean([10.0, math.inf]) == math.inf
        assert math.isnan(metrics.mean([]))


class TestSchedule:
    def test_progress(self):
        assert Length(steps=200).progress(50, 1e9) == 0.25
        assert Length(seconds=10.0).progress(10**9, 2.5) == 0.25
        assert Length(steps=10).progress(11, 0) == 1.0

    def test_learning_rate_rises_then_falls(self):
        rates = [learning_rate(i / 1000) for i in range(1001)]
        peak = rates.index(max(rates))
        assert peak < 20 and max(rates) <= 1
        assert all(a >= b for a, b in zip(rates[peak:], rates[peak + 1 :])) and 0 < rates[-1] < 0.05


def test_the_lattice_follows_the_pixels():
    """A step is half a pixel's width at the middle, but never finer than 1/1024 of the diagonal."""
    coarse = lattice(views(), BOX, 0.0)
    assert coarse.step == pytest.approx(math.sqrt(10) / 96, rel=1e-3) and coarse.cone == 0
    fine = lattice(
        views().scaled(1)[[0]].__class__(**{**vars(views()), "intrinsics": views().intrinsics * 1e4}),
        BOX,
        0.0,
    )
    assert fine.step == pytest.approx(2 * math.sqrt(3) / 1024)
    assert lattice(views(), Domain("contraction", (0.0,) * 3, (1.0,) * 3), 0.1).cone == pytest.approx(2 / 48)


def test_moments_follow_a_field_that_changes_its_structure():
    """A table whose entries are doubled keeps the moments of each entry, twice."""
    field = create(SPEC)
    optimiser = Optimiser(field, decay=0.0)
    field.encoding.tables[0].grad = torch.rand_like(field.encoding.tables[0])
    optimiser.step(1e-2)
    before = {name: t.clone() for name, t in optimiser.tensors().items()}
    field.encoding.tables[0] = torch.nn.Parameter(field.encoding.tables[0].detach().repeat_interleave(2, 0))
    optimiser.follow(field, {"encoding.tables.0": lambda old: old.repeat_interleave(2, 0)})
    for part in ("mean", "square"):
        assert torch.equal(
            optimiser.tensors()[f"{part}.encoding.tables.0"][1::2], before[f"{part}.encoding.tables.0"]
        )
    field.encoding.tables[0].grad = torch.ones_like(field.encoding.tables[0])
    moved = field.encoding.tables[0].detach().clone()
    optimiser.step(1e-2)
    assert not torch.equal(field.encoding.tables[0].detach(), moved)


def test_decay_pulls_on_networks_only():
    field = create(SPEC)
    optimiser = Optimiser(field, decay=1.0)
    before = {name: p.detach().clone() for name, p in field.named_parameters()}
    for parameter in field.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step(1e-3)
    for name, parameter in field.named_parameters():
        assert torch.equal(parameter, before[name]) == (name == "encoding.tables.0")


class TestFit:
    def test_it_learns_the_ball(self):
        fit = new_fit(steps=250)
        while fit.progress < 1:
            fit.step()
        cameras = views()
        result = evaluate(fit.field, fit.sampler(), cameras, pictures(cameras), [None] * 6, torch.ones(3))
        assert result["psnr"] > 22 and result["views"] == 6
        assert fit.grid.occupancy() < 0.6

    def test_the_same_seed_gives_the_same_bytes_and_another_does_not(self):
        fits = [new_fit(steps=20, seed=seed) for seed in (1, 1, 2)]
        for fit in fits:
            while fit.progress < 1:
                fit.step()
        one, same, other = (fit.tensors() for fit in fits)
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not torch.equal(one["field.encoding.tables.0"], other["field.encoding.tables.0"])

    @pytest.mark.parametrize("at", [1, 9, 17])
    def test_a_restored_fit_goes_on_exactly(self, at):
        whole, part = new_fit(steps=24), new_fit(steps=24)
        for _ in range(24):
            whole.step()
        for _ in range(at):
            part.step()
        again = new_fit(steps=24)
        again.restore({name: t.clone() for name, t in part.tensors().items()}, part.state())
        while again.progress < 1:
            again.step()
        expected, found = whole.tensors(), again.tensors()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        assert whole.totals == again.totals

    def test_a_look_at_the_field_does_not_disturb_it(self):
        quiet, watched = new_fit(steps=12), new_fit(steps=12)
        cameras = views()
        for _ in range(12):
            quiet.step()
            watched.step()
            evaluate(
                watched.field, watched.sampler(), cameras[[0]], pictures(cameras)[:1], [None], torch.ones(3)
            )
        assert all(torch.equal(t, watched.tensors()[name]) for name, t in quiet.tensors().items())

    def test_a_grid_that_lost_the_scene_stops_the_fit(self):
        fit = new_fit()
        fit.step()
        fit.grid.occupied = torch.zeros_like(fit.grid.occupied)
        assert fit.step().skipped

    def test_tensors_of_another_field_are_refused(self):
        fit, other = new_fit(), new_fit(spec=FieldSpec.of("mlp", "radiance", BOX, width=16))
        with pytest.raises(
            PolyfieldError, match="checkpoint: tensor .* the field of config.json has"
        ) as error:
            fit.restore(other.tensors(), other.state())
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("kernels", ["native", "reference"])
    @pytest.mark.parametrize("network", ["density", "colour"])
    def test_a_step_that_is_not_finite_is_skipped_and_counted(self, monkeypatch, kernels, network):
        monkeypatch.setenv("POLYFIELD_KERNELS", kernels)
        fit = new_fit()
        fit.step()
        before = {name: p.detach().clone() for name, p in fit.field.named_parameters()}
        weight = getattr(fit.field.networks, network).weights[0]
        kept = weight[0, 0].item()
        weight.data[0, 0] = math.nan
        assert fit.step().skipped
        weight.data[0, 0] = kept
        assert all(torch.equal(p, before[name]) for name, p in fit.field.named_parameters())
        assert not fit.step().skipped and fit.totals["skipped"] == 1
        assert torch.isfinite(fit.field.state_dict()["encoding.tables.0"]).all()

    def test_after_twenty_in_a_row_it_stops(self):
        fit = new_fit()
        fit.step()
        fit.field.networks.colour.weights[0].data[0, 0] = math.inf
        with pytest.raises(Diverged, match="step 21: .* no finite loss, in 20 steps in a row; stopped"):
            for _ in range(30):
                fit.step()


def test_evaluation_ignores_what_is_masked_and_uses_the_background():
    cameras, images = views(1), pictures(views(1))
    spoilt = images[0].copy()
    spoilt[:4] = 65535
    mask = np.ones(spoilt.shape[:2], bool)
    mask[:4] = False
    fit = new_fit()

    def result(image, mask, background):
        return evaluate(fit.field, fit.sampler(), cameras, [image], [mask], torch.tensor(background))

    clean = result(images[0], mask, [1.0, 1.0, 1.0])
    assert result(spoilt, mask, [1.0, 1.0, 1.0])["psnr"] == clean["psnr"]
    assert result(spoilt, None, [1.0, 1.0, 1.0])["psnr"] != clean["psnr"]
    assert result(images[0], mask, [0.0, 0.0, 0.0])["psnr"] != clean["psnr"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_outside_the_loop_raises(monkeypatch, number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Stopped) as stopped, stoppable():
        with Interruption() as interruption:
            signal.raise_signal(number)
        assert interruption.signal == number
        try:
            signal.raise_signal(number)
        finally:
            ended = []
            monkeypatch.setattr("os._exit", ended.append)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert ended == [130]
    assert stopped.value.signal == number
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_first_signal_only_asks(monkeypatch):

    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert interruption.signal is None
        signal.raise_signal(signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM and interruption.exit_status == 143
        ended = []
        monkeypatch.setattr("os._exit", ended.append)
        signal.raise_signal(signal.SIGINT)
        assert ended == [130]
    assert signal.getsignal(signal.SIGINT) is before


class TestMemory:
    def test_a_prediction_grows_with_what_is_asked(self):
        small, large = (
            predict(FieldSpec.of("hashgrid", "radiance", BOX, log2_size=size), pixels=10**6, fused=True)
            for size in (14, 20)
        )
        assert small.images == large.images == 8e6
        assert large.rest - small.rest == pytest.approx(18 * 4 * (1 << 20) * 6, rel=0.2)

    def test_it_covers_what_a_fit_takes(self):
        """Resident memory of a process that fits, beside the prediction: neither above it nor a fraction of it."""
        code = (
            "import sys; sys.path.insert(0, 'tests'); import test_fitting as t\n"
            "fit = t.new_fit(60, spec=t.FieldSpec.of('hashgrid', 'radiance', t.BOX))\n"
            "[fit.step() for _ in range(60)]\n"
            "print(next(line for line in open('/proc/self/status') if 'VmHWM' in line).split()[1])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        predicted = predict(FieldSpec.of("hashgrid", "radiance", BOX), pixels=6 * 40 * 32, fused=True)
        assert 0.4 * predicted.rest < int(done.stdout) * 1024 < predicted.rest

    def test_too_much_is_refused_before_it_is_taken(self, monkeypatch, tmp_path):
        make_scene(tmp_path / "scene", kind="still", views=2, test_views=1, size=16)
        scene = open_scene(tmp_path / "scene")
        config = FitConfig("demo", "hashgrid", 1, None, 1, {}, 0, "cpu", 30.0)
        assert scene_task.SceneTask(scene).memory(config).rest > 0
        monkeypatch.setattr(scene_task, "available", lambda: 1e8)
        with pytest.raises(
            PolyfieldError, match=r"needs about .*; 0.1 GB are free on cpu: give a larger --downscale"
        ):
            scene_task.SceneTask(scene).memory(config)

    def test_the_size_that_fits_is_named_and_does(self, monkeypatch, tmp_path):
        make_scene(tmp_path / "scene", kind="still", views=2, test_views=1, size=16)
        scene = open_scene(tmp_path / "scene")

        def config(size: int) -> FitConfig:
            return FitConfig("demo", "hashgrid", 1, None, 1, {"log2_size": size}, 0, "cpu", 30.0)

        room = scene_task.SceneTask(scene).memory(config(17)).rest + 1
        monkeypatch.setattr(scene_task, "available", lambda: room)
        with pytest.raises(PolyfieldError, match=r"on cpu: --options log2_size 17 fits"):
            scene_task.SceneTask(scene).memory(config(24))
        scene_task.SceneTask(scene).memory(config(17))
        with pytest.raises(PolyfieldError):
            scene_task.SceneTask(scene).memory(config(18))

    @pytest.mark.parametrize("deterministic", [False, True])
    def test_a_gpu_has_its_own_prediction(self, deterministic):
        spec = FieldSpec.of("hashgrid", "radiance", BOX)
        options = {"pixels": 64_000_000, "deterministic": deterministic}
        fused, steps = (predict_on_gpu(spec, fused=fused, **options) for fused in (True, False))
        parameters = create(spec).parameter_count()
        assert fused.images == steps.images == 8 * 64e6 and steps.rest > 1e9
        assert 18 * parameters < fused.rest < 4e9  # a scene of 100 photographs on a GPU of 8 GB


def test_warming_fits_and_draws_both_kinds_of_field():
    done: list[float] = []
    warm("cpu", done.append, levels=2, log2_size=8, width=16)
    assert done[-1] == 1 and done == sorted(done) and len(done) == 2 * 64


def test_a_gpu_fit_is_deterministic_only_where_its_kernels_are(monkeypatch):
    monkeypatch.setattr(FusedField, "of", lambda field: None)
    cameras = views()
    store = PixelStore(cameras, pictures(cameras), [None] * len(cameras))
    with pytest.raises(PolyfieldError, match="--deterministic: hashgrid has no kernels on meta that are"):
        RadianceFit(
            SPEC, cameras, store, near=0.0, length=Length(steps=1), seed=0, device="meta", deterministic=True
        )
