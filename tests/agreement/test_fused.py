"""The fused kernel of a field with a plan against the general path: losses, gradients and pictures."""

import pytest
import torch
from torch.nn.functional import huber_loss

from polyfield.fields import Domain, Field, FieldSpec, Points, create
from polyfield.kernels import uniform
from polyfield.render.cameras import Cameras, look_at
from polyfield.render.fused import FusedField
from polyfield.render.rays import Rays
from polyfield.render.sampling import Lattice, MarchingSampler
from polyfield.render.volume import render_image, render_rays

BOX = Domain("box", (0.2, 0.0, -0.1), (1.0, 1.5, 0.7))
ALL_OF_SPACE = Domain("contraction", (0.0, 0.1, 0.0), (0.8, 0.8, 0.8))
SMALL = {"levels": 4, "log2_size": 12, "finest": 40, "width": 32}
FIELDS = {
    "box": (BOX, SMALL),
    "contraction": (ALL_OF_SPACE, SMALL),
    "two features, deep, wide": (
        BOX,
        SMALL | {"features": 2, "layers": 2, "colour_layers": 3, "width": 64},
    ),
    "eight features, odd width": (BOX, SMALL | {"features": 8, "width": 24, "colour_layers": 1}),
}
HUBER = 0.1
# The table is read in half precision, and with bfloat16 activations have 8 bits.
TOLERANCES = {
    "native-generic": 1e-3,
    "native-avx2": 2e-2,
    "native-avx512": 2e-2,
    "native-avx512bf16": 2e-1,
    "cuda-float32": 1e-3,
    "cuda-float16": 5e-2,
}


def made(domain: Domain, options: dict[str, int]) -> Field:
    """A field with structure: dense here, thin there."""
    field = create(FieldSpec.of("hashgrid", "radiance", domain, **options), seed=3)
    with torch.no_grad():
        for name, parameter in field.named_parameters():
            kind = "table" if "tables" in name else name
            numbers = uniform(parameter.shape, seed=1, stream=kind) * 2 - 1
            parameter.copy_(numbers * (2.0 if kind == "table" else 2.2 / parameter.shape[1] ** 0.5))
        field.networks.density.weights[-1][0] *= 3
    return field


def sampler_of(domain: Domain, fused_form: str) -> MarchingSampler:
    cascades = 1 if domain.kind == "box" else 3
    occupied = uniform((cascades, 32, 32, 32), seed=5, stream="occupied") < 0.6
    # The interpreter takes its time; half precision wants small steps to agree.
    times = {"cuda-float32": 5, "cuda-float16": 2}.get(fused_form, 1)
    return MarchingSampler(domain, occupied, Lattice(0.03 * times, (cascades > 1) * 0.01 * times, 0.1))


def rays(count: int) -> Rays:
    numbers = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    return Rays(numbers[:, :3] * 1.5, torch.nn.functional.normalize(numbers[:, 3:], dim=1))


@pytest.mark.parametrize("name", FIELDS)
def test_a_training_step(name, fused_form, monkeypatch):
    for count in (9, 700) if fused_form.startswith("native") else (70,):
        monkeypatch.setenv("POLYFIELD_KERNELS", fused_form.partition("-")[0])
        one_step(name, count, fused_form, monkeypatch)


def one_step(name, count, fused_form, monkeypatch):
    field, sampler, looking = made(*FIELDS[name]), sampler_of(FIELDS[name][0], fused_form), rays(count)
    jitter, target, background = (uniform((count, n), seed=2, stream=str(n)) for n in (1, 4, 3))
    jitter = jitter[:, 0]
    fused = FusedField.of(field)
    assert fused
    figures, errors = fused.train(looking, jitter, sampler, target, background, HUBER)
    found = {key: p.grad.clone() for key, p in field.named_parameters()}

    field.zero_grad()
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    rendering = render_rays(field, looking, sampler, jitter=jitter)
    wanted = target[:, :3] + (1 - target[:, 3:]) * background
    loss = huber_loss(rendering.over(background), wanted, delta=HUBER)
    loss.backward()
    assert figures["finite"] and figures["shaded"] > 0
    assert abs(figures["shaded"] - rendering.shaded) <= 0.01 * rendering.shaded + 1
    tolerance = TOLERANCES[fused_form]
    assert figures["loss"] == pytest.approx(float(loss.detach()), rel=1e-2)
    expected = (rendering.over(background) - wanted).detach().square().mean(1)
    assert (errors - expected).norm() < tolerance * expected.norm()
    for key, parameter in field.named_parameters():
        scale = parameter.grad.norm()
        assert scale > 0
        assert (found[key] - parameter.grad).norm() < tolerance * scale, key


@pytest.mark.parametrize("name", FIELDS)
def test_a_picture(name, exact_form, monkeypatch):
    field, sampler = made(*FIELDS[name]), sampler_of(FIELDS[name][0], exact_form)
    camera = Cameras.perspective(
        look_at(torch.tensor([[2.5, 0.3, 1.0]]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])),
        focal=40.0,
        size=(37, 29),
    )
    found = render_image(field, camera, 0, sampler)
    monkeypatch.setattr(FusedField, "of", lambda field: None)
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    expected = render_image(field, camera, 0, sampler)
    assert expected.opacity.mean() > 0.1
    tolerance = TOLERANCES[exact_form]
    for part in ("colour", "opacity"):
        difference = (getattr(found, part) - getattr(expected, part)).abs()
        assert difference.mean() < tolerance / 10 and difference.max() < 5 * tolerance
    seen = expected.opacity > 0.1
    assert (found.depth - expected.depth)[seen].abs().max() < 0.1
    assert 0 < found.evaluated <= 1.01 * expected.evaluated  # it stops where the light is spent


@pytest.mark.parametrize("name", FIELDS)
def test_densities_at_points(name, exact_form):
    field = made(*FIELDS[name])
    fused, reach = FusedField.of(field), 3.0 if field.spec.domain.kind == "contraction" else 1.0
    for count in (0, 1, 9000 if exact_form.startswith("native") else 500):
        local = (uniform((count, 3), seed=1, stream="points") * 2 - 1) * reach
        with torch.no_grad():
            expected = field.density(field.raw(Points(field.spec.domain.to_world(local))))
        found = fused.density(local)
        assert (found - expected).norm() <= TOLERANCES[exact_form] * expected.norm()


def test_rays_that_meet_nothing(exact_form):
    field, sampler = made(*FIELDS["box"]), sampler_of(BOX, exact_form)
    away = Rays(torch.full((5, 3), 4.0), torch.nn.functional.normalize(torch.ones(5, 3), dim=1))
    fused = FusedField.of(field)
    target, background = torch.zeros(5, 4), torch.full((5, 3), 0.5)
    figures, errors = fused.train(away, torch.zeros(5), sampler, target, background, HUBER)
    assert not errors.any()
    assert figures["evaluated"] == figures["shaded"] == 0 and figures["loss"] == 0
    assert all(not p.grad.any() for p in field.parameters())


def test_gradients_that_are_not_finite_are_told(exact_form):
    field, sampler = made(*FIELDS["box"]), sampler_of(BOX, exact_form)
    with torch.no_grad():
        field.networks.colour.weights[0][0, 0] = float("nan")
    fused = FusedField.of(field)
    figures, _ = fused.train(
        rays(50),
        torch.zeros(50),
        sampler,
        torch.ones(50, 4),
        torch.zeros(50, 3),
        HUBER,
    )
    assert not figures["finite"]
