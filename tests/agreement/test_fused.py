"""The fused kernel of a field with a plan against the general path: losses, gradients and pictures."""

import pytest
import torch
from torch.nn.functional import huber_loss

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.cameras.rays import Rays
from polyfield.fields import Domain, FieldSpec, Meaning, Points, StoredField, create
from polyfield.fields.registry import architecture
from polyfield.kernels import uniform
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.pictures import RadiancePictures
from polyfield.rendering.radiance.rendering import render_rays
from polyfield.rendering.radiance.sampling import Lattice, MarchingSampler

BOX = Domain("box", (0.2, 0.0, -0.1), (1.0, 1.5, 0.7))
ALL_OF_SPACE = Domain("contraction", (0.0, 0.1, 0.0), (0.8, 0.8, 0.8))
SMALL = {"levels": 4, "entries": 1 << 12, "finest": 40, "width": 32}
# Of one table over all axes, which every form takes.
FIELDS: dict[str, tuple[str, Domain, dict[str, int]]] = {
    "box": ("hashgrid", BOX, SMALL),
    "contraction": ("hashgrid", ALL_OF_SPACE, SMALL),
    "two features, deep, wide": (
        "hashgrid",
        BOX,
        SMALL | {"features": 2, "layers": 2, "colour_layers": 3, "width": 64},
    ),
    "eight features, odd width": ("hashgrid", BOX, SMALL | {"features": 8, "width": 24, "colour_layers": 1}),
}
# Of several tables, or none, or of one that only native kernels take.
TABLES: dict[str, tuple[str, Domain, dict[str, int]]] = {
    "odd": ("densegrid", BOX, {"levels": 2, "features": 3, "coarsest": 5, "finest": 11, "width": 32}),
    "densegrid": ("densegrid", BOX, {"levels": 2, "features": 6, "coarsest": 5, "finest": 11, "width": 32}),
    "triplane": ("triplane", BOX, {"resolution": 20, "features": 32, "width": 32}),
    "triplane and sines": ("triplane", BOX, {"resolution": 12, "features": 8, "frequencies": 2, "width": 32}),
    "kplanes": (
        "kplanes",
        ALL_OF_SPACE,
        {"levels": 2, "coarsest": 6, "finest": 20, "features": 16, "width": 32},
    ),
    "vm": ("vm", BOX, {"resolution": 24, "rank": 12, "layers": 0}),
    "cp": ("cp", BOX, {"resolution": 24, "rank": 96, "width": 32}),
    "mlp": ("mlp", BOX, {"frequencies": 3, "width": 48}),
    "rbf": ("rbf", BOX, {"kernels": 300, "levels": 3, "coarsest": 5, "finest": 30, "width": 32}),
    "linear rbf": (
        "rbf",
        ALL_OF_SPACE,
        {"kernels": 90, "levels": 2, "coarsest": 5, "finest": 20, "width": 32, "shape": "linear"},
    ),
    "cam": ("cam", BOX, {"frequencies": 3, "width": 64, "nodes": 9}),
    "cam of vectors, not normed": (
        "cam",
        ALL_OF_SPACE,
        {"frequencies": 3, "width": 32, "layers": 2, "nodes": 6, "channels": "vector", "norm": "none"},
    ),
    "voxels": ("voxels", BOX, {"rows": 4000, "nodes": 32}),
    "voxels of all of space": ("voxels", ALL_OF_SPACE, {"rows": 3000, "nodes": 32, "degree": 2}),
}
# Of moving scenes.
MOVING: dict[str, tuple[str, Domain, dict[str, int]]] = {
    "moving hashgrid": ("hashgrid", BOX, SMALL | {"finest": 20, "time_nodes": 4}),
    "moving kplanes": (
        "kplanes",
        ALL_OF_SPACE,
        {"levels": 2, "coarsest": 6, "finest": 20, "time_nodes": 5, "features": 16, "width": 32},
    ),
    "moving mlp": ("mlp", BOX, {"frequencies": 3, "width": 48}),
    "moving cam": ("cam", BOX, {"frequencies": 3, "width": 48, "nodes": 5, "index": "position+time"}),
    "moving cam of places": ("cam", BOX, {"frequencies": 3, "width": 48, "nodes": 5, "norm": "none"}),
    "moving cam of times": ("cam", BOX, {"frequencies": 4, "width": 64, "layers": 2, "index": "time"}),
}
TABLES |= MOVING
EVERY = FIELDS | TABLES
HUBER = 0.1
# The names under which parameters draw their numbers, by how their own names begin. They are fixed: the tolerances below
# are of these numbers, whatever parameters are called.
STREAMS = {
    "encoding.tables.0": "table",
    "trunk.layers.": "networks.density.",
    "colour.": "networks.colour.",
}
# The table is read in half precision, and with bfloat16 activations have 8 bits.
TOLERANCES = {
    "native-generic": 1e-3,
    "native-avx2": 2e-2,
    "native-avx512": 2e-2,
    "native-avx512bf16": 2e-1,
    "cuda-float32": 1e-3,
    "cuda-float16": 5e-2,
}


