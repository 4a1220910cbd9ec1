"""Fields: every architecture through the one query, its blocks, its plan and its spec."""

import itertools
import re
from typing import Any

import pytest
import torch

from polyfield.errors import PolyfieldError
from polyfield.fields import (
    ARCHITECTURES,
    SIGNALS,
    Domain,
    Field,
    FieldOutput,
    FieldSpec,
    Meaning,
    Points,
    StoredField,
    architecture,
    create,
)
from polyfield.fields.parts.directions import spherical_harmonics
from polyfield.fields.parts.frequency import frequency_code
from polyfield.fields.plan import Harmonics, RadialColours
from polyfield.kernels import interpolate, mlp, nearest, rbf

BOX = Domain("box", (0.5, 0.0, -1.0), (1.5, 1.0, 2.0))
FLAT = Domain("box", (0.5, 0.5), (0.5, 0.5))
EVERY_PAIR = list(itertools.product(ARCHITECTURES, SIGNALS))
CHANNELS = {"image": 4, "video": 3, "volume": 2}
SMALL = {
    "hashgrid": {"levels": 3, "entries": 1 << 8, "finest": 40},
    "densegrid": {"levels": 2, "coarsest": 4, "finest": 9},
    "triplane": {"resolution": 12, "features": 8, "frequencies": 3},
    "kplanes": {"levels": 2, "coarsest": 5, "finest": 12, "features": 8},
    "vm": {"resolution": 12, "rank": 8},
    "cp": {"resolution": 12, "rank": 12},
    "voxels": {"rows": 800, "nodes": 12},
    "mlp": {"width": 16, "layers": 2},
    "rbf": {"kernels": 40, "levels": 2, "entries_per_kernel": 4, "finest": 24},
    "cam": {"width": 16, "layers": 2, "nodes": 4},
}


def meaning_of(signal: str, moving: bool = False) -> Meaning:
    domain = FLAT if SIGNALS[signal].dimensions == 2 else BOX
    return Meaning.of(signal, domain, channels=CHANNELS.get(signal), moving=moving)


def refusal(name: str, signal: str) -> str | None:
    return architecture(name).refusal(meaning_of(signal))


PAIRS = [pair for pair in EVERY_PAIR if refusal(*pair) is None]


def field_of(name: str, signal: str, seed: int = 0, *, moving: bool = False, **options: Any) -> StoredField:
    spec = FieldSpec(name, meaning_of(signal, moving), SMALL[name] | options)
    field = create(spec, seed=seed)
    for parameter in field.encoding.parameters():  # tables that begin all but empty would say nothing
        parameter.data *= 1e3 if parameter.abs().max() < 1e-2 else 1
    for key, parameter in field.named_parameters():
        if key.endswith("modulation.grid"):  # it begins as an identity
            parameter.data += torch.rand(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.3
    return field


def points(signal: str = "radiance", count: int = 64) -> tuple[torch.Tensor, torch.Tensor | None]:
    rng = torch.Generator().manual_seed(1)
    domain = FLAT if SIGNALS[signal].dimensions == 2 else BOX
    x = domain.to_world(torch.rand(count, domain.dimensions, generator=rng) * 2 - 1)
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=rng), dim=-1)
    return x, directions if signal == "radiance" else None


def times_of(field: Field, x: torch.Tensor) -> torch.Tensor | None:
    """A time for every point, of a moving field."""
    return (x.sum(-1) * 7).frac().abs() if field.meaning.moving else None


def values(output: FieldOutput) -> list[torch.Tensor]:
    """What a query gave that means something, (N,) or (N, C) each."""
    found = (output.density, output.distance, output.occupancy, output.colour)
    return [value for value in found if value is not None]


def test_every_architecture_carries_every_signal_or_says_why_not():
    for name, signal in EVERY_PAIR:
        why = refusal(name, signal)
        assert why is None or "\n" not in why
        if why:
            words = f"{name} cannot store {signal} fields: {why}"
            with pytest.raises(PolyfieldError, match=re.escape(words)):
                field_of(name, signal)
    assert {pair for pair in EVERY_PAIR if pair not in PAIRS} == {
        ("vm", "image"),
        ("voxels", "video"),
        ("rbf", "video"),
    }


