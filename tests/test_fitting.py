"""Fitting: schedule, picture metrics, the optimiser, and what a fit promises, on a scene of a few tiny views."""

import math
import signal

import numpy as np
import pytest
import torch
from ball_scene import BOX, SPEC, finished, measured, new_fit, pictures, views

from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, create
from polyfield.fitting.fit import Diverged
from polyfield.fitting.metrics import images as metrics
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rays.lattice import lattice
from polyfield.fitting.runs.interrupt import Interruption, Stopped, stoppable
from polyfield.fitting.schedule import Length, learning_rate
from polyfield.kernels import uniform


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
    optimiser = Optimiser(field.parameter_groups(), decay=0.0)
    field.encoding.tables[0].grad = torch.rand_like(field.encoding.tables[0])
    optimiser.step(1e-2)
    before = {name: t.clone() for name, t in optimiser.tensors().items()}
    field.encoding.tables[0] = torch.nn.Parameter(field.encoding.tables[0].detach().repeat_interleave(2, 0))
    optimiser.follow(field.parameter_groups(), {"encoding.tables.0": lambda old: old.repeat_interleave(2, 0)})
    for part in ("mean", "square"):
        assert torch.equal(
            optimiser.tensors()[f"{part}.encoding.tables.0"][1::2], before[f"{part}.encoding.tables.0"]
        )
    field.encoding.tables[0].grad = torch.ones_like(field.encoding.tables[0])
    moved = field.encoding.tables[0].detach().clone()
    optimiser.step(1e-2)
    assert not torch.equal(field.encoding.tables[0].detach(), moved)


def test_decay_pulls_on_the_last_layers_of_networks_only():
    field = create(SPEC)
    optimiser = Optimiser(field.parameter_groups(), decay=1.0)
    before = {name: p.detach().clone() for name, p in field.named_parameters()}
    for parameter in field.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step(1e-3)
    for name, parameter in field.named_parameters():
        decays = name in ("trunk.layers.weights.1", "colour.weights.2")
        assert torch.equal(parameter, before[name]) != decays


def test_steps_of_hidden_layers_of_radiance_are_orthogonal():
    """Of other signals Adam moves all, each number by the learning rate at first."""
    for kind, orthogonal in (("radiance", True), ("sdf", False)):
        field = create(FieldSpec.of("mlp", kind, BOX, width=32))
        optimiser = Optimiser(field.parameter_groups(), decay=0.0)
        before = {name: p.detach().clone() for name, p in field.named_parameters()}
        for name, parameter in field.named_parameters():
            parameter.grad = uniform(parameter.shape, seed=1, stream=name) - 0.5
        optimiser.step(1e-3)
        moved = {name: p.detach() - before[name] for name, p in field.named_parameters()}
        values = torch.linalg.svdvals(moved["trunk.layers.weights.1"])
        assert (values.max() < 2 * values.min()) == orthogonal
        last = moved[max(name for name in moved if name.startswith("trunk"))].abs()
        torch.testing.assert_close(last.median(), torch.tensor(1e-3), rtol=1e-2, atol=0)


class TestFit:
    @pytest.mark.slow
    def test_it_learns_the_ball(self):
        fit, cameras = finished(new_fit(steps=250)), views()
        result = measured(fit, cameras, pictures(cameras), [None] * 6)
        assert result["psnr"] > 22 and result["views"] == 6
        assert fit.objective.grid.occupancy() < 0.6

    @pytest.mark.slow
    def test_the_same_seed_gives_the_same_bytes_and_another_does_not(self):
        fits = [finished(new_fit(steps=20, seed=seed)) for seed in (1, 1, 2)]
        one, same, other = (fit.tensors() for fit in fits)
        assert all(torch.equal(one[name], same[name]) for name in one)
        assert not torch.equal(one["field.encoding.tables.0"], other["field.encoding.tables.0"])

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "at, spec",
        [
            (1, SPEC),
            (9, SPEC),
            (17, SPEC),
            (9, FieldSpec.of("cam", "radiance", BOX, width=16, nodes=6)),
            (9, FieldSpec.of("rbf", "radiance", BOX, kernels=60, levels=2, finest=20, width=16)),
        ],
    )
    def test_a_restored_fit_goes_on_exactly(self, at, spec):
        whole, part = new_fit(steps=24, spec=spec), new_fit(steps=24, spec=spec)
        assert whole.objective.fused
        for _ in range(24):
            whole.step()
        for _ in range(at):
            part.step()
        again = new_fit(steps=24, spec=spec)
        again.restore({name: t.clone() for name, t in part.tensors().items()}, part.state())
        finished(again)
        expected, found = whole.tensors(), again.tensors()
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        assert whole.totals == again.totals

    @pytest.mark.slow
    def test_a_look_at_the_field_does_not_disturb_it(self):
        quiet, watched = new_fit(steps=12), new_fit(steps=12)
        cameras = views()
        for _ in range(12):
            quiet.step()
            watched.step()
            measured(watched, cameras[[0]], pictures(cameras)[:1], [None])
        assert all(torch.equal(t, watched.tensors()[name]) for name, t in quiet.tensors().items())

    def test_a_grid_that_lost_the_scene_stops_the_fit(self):
        fit = new_fit()
        fit.step()
        grid = fit.objective.grid
        grid.occupied = torch.zeros_like(grid.occupied)
        assert fit.step().counts["skipped"]

    def test_tensors_of_another_field_are_refused(self):
        fit, other = new_fit(), new_fit(spec=FieldSpec.of("mlp", "radiance", BOX, width=16))
        with pytest.raises(
            PolyfieldError, match="checkpoint: tensor .* for the field that config.json describes"
        ) as error:
            fit.restore(other.tensors(), other.state())
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("kernels", ["native", "reference"])
    @pytest.mark.parametrize("network", ["trunk.layers.weights.0", "colour.weights.0"])
    def test_a_step_that_is_not_finite_is_skipped_and_counted(self, monkeypatch, kernels, network):
        monkeypatch.setenv("POLYFIELD_KERNELS", kernels)
        fit = new_fit()
        fit.step()
        before = {name: p.detach().clone() for name, p in fit.field.named_parameters()}
        weight = dict(fit.field.named_parameters())[network]
        kept = weight[0, 0].item()
        weight.data[0, 0] = math.nan
        assert fit.step().counts["skipped"]
        weight.data[0, 0] = kept
        assert all(torch.equal(p, before[name]) for name, p in fit.field.named_parameters())
        assert not fit.step().counts["skipped"] and fit.totals["skipped"] == 1
        assert torch.isfinite(fit.field.state_dict()["encoding.tables.0"]).all()

    def test_after_twenty_in_a_row_it_stops(self):
        fit = new_fit()
        fit.step()
        fit.field.colour.weights[0].data[0, 0] = math.inf
        with pytest.raises(
            Diverged, match="step 21: the fit was stopped, because 20 steps in a row had no samples"
        ):
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
        return measured(fit, cameras, [image], [mask], background)

    clean = result(images[0], mask, (1.0, 1.0, 1.0))
    assert result(spoilt, mask, (1.0, 1.0, 1.0))["psnr"] == clean["psnr"]
    assert result(spoilt, None, (1.0, 1.0, 1.0))["psnr"] != clean["psnr"]
    assert result(images[0], mask, (0.0, 0.0, 0.0))["psnr"] != clean["psnr"]


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