def made(name: str) -> StoredField:
    """A field with structure: dense here, thin there."""
    architecture, domain, options = EVERY[name]
    meaning = Meaning.of("radiance", domain, moving=name in MOVING)
    field = create(FieldSpec(architecture, meaning, options), seed=3)
    if architecture == "voxels":  # sparse
        field.advance(0.5, uniform((1, 8, 8, 8), seed=5, stream="rows") < 0.1)
    with torch.no_grad():
        for key, parameter in field.named_parameters():
            table, stream = "tables" in key, key
            for start, fixed in STREAMS.items():
                if key.startswith(start):
                    stream = fixed + key.removeprefix(start)
            numbers = uniform(parameter.shape, seed=1, stream=stream) * 2 - 1
            parameter.copy_(numbers * (2.0 if table else 2.2 / parameter.shape[-1] ** 0.5))
        if architecture == "voxels":
            field.encoding.tables[0] *= 2
        else:
            field.trunk.layers.weights[-1][0] *= 3
    return field


def sampler_of(domain: Domain, fused_form: str) -> MarchingSampler:
    cascades = 1 if domain.kind == "box" else 3
    occupied = uniform((cascades, 32, 32, 32), seed=5, stream="occupied") < 0.6
    # The interpreter takes its time; half precision wants small steps to agree.
    times = {"cuda-float32": 5, "cuda-float16": 2}.get(fused_form, 1)
    return MarchingSampler(domain, occupied, Lattice(0.03 * times, (cascades > 1) * 0.01 * times, 0.1))


def rays(count: int, name: str = "") -> Rays:
    """Rays, for a moving field with times."""
    numbers = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    times = uniform((count,), seed=6, stream="times") if name in MOVING else None
    return Rays(numbers[:, :3] * 1.5, torch.nn.functional.normalize(numbers[:, 3:], dim=1), times)


@pytest.mark.parametrize("name", FIELDS)
def test_a_training_step(name, fused_form, monkeypatch):
    for count in (9, 700) if fused_form.startswith("native") else (70,):
        monkeypatch.setenv("POLYFIELD_KERNELS", fused_form.partition("-")[0])
        one_step(name, count, fused_form, monkeypatch)


@pytest.mark.parametrize("name", TABLES)
def test_a_training_step_of_groups_of_tables(name, native_form, monkeypatch):
    one_step(name, 200, native_form, monkeypatch)


def one_step(name, count, fused_form, monkeypatch):
    field = made(name)
    sampler, looking = sampler_of(field.meaning.domain, fused_form), rays(count, name)
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
    one_picture(name, exact_form, monkeypatch)


@pytest.mark.parametrize("name", TABLES)
def test_a_picture_of_groups_of_tables(name, native_form, monkeypatch):
    one_picture(name, native_form, monkeypatch)


def one_picture(name, exact_form, monkeypatch):
    field = made(name)
    sampler = sampler_of(field.meaning.domain, exact_form)
    camera = Cameras.perspective(
        look_at(torch.tensor([[2.5, 0.3, 1.0]]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])),
        focal=40.0,
        size=(37, 29),
        times=torch.tensor([0.3]) if name in MOVING else None,
    )
    found = RadiancePictures(field, sampler).render(camera, 0)
    monkeypatch.setattr(FusedField, "of", lambda field: None)
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    expected = RadiancePictures(field, sampler).render(camera, 0)
    assert expected.opacity.mean() > 0.1
    tolerance = TOLERANCES[exact_form]
    for part in ("colour", "opacity"):
        difference = (getattr(found, part) - getattr(expected, part)).abs()
        assert difference.mean() < tolerance / 10 and difference.max() < 5 * tolerance
    seen = expected.opacity > 0.1
    assert (found.depth - expected.depth)[seen].abs().max() < 0.1
    rays = camera.image_rays(0)
    every = len(sampler(rays, torch.full((len(rays),), 0.5)))
    assert 0 < found.evaluated <= 1.01 * every  # it stops where the light is spent
    assert 0 < expected.evaluated <= every


