"""The fused kernel at points against the general path: values, losses and gradients of every part and measure."""

import pytest
import torch

from polyfield import _core
from polyfield.fields import Domain, FieldSpec, Meaning, Points, StoredField, create
from polyfield.fitting.losses import Term, total
from polyfield.kernels import uniform
from polyfield.kernels.dispatch import built
from polyfield.rendering.fused import FusedField

BOX = Domain("box", (0.2, 0.0, -0.1), (1.0, 1.5, 0.7), ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))
SPACE = Domain("contraction", (0.0, 0.1, 0.0), (0.8, 0.8, 0.8))
SQUARE = Domain("box", (0.5, 0.5), (0.5, 0.5))
SMALL = {"levels": 4, "entries": 1 << 12, "finest": 40, "width": 32}
COLOURED = (
    Term("raw", "clamped", 0.5, {"low": -1.0, "high": 2.0}),
    Term("colour", "huber", 2.0, {"delta": 0.2}),
    Term("features", "squares", 0.1),
)
# Signal, architecture, domain, channels, options, loss.
FIELDS = {
    "radiance": ("radiance", "hashgrid", BOX, 3, SMALL, COLOURED),
    "density alone": ("radiance", "hashgrid", SPACE, 3, SMALL, COLOURED[:1]),
    "radiance of a network": ("radiance", "mlp", BOX, 3, {"frequencies": 3, "width": 48}, COLOURED[1:]),
    "voxels": ("radiance", "voxels", BOX, 3, {"rows": 4000, "nodes": 32}, COLOURED),
    "density of voxels": ("radiance", "voxels", BOX, 3, {"rows": 4000, "nodes": 32}, COLOURED[:1]),
    "picture of voxels": ("image", "voxels", SQUARE, 3, {"rows": 400}, (Term("raw", "squares"),)),
    "distance of voxels": ("sdf", "voxels", BOX, 1, {"rows": 400}, (Term("raw", "relative"),)),
    "picture": ("image", "hashgrid", SQUARE, 3, SMALL, (Term("raw", "squares"),)),
    "tables of any size": (
        "image",
        "hashgrid",
        SQUARE,
        3,
        SMALL | {"entries": 500},
        (Term("raw", "squares"),),
    ),
    "picture of a network": (
        "image",
        "mlp",
        SQUARE,
        1,
        {"frequencies": 4, "width": 32},
        (Term("raw", "squares"),),
    ),
    "modulated picture": (
        "image",
        "cam",
        SQUARE,
        3,
        {"frequencies": 3, "width": 32, "nodes": 7},
        (Term("raw", "squares"),),
    ),
    "radiance of radial basis functions": (
        "radiance",
        "rbf",
        BOX,
        3,
        {"kernels": 200, "levels": 2, "coarsest": 5, "finest": 20, "width": 32},
        COLOURED,
    ),
    "picture of radial basis functions": (
        "image",
        "rbf",
        SQUARE,
        3,
        {"kernels": 200, "levels": 2, "coarsest": 5, "finest": 20, "width": 32, "features": 7},
        (Term("raw", "squares"),),
    ),
    "distance of linear radial basis functions": (
        "sdf",
        "rbf",
        BOX,
        1,
        {"kernels": 200, "levels": 3, "grid_features": 1, "width": 32, "shape": "linear", "features": 8},
        (Term("raw", "relative"),),
    ),
    "modulated radiance": ("radiance", "cam", BOX, 3, {"frequencies": 3, "width": 48, "nodes": 6}, COLOURED),
    "distance in a hash grid": ("sdf", "hashgrid", BOX, 1, SMALL, (Term("raw", "relative"),)),
    "distance": ("sdf", "triplane", BOX, 1, {"resolution": 20, "features": 8}, (Term("raw", "relative"),)),
    "occupancy": (
        "occupancy",
        "kplanes",
        BOX,
        1,
        {"levels": 2, "coarsest": 6, "finest": 20},
        (Term("raw", "entropy"),),
    ),
    "volume": ("volume", "cp", BOX, 17, {"resolution": 24, "rank": 96, "width": 32}, (Term("raw", "huber"),)),
    "factors": (
        "volume",
        "vm",
        BOX,
        2,
        {"resolution": 24, "rank": 12, "layers": 0},
        (Term("raw", "squares"),),
    ),
}
# Tables are read in half precision, and with bfloat16 activations have 8 bits.
TOLERANCES = {
    "native-generic": 1e-4,
    "native-avx2": 2e-2,
    "native-avx512": 2e-2,
    "native-avx512bf16": 2e-1,
    "cuda-float32": 1e-3,
    "cuda-float16": 5e-2,
}
ON_GPU = ("radiance", "density alone", "distance in a hash grid")  # one table over all three axes