@pytest.mark.parametrize("architecture, signal", PAIRS)
class TestEveryPair:
    def test_the_query_is_its_blocks(self, architecture, signal):
        field, (x, directions) = field_of(architecture, signal), points(signal)
        whole = field.query(x, directions, times_of(field, x))
        at = Points(x, directions, times_of(field, x))
        for found, value in zip(values(field.head(field.features(at), at)), values(whole), strict=True):
            torch.testing.assert_close(found, value)
        if field.meaning.channels == 1 or signal == "radiance":
            torch.testing.assert_close(field.raw(at), whole.raw)
        else:
            with pytest.raises(PolyfieldError, match=f"raw_at: this {signal} field has"):
                field.raw(at)

    def test_values_are_what_the_signal_says(self, architecture, signal):
        field, (x, directions) = field_of(architecture, signal), points(signal)
        output = field.query(x, directions, times_of(field, x))
        given = {
            name: tuple(value.shape)
            for name, value in vars(output).items()
            if value is not None and name not in ("raw", "features")
        }
        if signal == "radiance":
            assert given == {"density": (64,), "colour": (64, 3)}
            assert (output.density >= 0).all()
            assert ((output.colour >= 0) & (output.colour <= 1)).all()
            torch.testing.assert_close(field.density(output.raw), output.density)
        elif signal in CHANNELS:
            assert given == {"colour": (64, CHANNELS[signal])}
        else:
            assert given == {SIGNALS[signal].output: (64,)}
            torch.testing.assert_close(field.meaning.transform(output.raw), values(output)[0])
        if signal == "udf":
            assert (output.distance >= 0).all()
        if signal == "occupancy":
            assert ((output.occupancy >= 0) & (output.occupancy <= 1)).all()

    def test_points_are_independent(self, architecture, signal):
        field, (x, directions) = field_of(architecture, signal), points(signal)
        some = None if directions is None else directions[5:9]
        for whole, part in zip(
            values(field.query(x, directions, times_of(field, x))),
            values(field.query(x[5:9], some, times_of(field, x[5:9]))),
        ):
            torch.testing.assert_close(whole[5:9], part)

    def test_no_points(self, architecture, signal):
        field, (x, directions) = field_of(architecture, signal), points(signal, 0)
        output = field.query(x, directions, times_of(field, x))
        assert all(len(value) == 0 for value in values(output))

    def test_every_parameter_is_in_one_group_and_gets_a_gradient(self, architecture, signal):
        field, (x, directions) = field_of(architecture, signal), points(signal)
        names = [name for group in field.parameter_groups() for name in group.parameters]
        assert sorted(names) == sorted(name for name, _ in field.named_parameters())
        output = field.query(x, directions, times_of(field, x))
        sum(value.square().sum() for value in [output.raw, output.colour] if value is not None).backward()
        for name, parameter in field.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name

    def test_the_seed_alone_decides_the_parameters(self, architecture, signal):
        one, same, other = (
            dict(field_of(architecture, signal, seed).named_parameters()) for seed in (3, 3, 4)
        )
        assert all(torch.equal(one[name], same[name]) for name in one)
        # Factors over time begin at 1.
        assert all(not torch.equal(one[name], other[name]) for name in one if (one[name] != 1).any())

    def test_spec_and_tensors_are_the_field(self, architecture, signal):
        field, (x, directions) = field_of(architecture, signal), points(signal)
        again = create(FieldSpec.from_json(field.spec.to_json()), seed=9)
        assert again.spec == field.spec
        again.load_state_dict(field.state_dict())
        times = times_of(field, x)
        for found, value in zip(
            values(again.query(x, directions, times)), values(field.query(x, directions, times))
        ):
            torch.testing.assert_close(found, value)

    def test_size_is_counted(self, architecture, signal):
        field = field_of(architecture, signal)
        tensors = field.state_dict().items()
        assert field.parameter_count() == sum(p.numel() for p in field.parameters())
        halves = ("table", "kernels")
        sizes = [(t.numel(), 2 if any(part in name for part in halves) else 4) for name, t in tensors]
        assert field.stored_bytes() == sum(count * size for count, size in sizes)

    def test_wrong_shapes_are_refused(self, architecture, signal):
        field, (x, directions) = field_of(architecture, signal), points(signal)
        bad = [(x[:, :1], directions, None), (x, torch.zeros(64, 2), None), (x, directions, torch.zeros(3))]
        if directions is not None:
            bad.append((x, None, None))
        for given in bad:
            with pytest.raises(PolyfieldError, match="query: "):
                field.query(*given)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_density_does_not_see_the_direction(architecture):
    field, (x, directions) = field_of(architecture, "radiance"), points()
    assert directions is not None
    torch.testing.assert_close(field.query(x, directions).density, field.query(x, -directions).density)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_plan_says_all_that_a_fused_step_needs(architecture):
    """The plan's data, put through the kernels alone, gives the field's own values and gradients."""
    field, (x, directions) = field_of(architecture, "radiance"), points()
    plan = field.plan()
    assert plan is not None
    unit, codes = plan.meaning.domain.to_unit(x), []
    for group in plan.groups:
        parts = torch.stack([interpolate(f.table, unit[:, list(f.axes)], f.levels) for f in group])
        codes.append(parts.sum(0) if plan.summed else parts.prod(0))
    if plan.frequencies is not None:
        codes.append(frequency_code(unit, plan.frequencies))
    code = torch.cat(codes, 1)
    latent = code
    if plan.trunk.weights:
        modulation = None
        if plan.trunk.modulation is not None:
            shape = len(plan.trunk.weights) - 1, 2, -1
            modulation = plan.trunk.modulation(unit).unflatten(-1, shape)
        latent = mlp(
            code,
            plan.trunk.weights,
            plan.trunk.biases or None,
            modulation=modulation,
            normed=plan.trunk.normed,
        )
    density = plan.meaning.transform(latent[:, 0]) / plan.meaning.domain.density_unit
    harmonics = spherical_harmonics(directions, plan.head.degree)
    if isinstance(plan.head, Harmonics):
        count = plan.head.degree**2
        for order in (1, 2):
            harmonics[:, order**2 : (order + 1) ** 2] /= (order + 1) ** 2
        parts = [latent[:, 1 + c * count : 1 + (c + 1) * count] for c in range(3)]
        colour = torch.stack([(part * harmonics).sum(1) for part in parts], 1).sigmoid()
    else:
        if isinstance(plan.head, RadialColours):
            weights, tree, shapes, linear = plan.head.functions
            near = nearest(tree, unit, 8)
            sums = rbf(weights, unit, near, tree.points, shapes, linear=linear)
            latent = latent + torch.nn.functional.pad(sums, (1, 0))
        colour = mlp(torch.cat((latent, harmonics), 1), plan.head.layers).sigmoid()
    (density.sum() + colour.sum()).backward()
    planned = {name: p.grad.clone() for name, p in field.named_parameters()}
    field.zero_grad()
    output = field.query(x, directions)
    torch.testing.assert_close(density, output.density)
    torch.testing.assert_close(colour, output.colour)
    (output.density.sum() + output.colour.sum()).backward()
    for name, p in field.named_parameters():
        torch.testing.assert_close(p.grad, planned[name], rtol=1e-4, atol=1e-6)


