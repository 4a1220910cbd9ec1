"""Steps that are queued: what they compute, that they ask nothing of the device, and that they can be repeated."""

import copy
import math

import numpy as np
import pytest
import torch
from agreement import cases
from torch.utils._python_dispatch import TorchDispatchMode

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, create
from polyfield.fitting.fit import Fit
from polyfield.fitting.losses import HUBER_DELTA
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rays import batch_size, grid
from polyfield.fitting.rays.batch_size import BatchSize
from polyfield.fitting.rays.lattice import lattice
from polyfield.fitting.rays.photographs import Photographs
from polyfield.fitting.rays.queued import QueuedSteps
from polyfield.fitting.rays.ray_objective import RayObjective
from polyfield.fitting.schedule import Length
from polyfield.kernels import adam, fused_field, muon, uniform
from polyfield.rendering.radiance import queued
from polyfield.rendering.radiance.pictures import RadiancePictures
from polyfield.rendering.radiance.rendering import render_rays

pytest.importorskip("triton")

LEVELS = cases.Levels.geometric(4, 4, 24, 3, 1 << 9)
RAYS = 48


@pytest.fixture(autouse=True)
def cuda(monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", "cuda")
    monkeypatch.setenv("POLYFIELD_PRECISION", "float32")


def problem():
    """A field's tensors and kernel, rays through half-occupied space, and what they should show."""
    rng = cases.generator(3)
    table = torch.rand(LEVELS.entries, 4, generator=rng) - 0.5
    sizes = ((16, 16), (16, 16)), ((16, 32), (3, 16))
    density, colour = ([torch.randn(*s, generator=rng) / s[1] ** 0.5 for s in net] for net in sizes)
    kernel = fused_field(
        [[(table, LEVELS, (0, 1, 2))]],
        density,
        colour,
        summed=False,
        degree=4,
        centre=(0.0, 0.0, 0.0),
        axes=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
        contraction=False,
        low=-15.0,
        high=11.0,
        per_length=1.0,
        least_transmittance=1e-3,
        least_share=0.1,
    )
    numbers = torch.randn(RAYS, 6, generator=rng)
    rays = {
        "origins": numbers[:, :3],
        "directions": torch.nn.functional.normalize(numbers[:, 3:], dim=1),
        "jitter": uniform((RAYS,), seed=1, stream="jitter"),
        "near": 0.05,
        "step": 0.25,
        "cone": 0.0,
    }
    compared = {
        "target": uniform((RAYS, 4), seed=1, stream="target"),
        "background": uniform((RAYS, 3), seed=1, stream="background"),
        "huber": 0.1,
    }
    occupied = uniform((1, 8, 8, 8), seed=1, stream="occupied") < 0.5
    return [table, *density, *colour], kernel, rays, occupied, compared


def first(count: int, rays, compared):
    """The first rays alone."""
    cut = [
        {name: x[:count] if isinstance(x, torch.Tensor) else x for name, x in part.items()}
        for part in (rays, compared)
    ]
    return cut[0], cut[1]


def test_rays_that_are_not_live_have_no_part():
    _, kernel, rays, occupied, compared = problem()
    some, wanted = first(20, rays, compared)
    expected, errors, gradients = kernel.train(some, occupied, **wanted)
    figures, found, ours = kernel.queue(rays, occupied, **compared, live=torch.tensor([20]))
    assert figures["rays"].item() == 20 and expected["shaded"] > 20
    for name, value in expected.items():
        assert figures[name].item() == pytest.approx(value, rel=1e-6)
    assert torch.equal(found[:20], errors) and not found[20:].any()
    for x, y in zip(ours, gradients, strict=True):  # the blocks are others, and so is the order of sums
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("which", [0, 1])
def test_rays_whose_samples_there_is_no_room_for_have_no_part(which):
    _, kernel, rays, occupied, compared = problem()
    whole, _, _ = kernel.train(rays, occupied, **compared)
    capacity = [whole["evaluated"], whole["shaded"]]
    live = torch.tensor([RAYS])
    figures, *_ = kernel.queue(rays, occupied, **compared, live=live, capacity=tuple(capacity))
    assert figures["rays"].item() == RAYS and figures["loss"].item() == pytest.approx(whole["loss"], rel=1e-6)
    capacity[which] = capacity[which] // 2
    figures, errors, ours = kernel.queue(rays, occupied, **compared, live=live, capacity=tuple(capacity))
    left = figures["rays"].item()
    assert 0 < left < RAYS and figures[("evaluated", "shaded")[which]].item() <= capacity[which]
    some, wanted = first(left, rays, compared)
    expected, found, gradients = kernel.train(some, occupied, **wanted)
    assert figures["loss"].item() == pytest.approx(expected["loss"], rel=1e-6)
    assert torch.equal(errors[:left], found) and not errors[left:].any()
    for x, y in zip(ours, gradients, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-7)


def test_no_room_at_all_moves_nothing():
    tensors, kernel, rays, occupied, compared = problem()
    before = [x.clone() for x in tensors]
    options = {"live": torch.tensor([RAYS]), "capacity": (1, 1)}
    figures, *_ = kernel.queue(rays, occupied, **compared, **options, steps=steps_of(tensors))
    assert figures["rays"].item() < RAYS
    assert not figures["moved"].item() and not figures["shaded"].item()
    assert all(torch.equal(x, y) for x, y in zip(tensors, before))


def steps_of(tensors):
    rng = cases.generator(5)
    numbers = {"step": 3, "learning_rate": 0.01, "betas": (0.9, 0.95), "eps": 1e-12, "decay": 0.1}
    return [
        {"mean": torch.randn(x.shape, generator=rng), "square": torch.rand(x.shape, generator=rng)}
        | numbers
        | {"sparse": x is tensors[0]}
        for x in tensors
    ]


@pytest.mark.parametrize("standing, deterministic", [(False, False), (True, True)])
def test_a_step_moves_tensors_as_their_gradients_and_the_optimisers_would(standing, deterministic):
    tensors, kernel, rays, occupied, compared = problem()
    steps = steps_of(tensors)
    steps[1] = {"mean": steps[1]["mean"], "learning_rate": 0.01, "momentum": 0.9}
    options = {"live": torch.tensor([RAYS]), "deterministic": deterministic}
    for _ in range(2):  # the second finds the gradients cleared
        expected = [
            (x.clone(), {k: v.clone() if torch.is_tensor(v) else v for k, v in s.items()})
            for x, s in zip(tensors, steps)
        ]
        _, _, gradients = kernel.train(rays, occupied, **compared)
        for (tensor, step), gradient in zip(expected, gradients, strict=True):
            (muon if "momentum" in step else adam)(tensor, gradient, **step)
        given = steps
        if standing:
            rate, step = torch.tensor([0.01]), torch.tensor([3.0], dtype=torch.float64)
            given = [s | {"learning_rate": rate} | ({"step": step} if "step" in s else {}) for s in steps]
        figures, _, none = kernel.queue(rays, occupied, **compared, **options, steps=given)
        assert figures["moved"].item() and not none
        for tensor, step, (wanted, moments) in zip(tensors, steps, expected, strict=True):
            # A gradient in fixed point differs by 2^-32 of a ray's loss, and its first steps by no more than the rate.
            torch.testing.assert_close(tensor, wanted, rtol=1e-4, atol=1e-5)
            for part in {"mean", "square"} & step.keys():
                torch.testing.assert_close(step[part], moments[part], rtol=1e-3, atol=1e-9)
    before = [x.clone() for x in tensors]
    compared["target"][0] = math.nan
    figures, *_ = kernel.queue(rays, occupied, **compared, **options, steps=steps)
    assert not figures["moved"].item()
    assert all(torch.equal(x, y) for x, y in zip(tensors, before))


class AsksNothing(TorchDispatchMode):
    """Refuses operations after which a host would wait for its device."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "repeat_interleave", "bincount")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert not any(name.startswith(waits) for waits in self.WAITS), name
        if name.startswith("index"):
            picks = args[1] if isinstance(args[1], (list, tuple)) else ()
            assert all(x is None or x.dtype != torch.bool for x in picks), name
        return func(*args, **(kwargs or {}))


def new_fit(steps: int = 20) -> Fit:
    eye = torch.tensor([[3.0, 0.0, 1.0], [0.0, 3.0, 1.0], [-2.0, -2.0, 1.0]])
    cameras = Cameras.perspective(
        look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])), focal=24.0, size=(20, 16)
    )
    images = []
    for frame in range(len(cameras)):
        rays = cameras.image_rays(frame)
        along = -(rays.origins * rays.directions).sum(1)
        hit = (rays.origins + along[:, None] * rays.directions).norm(dim=1) < 0.7
        rgba = hit[:, None] * torch.tensor([1.0, 0.2, 0.1, 1.0])
        images.append((rgba * 65535).round().numpy().astype(np.uint16).reshape(16, 20, 4))
    source = Photographs(cameras, images, [None] * len(images))
    source._images = [torch.cat(source._images)]  # as on a GPU
    box = Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    spec = FieldSpec.of("hashgrid", "radiance", box, levels=3, entries=1 << 10, finest=24, width=16)
    field = create(spec, seed=0)
    field.advance(0.0)
    optimiser = Optimiser(field.parameter_groups(), decay=1e-6)
    finest = lattice(cameras, box, 0.0)
    objective = RayObjective(field, optimiser, source, lattice=finest, seed=0, deterministic=True)
    return Fit(field, optimiser, objective, length=Length(steps=steps))


@pytest.fixture
def small_steps(monkeypatch):
    size = BatchSize(rays=(32, 256), first_rays=64, shaded=(512, 1024), evaluated=2048)
    monkeypatch.setattr(batch_size, "CPU", size)


def test_a_step_of_a_fit_is_that_of_the_general_path(small_steps, monkeypatch):
    monkeypatch.setattr(grid, "_EVERY", 1)
    fit = new_fit()
    field, sampler = copy.deepcopy(fit.field), fit.objective.sampler(fit.progress)
    done = fit.step()
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    batch = fit.objective._source.draw(256, seed=0, step=0)[:64]
    rendering = render_rays(field, batch.rays, sampler, jitter=batch.jitter)
    wanted = batch.target[:, :3] + (1 - batch.target[:, 3:]) * batch.background
    found = rendering.over(batch.background)
    loss = torch.nn.functional.huber_loss(found, wanted, delta=HUBER_DELTA)
    samples = {"evaluated": rendering.evaluated, "shaded": rendering.shaded}
    assert done.step == 1 and done.counts == {"rays": 64, **samples, "skipped": 0}
    assert done.figures["loss"] == pytest.approx(loss.item(), rel=1e-4)
    mse = ((found - wanted).square().mean(1) / batch.odds).mean()
    assert done.figures["psnr"] == pytest.approx(-10 * math.log10(mse.item()), abs=1e-3)


def test_a_fit_asks_nothing_of_the_device_and_goes_on_to_the_byte(small_steps, monkeypatch):
    monkeypatch.setattr(grid, "_EVERY", 3)
    fit = new_fit()
    waits, read, queues = AsksNothing(), QueuedSteps.read, []

    def answered(queue):
        queues.append(queue)
        waits.__exit__(None, None, None)
        try:
            return read(queue)
        finally:
            waits.__enter__()

    losses = []
    with monkeypatch.context() as patched, waits:
        patched.setattr(QueuedSteps, "read", answered)
        losses.append(fit.step())
        tensors, state = {k: v.clone() for k, v in fit.tensors().items()}, fit.state()
        losses.append(fit.step())
    assert len(queues) == 2 and queues[0] is queues[1]
    assert [step.step for step in losses] == [3, 6]
    assert fit.objective.grid.updates == 1 and fit.totals["skipped"] == 0 and fit.totals["rays"] > 6 * 64
    counts = losses[1].counts
    assert 32 <= counts["rays"] <= 256 and counts["shaded"] <= counts["evaluated"]
    again = new_fit()
    again.restore(tensors, state)
    assert again.step() == losses[1]
    found, expected = again.tensors(), fit.tensors()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_picture_in_parts_is_the_picture(monkeypatch):
    """Where there is little capacity a picture takes more parts; where there is none for a ray it is refused."""
    fit = new_fit()
    eye = torch.tensor([[0.0, 3.0, 1.0]])
    poses = look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    cameras = Cameras.perspective(poses, focal=12.0, size=(12, 9))
    sampler = fit.objective.sampler(fit.progress)
    whole = RadiancePictures(fit.field, sampler).render(cameras, 0)
    assert 12 * 9 < whole.shaded <= whole.evaluated
    monkeypatch.setattr(queued, "RAYS_AT_ONCE", 50)
    monkeypatch.setattr(queued, "CAPACITY", (whole.evaluated // 150, whole.evaluated // 200))
    done = []
    parts = RadiancePictures(fit.field, sampler).render(
        cameras, 0, lambda share, doing="": done.append(share)
    )
    assert len(done) > 1 and done[-1] == 1 and done == sorted(set(done))
    for name in ("colour", "opacity", "depth"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=1e-5, atol=1e-6)
    assert (parts.evaluated, parts.shaded) == (whole.evaluated, whole.shaded)
    monkeypatch.setattr(queued, "CAPACITY", (0, 0))
    with pytest.raises(PolyfieldError, match="a ray has more than 0 samples"):
        RadiancePictures(fit.field, sampler).render(cameras, 0)
