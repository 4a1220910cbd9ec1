"""Objectives: what sources are told, penalties beside the fused step, stages, and what checkpoints hold of them."""

import copy

import pytest
import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.fields import Domain, FieldSpec, Points, create
from polyfield.fitting.fit import Fit
from polyfield.fitting.losses import Term
from polyfield.fitting.objective import Stages
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.points.point_objective import PointObjective
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.fitting.rays.lattice import lattice
from polyfield.fitting.rays.ray_objective import LOSS, RayObjective
from polyfield.fitting.rays.source import RaySource, with_noise
from polyfield.fitting.schedule import Length
from polyfield.kernels import uniform

BOX = Domain("box", (0.0,) * 3, (1.0,) * 3)
SMALL = {"levels": 3, "entries": 1 << 10, "finest": 24, "width": 16}


def cameras() -> Cameras:
    eyes = torch.tensor([[3.0, 0.0, 0.5], [0.0, 3.0, 0.5], [-3.0, 0.5, 1.0]])
    poses = look_at(eyes, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return Cameras.perspective(poses, focal=30.0, size=(24, 24))


class Teacher(RaySource):
    """Rays of a red disc, in place of photographs. It draws other rays once it has learnt."""

    def __init__(self) -> None:
        self.told = torch.zeros(1)

    def draw(self, count, *, seed, step):
        numbers = uniform((count, 3), seed=seed + int(self.told), stream="teacher", step=step)
        uv = numbers[:, :2] * 24
        rays = cameras().rays((numbers[:, 2] * 3).long(), uv)
        inside = ((uv - 12).norm(dim=1) < 6).float()[:, None]
        target = torch.cat((inside, torch.zeros(count, 2), inside), 1)
        return with_noise(rays, target, torch.ones(count), seed=seed, step=step)

    def learn(self, batch, errors):
        assert len(batch.target) == len(errors) and (errors >= 0).all()
        self.told += len(errors)

    def tensors(self):
        return {"told": self.told}

    def state(self):
        return {"kind": "disc"}

    def restore(self, tensors, state):
        assert state == {"kind": "disc"}
        self.told = tensors["told"].clone()


class Analytic(PointSource):
    """A ball's raw density at random points."""

    def draw(self, count, *, seed, step):
        x = uniform((count, 3), seed=seed, stream="analytic", step=step) * 2 - 1
        return Targets(Points(x), raw=torch.where(x.norm(dim=1, keepdim=True) < 0.5, 3.0, -3.0))


def ray_fit(steps: int = 40, **options) -> Fit:
    field = create(FieldSpec.of("hashgrid", "radiance", BOX, **SMALL), seed=1)
    return fit_of(field, steps, **options)


def fit_of(field, steps: int, **options) -> Fit:
    optimiser = Optimiser(field.parameter_groups(), decay=1e-6)
    objective = RayObjective(
        field, optimiser, Teacher(), lattice=lattice(cameras(), BOX, 0.1), seed=0, **options
    )
    return Fit(field, optimiser, objective, length=Length(steps=steps))


def run(fit: Fit, until: int | None = None) -> Fit:
    while fit.progress < 1 and (until is None or fit.steps < until):
        fit.step()
    return fit


def equal(one: Fit, other: Fit) -> bool:
    a, b = one.tensors(), other.tensors()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_source_of_rays_that_is_no_set_of_photographs_is_fitted_and_told_its_errors():
    fit = run(ray_fit())
    assert fit.objective._source.told == fit.totals["rays"] > 0
    assert fit.step().figures["psnr"] > 15


def test_a_sources_state_is_in_checkpoints():
    whole = run(ray_fit())
    half = run(ray_fit(), until=20)
    tensors, state = copy.deepcopy(half.tensors()), copy.deepcopy(half.state())
    assert tensors["objective.rays.source.told"] == half.totals["rays"]
    assert tensors["objective.rays.drawn_from.told"] == 0 and half.objective._pool.position[1] > 0
    assert state["objective"]["drawn"]["source"] == {"kind": "disc"}
    again = ray_fit()
    again.restore(tensors, state)
    assert equal(run(again), whole) and again.objective._source.told == whole.objective._source.told


class TestPenalties:
    """A penalty on the parameters is added to the fused step, which stays on."""

    def penalised(self, monkeypatch, weight: float) -> Fit:
        fit = ray_fit(24)
        monkeypatch.setattr(
            fit.field,
            "penalties",
            lambda step: weight * fit.field.encoding.tables[0].square().sum(),
            raising=False,
        )
        return fit

    def test_the_gradient_is_that_of_the_general_path(self, monkeypatch):
        """Within what half precision and left-out faint samples change of the rays' part; the penalty's part is whole."""
        fits = [self.penalised(monkeypatch, weight) for weight in (1e-4, 1e-4, 0.0)]
        for fit in fits:
            fit.field.encoding.tables[0].data *= 1e3
            if fit.objective.fused:
                fit.objective.fused.refresh()
        fused, general, without = fits
        assert fused.objective.fused is not None
        general.objective.fused = without.objective.fused = None
        for fit in fits:
            fit.step()
        grads = [torch.cat([p.grad.flatten() for p in fit.field.parameters()]) for fit in fits]
        assert (grads[1] - grads[2]).norm() > 0.2 * grads[2].norm()
        assert (grads[0] - grads[1]).norm() < 0.05 * grads[2].norm()

    def test_no_penalty_is_the_fit_without(self, monkeypatch):
        with_zero, without = run(self.penalised(monkeypatch, 0.0)), run(ray_fit(24))
        for a, b in zip(with_zero.field.parameters(), without.field.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)

    def test_copies_in_half_precision_follow(self, monkeypatch):
        fit = run(self.penalised(monkeypatch, 1e-2))
        tables = list(fit.field.encoding.tables)
        for table, half in zip(tables, fit.objective.fused.halves.values(), strict=True):
            assert torch.equal(half, table.detach().half())

    def test_it_pulls_the_tables_down(self, monkeypatch):
        strong, none = run(self.penalised(monkeypatch, 10.0)), run(ray_fit(24))
        size = [float(fit.field.encoding.tables[0].detach().abs().mean()) for fit in (strong, none)]
        assert size[0] < 0.5 * size[1]


class TestTerms:
    def test_a_second_term_of_the_samples_weights_takes_the_general_path_and_acts(self):
        distortion = Term("weights", "distortion", 1.0)
        fit = ray_fit(60, loss=(*LOSS, distortion))
        plain = run(ray_fit(60))
        run(fit)
        apart = [weights_distortion(f) for f in (fit, plain)]
        assert apart[0] < 0.8 * apart[1]

    def test_a_term_of_a_part_that_rays_do_not_have_is_refused(self):
        with pytest.raises(
            Exception,
            match="part 'features' cannot be used with this source; expected one of colour, weights",
        ):
            ray_fit(loss=(Term("features", "squares"),))

    def test_another_delta_is_still_fused(self):
        fit = ray_fit(loss=(Term("colour", "huber", 1.0, {"delta": 0.1}),))
        assert fit.objective._huber == 0.1
        assert ray_fit(loss=(Term("colour", "huber", 0.5),)).objective._huber is None
        assert ray_fit(loss=(Term("colour", "squares"),)).objective._huber is None


def weights_distortion(fit: Fit) -> float:
    from polyfield.fitting.losses import distortion
    from polyfield.rendering.radiance.rendering import render_rays

    rendering = render_rays(fit.field, cameras().image_rays(0), fit.objective.sampler(1.0))
    return float(distortion(rendering.samples, rendering.weights).detach())


class TestStages:
    """First raw densities at points, then colours along rays, of one field."""

    def staged(self, steps: int = 40) -> Fit:
        field = create(FieldSpec.of("hashgrid", "radiance", BOX, **SMALL), seed=1)
        optimiser = Optimiser(field.parameter_groups(), decay=1e-6)
        points = PointObjective(field, optimiser, Analytic(), seed=0, loss=(Term("raw", "squares"),))
        rays = RayObjective(field, optimiser, Teacher(), lattice=lattice(cameras(), BOX, 0.1), seed=0)
        return Fit(field, optimiser, Stages([(0.5, points), (1.0, rays)]), length=Length(steps=steps))

    def test_each_has_its_share_of_the_steps(self):
        fit = self.staged()
        first = fit.step()
        assert "error" in first.figures and "points" in first.counts
        run(fit, until=20)
        assert fit.totals["points"] > 0 and fit.totals["rays"] == 0
        assert "psnr" in fit.step().figures and fit.totals["rays"] > 0
        assert run(fit).optimiser.step_count == 40

    def test_the_first_teaches_the_density(self):
        fit = run(self.staged(80), until=40)
        raw = fit.field.raw_at(torch.tensor([[0.0, 0.0, 0.0], [0.9, 0.9, 0.9]]))
        assert raw[0] > 1 and raw[1] < -1

    @pytest.mark.parametrize("stop", [10, 20, 30])
    def test_a_fit_that_was_stopped_in_either_goes_on_to_the_byte(self, stop):
        whole, part = run(self.staged()), run(self.staged(), until=stop)
        tensors, state = copy.deepcopy(part.tensors()), copy.deepcopy(part.state())
        again = self.staged()
        again.restore(tensors, state)
        assert equal(run(again), whole) and again.totals == whole.totals


class TestPoints:
    def test_the_fused_step_moves_a_field_as_the_general_one(self):
        fields = []
        for general in (False, True):
            field = create(FieldSpec.of("hashgrid", "radiance", BOX, **SMALL), seed=1)
            optimiser = Optimiser(field.parameter_groups(), decay=1e-6)
            objective = PointObjective(field, optimiser, Analytic(), seed=0, loss=(Term("raw", "squares"),))
            if general:
                objective.fused = None
            fit = Fit(field, optimiser, objective, length=Length(steps=20))
            losses = [fit.step().figures["loss"] for _ in range(20)]
            fields.append((losses, field))
        (fast, fused), (slow, plain) = fields
        assert fast == pytest.approx(slow, rel=0.05) and fast[-1] < fast[0]
        for (name, a), b in zip(fused.named_parameters(), plain.parameters(), strict=True):
            assert (a - b).norm() < 0.1 * b.norm() + 1e-3, name