def test_densities_are_per_unit_of_the_sources_length():
    """The same tensors over a domain ten times as large are a tenth as dense, so just as opaque."""
    spec = FieldSpec.of("hashgrid", "radiance", BOX, **SMALL["hashgrid"])
    ten_times = Domain("box", (5.0, 0.0, -10.0), (15.0, 10.0, 20.0))
    large = FieldSpec.of("hashgrid", "radiance", ten_times, **SMALL["hashgrid"])
    x, directions = points()
    one, ten = create(spec).query(x, directions), create(large).query(x * 10, directions)
    torch.testing.assert_close(one.density, ten.density * 10, rtol=1e-3, atol=1e-6)


def test_density_is_clamped_and_gradients_pass():
    field = field_of("hashgrid", "radiance")
    raw = torch.tensor([-50.0, 0.0, 50.0], requires_grad=True)
    density = field.density(raw)
    assert torch.isfinite(density).all() and (density > 0).all()
    density.sum().backward()
    assert (raw.grad > 0).all()
    back = field.meaning.transform.inverse(field.meaning.transform(torch.tensor([-3.0, 2.0])))
    torch.testing.assert_close(back, torch.tensor([-3.0, 2.0]))


def test_spherical_harmonics_are_orthonormal():
    """Their products integrate to 1 or 0 over the sphere, and the first ones are what they should be."""
    count = 20_000
    z = (torch.arange(count, dtype=torch.float64) + 0.5) / count * 2 - 1
    angle = torch.arange(count, dtype=torch.float64) * 2.399963229728653
    flat = (1 - z * z).sqrt()
    directions = torch.stack((flat * angle.cos(), flat * angle.sin(), z), 1)
    values = spherical_harmonics(directions, 5)
    product = values.T @ values * (4 * torch.pi / count)
    torch.testing.assert_close(product, torch.eye(25, dtype=torch.float64), atol=2e-3, rtol=0)
    expected = (
        torch.stack((directions[:, 1], directions[:, 2], directions[:, 0]), 1) * (3 / (4 * torch.pi)) ** 0.5
    )
    torch.testing.assert_close(values[:, 1:4], expected)
    torch.testing.assert_close(values[:, 6], (5 / (16 * torch.pi)) ** 0.5 * (3 * z * z - 1))
    poles = spherical_harmonics(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]), 5)
    assert torch.isfinite(poles).all()