@pytest.mark.parametrize("name", FIELDS)
def test_densities_at_points(name, exact_form):
    densities(name, exact_form)


@pytest.mark.parametrize("name", TABLES)
def test_densities_of_groups_of_tables(name, native_form):
    densities(name, native_form)


def densities(name, exact_form):
    field = made(name)
    fused, reach = FusedField.of(field), 3.0 if field.meaning.domain.kind == "contraction" else 1.0
    for count in (0, 1, 9000 if exact_form.startswith("native") else 500):
        local = (uniform((count, 3), seed=1, stream="points") * 2 - 1) * reach
        times = uniform((count,), seed=6, stream="times") if name in MOVING else None
        with torch.no_grad():
            world = field.meaning.domain.to_world(local)
            expected = field.density(field.raw(Points(world, times=times)))
        found = fused.density(local, times)
        assert (found - expected).norm() <= TOLERANCES[exact_form] * expected.norm()


@pytest.mark.parametrize("name", TABLES)
def test_groups_that_a_form_does_not_take(name, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("POLYFIELD_KERNELS", "cuda")
    assert FusedField.of(made(name)) is None


@pytest.mark.parametrize(
    "architecture, options",
    [
        ("cp", {"rank": 258, "resolution": 8}),  # too wide
        ("vm", {"rank": 86, "resolution": 8}),
        ("mlp", {"activation": "sine"}),
        ("mlp", {"width": 512, "layers": 6}),
        ("cam", {"activation": "sine"}),
        ("cam", {"norm": "ray"}),
        ("cam", {"index": "direction"}),
        ("cam", {"width": 40}),
    ],
)
def test_fields_that_native_kernels_do_not_take(architecture, options, native_form):
    assert FusedField.of(create(FieldSpec.of(architecture, "radiance", BOX, **options), seed=0)) is None


@pytest.mark.parametrize("options", [{"sines": "kernels"}, {"sines": "network"}])
def test_rbf_pictures_that_native_kernels_do_not_take(options, native_form):
    square = Domain("box", (0.5, 0.5), (0.5, 0.5))
    spec = FieldSpec.of("rbf", "image", square, kernels=40, levels=2, finest=20, **options)
    assert FusedField.of(create(spec, seed=0)) is None


def test_a_size_that_bytes_sets_has_a_fused_kernel(native_form):
    """The largest rank of cp that `--bytes` tries is the largest that the kernel takes."""
    kind = architecture("cp")
    fused = [
        FusedField.of(create(FieldSpec.of("cp", "radiance", BOX, resolution=8, rank=rank)))
        for rank in (kind.size_limit, kind.size_limit + kind.size_step)
    ]
    assert fused[0] is not None and fused[1] is None


def test_rays_that_meet_nothing(exact_form):
    field, sampler = made("box"), sampler_of(BOX, exact_form)
    away = Rays(torch.full((5, 3), 4.0), torch.nn.functional.normalize(torch.ones(5, 3), dim=1))
    fused = FusedField.of(field)
    target, background = torch.zeros(5, 4), torch.full((5, 3), 0.5)
    figures, errors = fused.train(away, torch.zeros(5), sampler, target, background, HUBER)
    assert not errors.any()
    assert figures["evaluated"] == figures["shaded"] == 0 and figures["loss"] == 0
    assert all(not p.grad.any() for p in field.parameters())


def test_gradients_that_are_not_finite_are_told(exact_form):
    field, sampler = made("box"), sampler_of(BOX, exact_form)
    with torch.no_grad():
        field.colour.weights[0][0, 0] = float("nan")
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


@pytest.mark.parametrize("where", ["table", "density"])
def test_nan_in_a_field_is_told_by_steps_and_pictures(exact_form, where):
    """It would be empty space: the maximum with the clamp's low end drops NaN."""
    field, sampler = made("box"), sampler_of(BOX, exact_form)
    fused = FusedField.of(field)
    assert fused.render(rays(50), torch.zeros(50), sampler)[0].get("finite", True)
    with torch.no_grad():
        tensor = field.encoding.tables[0] if where == "table" else field.trunk.layers.weights[0]
        tensor.view(-1)[: 8 if where == "density" else 4000] = float("nan")
    fused.refresh()
    ones = torch.ones(50, 4)
    assert not fused.train(rays(50), torch.zeros(50), sampler, ones, ones[:, :3] * 0, HUBER)[0]["finite"]
    assert not fused.render(rays(50), torch.zeros(50), sampler)[0]["finite"]