def made(name: str) -> tuple[StoredField, tuple[Term, ...]]:
    signal, architecture, domain, channels, options, loss = FIELDS[name]
    meaning = Meaning.of(signal, domain, channels=channels)
    field = create(FieldSpec(architecture, meaning, options), seed=3)
    if architecture == "voxels":  # sparse where it is radiance
        field.advance(1.0, uniform((1, 8, 8, 8), seed=5, stream="rows") < 0.1)
    with torch.no_grad():
        for key, parameter in field.named_parameters():
            numbers = uniform(parameter.shape, seed=1, stream=key) * 2 - 1
            parameter.copy_(numbers * (1.0 if "tables" in key else 2.2 / parameter.shape[-1] ** 0.5))
    return field, loss


def inputs(field: StoredField, count: int) -> tuple[Points, dict[str, torch.Tensor]]:
    domain = field.meaning.domain
    unit = uniform((count, domain.dimensions), seed=1, stream="x") * 0.96 + 0.02
    towards = torch.nn.functional.normalize(uniform((count, 3), seed=2, stream="d") - 0.5, dim=1)
    directions = towards if field.meaning.kind.directional else None
    points = Points(domain.from_unit(unit), directions)
    features = field.features(points)
    widths = {"raw": features.vector.shape[1]}
    if directions is not None:
        widths = {"raw": 1, "features": features.vector.shape[1], "colour": 3}
    return points, {name: uniform((count, n), seed=4, stream=name) * 2 - 0.5 for name, n in widths.items()}


def general(field: StoredField, points: Points, targets: dict, loss: tuple[Term, ...]) -> torch.Tensor:
    features = field.features(points)
    values = {"features": features.vector, "raw": features.vector}
    if points.directions is not None:
        values["raw"] = features.raw[:, None]
        values["colour"] = field.head(features, points).colour
    return total(
        loss, {name: (values[name], wanted) for name, wanted in targets.items() if name in values}, 0.0
    )


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("count", [9, 700])
def test_a_step(name, count, native_form, monkeypatch):
    one_step(name, count, native_form, monkeypatch)


@pytest.mark.skipif(not built("cuda"), reason="Triton is not installed")
@pytest.mark.parametrize("name", ON_GPU)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_step_on_a_gpu(name, precision, monkeypatch):
    monkeypatch.setenv("POLYFIELD_PRECISION", precision)
    one_step(name, 40, f"cuda-{precision}", monkeypatch)


def one_step(name, count, fused_form, monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", fused_form.partition("-")[0])
    field, loss = made(name)
    points, targets = inputs(field, count)
    fused = FusedField.of(field)
    assert fused
    figures, errors = fused.train_points(
        points, targets, [(t.part, t.measure, t.weight_at(0), t.settings) for t in loss]
    )
    found = {key: None if p.grad is None else p.grad.clone() for key, p in field.named_parameters()}
    field.zero_grad()
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    expected = general(field, points, targets, loss)
    expected.backward()
    assert figures["finite"] and figures["shaded"] == count and errors.shape == (count,)
    assert figures["loss"] == pytest.approx(float(expected.detach()), rel=TOLERANCES[fused_form])
    for key, parameter in field.named_parameters():
        if parameter.grad is None:
            assert found[key] is None, key
            continue
        scale = parameter.grad.norm()
        assert scale > 0 or name == "density of voxels", key
        assert (found[key] - parameter.grad).norm() <= TOLERANCES[fused_form] * scale, key


@pytest.mark.parametrize("name", FIELDS)
def test_values(name, native_form, monkeypatch):
    values_agree(name, native_form, monkeypatch)


@pytest.mark.skipif(not built("cuda"), reason="Triton is not installed")
@pytest.mark.parametrize("name", ON_GPU)
def test_values_on_a_gpu(name, monkeypatch):
    monkeypatch.setenv("POLYFIELD_PRECISION", "float32")
    values_agree(name, "cuda-float32", monkeypatch)


def values_agree(name, fused_form, monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", fused_form.partition("-")[0])
    field, _ = made(name)
    points, _ = inputs(field, 60)
    fused = FusedField.of(field)
    latent, colour = fused.evaluate(points)
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    features = field.features(points)
    tolerance = TOLERANCES[fused_form]
    assert (latent - features.vector).norm() < tolerance * features.vector.norm()
    if points.directions is None:
        assert colour is None
    else:
        expected = field.head(features, points).colour
        assert (colour - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize(
    "name", ["radiance", "picture", "factors", "voxels", "picture of radial basis functions"]
)
def test_any_number_of_threads_gives_the_same_bytes(name, native_form, monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", "native")
    field, loss = made(name)
    points, targets = inputs(field, 1500)
    terms = [(term.part, term.measure, term.weight_at(0), term.settings) for term in loss]
    fused, before = FusedField.of(field), _core.threads()
    found = []
    try:
        for threads in (1, 2, 5):
            _core.set_threads(threads)
            fused.train_points(points, targets, terms)
            found.append([parameter.grad.clone() for parameter in field.parameters()])
    finally:
        _core.set_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