def test_hash_grid_parameter_count_is_the_published_one():
    """instant-ngp, L = 8, F = 4, T = 2^19, 16 to 2048: 11.68 M in the table (our levels round to whole nodes)."""
    options = {"levels": 8, "features": 4, "entries": 1 << 19, "finest": 2048}
    field = create(FieldSpec.of("hashgrid", "radiance", BOX, **options))
    table = field.encoding.tables[0].numel()
    assert abs(table - 11.68e6) < 0.02e6
    networks = field.parameter_count() - table
    assert networks == 32 * 64 + 64 * 16 + 32 * 64 + 64 * 64 + 64 * 3


@pytest.mark.parametrize(
    "change, words",
    [
        ({"architecture": "octree"}, "architecture 'octree' is unknown"),
        ({"options": {"levles": 3}}, "option 'levles' is unknown"),
        ({"options": {"levels": 0}}, "option levels is 0"),
        ({"options": {"levels": True}}, "option levels is True"),
        ({"options": []}, "options is []; expected an object"),
        ({"meaning": []}, "meaning: found list"),
        ({"meaning": {"channels": "3"}}, "meaning: found ['channels']"),
        ({"extra": 1}, "expected an object with the keys"),
    ],
)
def test_bad_specs_are_refused_in_one_line(change, words):
    data = {**field_of("hashgrid", "radiance").spec.to_json(), **change}
    with pytest.raises(PolyfieldError) as error:
        create(FieldSpec.from_json(data))
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"signal": "smell"}, "signal 'smell' is unknown"),
        ({"signal": 3}, "signal is 3"),
        ({"channels": 2}, "channels is 2; expected 3 for the signal 'radiance'"),
        ({"channels": True}, "channels is True"),
        ({"moving": 1}, "moving is 1"),
        ({"signal": "video", "channels": 3, "domain": FLAT.to_json()}, "moving is false; expected true"),
        ({"domain": {"centre": 3}}, "centre is 3"),
        ({"domain": {"rotation": [[1]]}}, "rotation"),
        ({"domain": {"rotation": 1}}, "rotation is 1; expected a square matrix"),
        ({"domain": {"kind": "ball"}}, "kind 'ball' is unknown"),
        ({"domain": {"origin": [0, 0]}}, "origin"),
        ({"domain": {"centre": [0], "half_size": [1], "origin": [0]}}, "1 dimensions; expected 3"),
        ({"domain": []}, "domain is []; expected an object with the keys"),
        ({"transform": {"function": "exp", "clamp": [5, -5]}}, "transform"),
        ({"transform": {"function": "exp", "clamp": [-1e4, 1e4]}}, "transform"),
    ],
)
def test_a_bad_meaning_is_refused_in_one_line(change, words):
    data = field_of("hashgrid", "radiance").spec.to_json()
    for key, value in change.items():
        whole = isinstance(value, dict) and key == "domain"
        data["meaning"][key] = {**data["meaning"][key], **value} if whole else value
    with pytest.raises(PolyfieldError) as error:
        create(FieldSpec.from_json(data))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_what_is_abstract_must_be_there():
    class NoHead(Field):
        def features(self, points):
            return None

    with pytest.raises(TypeError, match="abstract"):
        NoHead()

    class NoLife(StoredField):
        def features(self, points):
            return None

        def head(self, features, points):
            return None

    with pytest.raises(TypeError, match="abstract"):
        NoLife(field_of("mlp", "sdf").spec)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in ("vm", "voxels", "rbf")])
