"""NaN in a field: a step that met it is a bad one, and a picture of it is an error, never empty space."""

import threading
import time

import pytest
import torch

from polyfield import _core
from polyfield.cameras.cameras import Cameras, look_at
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, create
from polyfield.fitting.optimiser import Optimiser
from polyfield.kernels import adam
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.pictures import RadiancePictures
from polyfield.rendering.radiance.sampling import Lattice, MarchingSampler

BOX = Domain("box", (0.0,) * 3, (1.0,) * 3)
SMALL = {"levels": 2, "entries": 1 << 10, "finest": 12, "width": 16}


def cameras() -> Cameras:
    poses = look_at(torch.tensor([[3.0, 0.4, 0.5]]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return Cameras.perspective(poses, focal=24.0, size=(16, 16))


def sampler() -> MarchingSampler:
    return MarchingSampler(BOX, torch.ones(1, 8, 8, 8, dtype=torch.bool), Lattice(0.05, 0.0, 0.1))


def field_with(place: str, value: float):
    field = create(FieldSpec.of("hashgrid", "radiance", BOX, **SMALL))
    with torch.no_grad():
        if place == "table":
            field.encoding.tables[0][:200] = value
        else:
            field.get_parameter(place).view(-1)[0] = value
    return field


def train(field) -> dict:
    fused = FusedField.of(field)
    assert fused is not None
    optimiser = Optimiser(field.parameter_groups(), decay=0.0)
    rays = cameras().image_rays(0)
    count = len(rays)
    before = [tensor.detach().clone() for tensor in fused.tensors]
    steps = [optimiser.arguments(tensor, 1e-2) for tensor in fused.tensors]
    target, background = torch.rand(count, 4), torch.rand(count, 3)
    done, _ = fused.train(rays, torch.full((count,), 0.5), sampler(), target, background, 0.3, steps)
    done["moved"] = any(
        not torch.equal(a, b.detach())
        for a, b in zip(before, fused.tensors, strict=True)
        if not a.isnan().any()
    )
    return done


@pytest.mark.parametrize(
    "place", ["table", "trunk.layers.weights.0", "trunk.layers.weights.1", "colour.weights.0"]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_with_it_is_bad_and_moves_nothing(place, value):
    done = train(field_with(place, value))
    assert not (done["finite"] and torch.isfinite(torch.tensor(done["loss"]))) and not done["moved"]


def test_a_step_without_it_is_good():
    done = train(field_with("table", 0.5))
    assert done["finite"] and done["moved"]


@pytest.mark.parametrize("fused", [True, False])
def test_a_picture_with_it_is_an_error(fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(FusedField, "of", staticmethod(lambda field: None))
    pictures = RadiancePictures(field_with("table", float("nan")), sampler())
    with pytest.raises(PolyfieldError, match="values that are NaN or infinite"):
        pictures.render(cameras(), 0)
    assert RadiancePictures(field_with("table", 0.5), sampler()).render(cameras(), 0).colour.shape == (
        16,
        16,
        3,
    )


def test_an_occupancy_that_was_changed_in_place_is_seen():
    there = sampler()
    pictures = RadiancePictures(field_with("table", 0.5), there)
    assert pictures.render(cameras(), 0).evaluated > 0
    there.occupied.zero_()
    assert pictures.render(cameras(), 0).evaluated == 0


def test_moments_do_not_become_denormal():
    """They decay to 0 where the gradient stays 0, and a step then takes no longer than at first."""
    parameter, gradient = torch.ones(1 << 16), torch.zeros(1 << 16)
    mean, square = torch.full((1 << 16,), 1e-30), torch.full((1 << 16,), 1e-30)
    for step in range(1, 800):
        adam(
            parameter,
            gradient,
            mean,
            square,
            step=step,
            learning_rate=0.0,
            betas=(0.9, 0.95),
            eps=1e-12,
            decay=0.0,
        )
    assert float(mean.max()) == 0.0 and float(square.max()) == 0.0


def test_a_fork_while_another_thread_is_in_a_kernel_does_not_hang():
    import os

    table = torch.rand(1 << 22)
    moments = [torch.zeros_like(table) for _ in range(3)]
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            adam(table, *moments, step=1, learning_rate=0.1, betas=(0.9, 0.95), eps=1e-12, decay=0.0)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            time.sleep(0.02)
            if (child := os.fork()) == 0:
                small = [torch.zeros(8) for _ in range(4)]
                adam(*small, step=1, learning_rate=0.1, betas=(0.9, 0.95), eps=1e-12, decay=0.0)
                os._exit(0)
            until = time.monotonic() + 20
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                assert time.monotonic() < until, "the child hangs"
                time.sleep(0.01)
    finally:
        stop.set()
        thread.join()
    assert _core.threads() >= 1