class TestMoving:
    def test_values_depend_on_the_time(self, name):
        field, (x, directions) = field_of(name, "radiance", moving=True), points()
        # Factors over time begin at 1, which is a scene at rest.
        for table in getattr(field.encoding, "tables", ()):
            table.data += torch.rand(table.shape, generator=torch.Generator().manual_seed(2)) * 0.5
        early, late = (field.query(x, directions, torch.full((64,), time)) for time in (0.1, 0.9))
        assert not torch.allclose(early.density, late.density) and not torch.allclose(
            early.colour, late.colour
        )
        times = torch.linspace(0, 1, 64)
        every = field.query(x, directions, times)
        some = field.query(x[5:9], directions[5:9], times[5:9])
        torch.testing.assert_close(every.density[5:9], some.density)

    def test_times_are_asked_for(self, name):
        field, (x, directions) = field_of(name, "radiance", moving=True), points()
        with pytest.raises(PolyfieldError, match="moving field needs times"):
            field.query(x, directions)


def test_vm_refuses_a_fourth_axis():
    with pytest.raises(PolyfieldError, match="vm cannot store moving radiance fields: it needs three axes"):
        field_of("vm", "radiance", moving=True)


@pytest.mark.parametrize("name, signal", PAIRS)
def test_a_bank_of_fields_is_its_fields(name, signal):
    """Parameters with a leading axis are many fields at once: encoding, trunk and head index from the last axis."""
    fields = [field_of(name, signal, seed) for seed in range(3)]
    x, directions = points(signal)
    bank = field_of(name, signal)
    for parameter, own in zip(bank.parameters(), zip(*(field.parameters() for field in fields))):
        parameter.data = torch.stack([tensor.detach() for tensor in own])
    buffers = list(zip(*(field.buffers() for field in fields)))
    if any(not torch.equal(one, other) for one, other, _ in buffers):  # structure that is equal is shared
        for buffer, own in zip(bank.buffers(), buffers):
            buffer.data = torch.stack(own)
    others = None if directions is None else directions.expand(3, -1, -1)
    times = times_of(bank, x)
    at = Points(
        x.expand(3, -1, -1).contiguous(),
        None if others is None else others.contiguous(),
        None if times is None else times.expand(3, -1).contiguous(),
    )
    found = bank.head(bank.features(at), at)
    for number, field in enumerate(fields):
        for value, own in zip(values(found), values(field.query(x, directions, times)), strict=True):
            torch.testing.assert_close(value[number], own)


def test_an_origin_is_subtracted_once_whatever_is_evaluated():
    """A field far from zero answers at the source's coordinates as its twin at zero does, by every query."""
    far = Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), origin=(5e5, 4e6, 100.0))
    near = Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    options = SMALL["hashgrid"]
    one, other = (
        create(FieldSpec.of("hashgrid", "sdf", domain, **options), seed=1) for domain in (near, far)
    )
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
    there = x.double() + torch.tensor(far.origin, dtype=torch.float64)
    torch.testing.assert_close(other.raw_at(there), one.raw_at(x))
    torch.testing.assert_close(other.query(there).distance, one.query(x).distance)
    volumes = [
        create(FieldSpec.of("hashgrid", "volume", domain, **options), seed=1) for domain in (near, far)
    ]
    torch.testing.assert_close(volumes[1].colour_at(there), volumes[0].colour_at(x))
    assert other.meaning != one.meaning
    torch.testing.assert_close(far.to_source(far.from_source(there)), there, rtol=0, atol=1e-6)
