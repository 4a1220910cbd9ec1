"""Field files: what is loaded is what was saved, and anything else is refused in one line."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251 - makes what polyfield must refuse
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from polyfield.errors import PolyfieldError
from polyfield.fields.context import FieldContext
from polyfield.fields.domain import Domain
from polyfield.fields.field_file import load_field, save_field
from polyfield.fields.registry import create
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import StoredField
from polyfield.files.tensors import read_tensors, tensors_to_bytes

ROTATION = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
OPTIONS = {"levels": 2, "entries": 1 << 9, "coarsest": 4, "finest": 16, "width": 8}


@pytest.fixture(scope="module")
def field() -> StoredField:
    domain = Domain("contraction", (0.1, -2.0, 1e6), (1.0, 2.0, 1 / 3), ROTATION)
    return create(FieldSpec.of("hashgrid", "radiance", domain, **OPTIONS), seed=3)


@pytest.fixture(scope="module")
def context() -> FieldContext:
    occupancy = torch.rand((2, 5, 5, 5), generator=torch.Generator().manual_seed(0)) > 0.5
    cameras = {"centre": [0.1 + 0.2, 1e-300], "count": 3}
    return FieldContext(
        (1.0, 0.5, 0.1), 0.005, 1 / 256, 0.05, occupancy, cameras, {"scene": "ü", "hash": None}
    )


@pytest.fixture
def path(tmp_path, field, context) -> Path:
    save_field(tmp_path / "x.field", field, context)
    return tmp_path / "x.field"


def refused(path: Path, call: Callable[[], Any] | None = None) -> str:
    with pytest.raises(PolyfieldError) as caught:
        load_field(path) if call is None else call()
    message = str(caught.value)
    assert message.startswith(str(path)) and message.isprintable()
    return message


def test_a_field_goes_round(path, field, context):
    loaded, its_context = load_field(path)
    assert type(loaded) is type(field) and loaded.spec == field.spec
    tensors, expected = loaded.stored(), field.stored()
    assert tensors.keys() == expected.keys() == field.state_dict().keys()
    assert {name: tensor.dtype for name, tensor in tensors.items() if "table" in name} == {
        "encoding.tables.0": torch.float16
    }
    table, rounded = field.encoding.tables[0], loaded.encoding.tables[0]
    assert rounded.dtype == torch.float32 and (rounded - table).abs().max() <= 2**-11 * table.abs().max()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in loaded.parameters())
    for key in ("background", "step_size", "cone", "near", "cameras", "source"):
        assert getattr(its_context, key) == getattr(context, key)
    assert its_context.occupancy.dtype == torch.bool and torch.equal(its_context.occupancy, context.occupancy)
    x, directions = torch.randn(50, 3), torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    with torch.no_grad():
        table.copy_(rounded)
    assert torch.equal(loaded.query(x, directions).colour, field.query(x, directions).colour)


def test_numbers_beyond_half_precision_become_its_largest(tmp_path, field):
    with torch.no_grad():
        field.encoding.tables[0][:2] = torch.tensor([[1e9], [-1e9]])
    save_field(tmp_path / "x.field", field, FieldContext())
    loaded, _ = load_field(tmp_path / "x.field")
    assert loaded.encoding.tables[0][:2, 0].tolist() == [65504, -65504]


def test_a_context_without_occupancy_goes_round(tmp_path, field):
    save_field(tmp_path / "x.field", field, FieldContext((0.0, 0.0, 0.0), 1.0, 0.0, 0.0))
    assert load_field(tmp_path / "x.field")[1].occupancy is None


def test_the_same_field_gives_the_same_bytes(path, tmp_path, field, context):
    save_field(tmp_path / "again.field", *load_field(path))
    assert (tmp_path / "again.field").read_bytes() == path.read_bytes()


def test_occupancy_takes_one_bit_a_cell(path):
    tensors, _ = read_tensors(path)
    assert tensors["context.occupancy"].shape == (-(-2 * 5**3 // 8),)


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"background": (0.0, 2.0, 0.0)},
            "background is (0.0, 2.0, 0.0); expected three numbers from 0 to 1",
        ),
        ({"background": (0.0, float("nan"), 0.0)}, "background is"),
        ({"background": (0.0,)}, "background is"),
        ({"step_size": 0.0}, "step_size is 0.0; expected a positive length"),
        ({"step_size": float("inf")}, "step_size is inf"),
        ({"cone": -1.0}, "cone is -1.0"),
        ({"near": float("nan")}, "near is nan"),
        ({"occupancy": torch.zeros(2, 3, 3, 4, dtype=torch.bool)}, "expected bools (K, R, R, R)"),
        ({"occupancy": torch.zeros(2, 3, 3, 3)}, "expected bools (K, R, R, R)"),
    ],
)
def test_a_context_without_sense_is_refused(change, words):
    with pytest.raises(PolyfieldError) as caught:
        FieldContext(**{"background": (0.0, 0.0, 0.0), "step_size": 1.0, "cone": 0.0, "near": 0.0, **change})
    assert words in str(caught.value)


def test_a_save_that_fails_leaves_the_old_file(path, field, context, monkeypatch):
    before = path.read_bytes()
    bad = FieldContext((0.0, 0.0, 0.0), 1.0, 0.0, 0.0, source={"psnr": float("nan")})
    assert "cannot be written as JSON" in refused(path, lambda: save_field(path, field, bad))
    broken = create(field.spec)
    broken.encoding.tables[0].data[0, 0] = float("nan")
    with pytest.raises(PolyfieldError, match="tensor 'field.encoding.tables.0': 1 of"):
        save_field(path, broken, context)
    assert path.read_bytes() == before and os.listdir(path.parent) == ["x.field"]


# -- attacks


def test_a_file_cut_anywhere_is_refused(path):
    data = path.read_bytes()
    for length in [*range(0, len(data), 1000), len(data) - 1]:
        path.write_bytes(data[:length])
        message = refused(path)
        assert "is empty" in message if length == 0 else "cut short" in message


def test_one_flipped_bit_anywhere_is_refused(path):
    data, draw = path.read_bytes(), random.Random(2)
    for place in [*range(64), *draw.sample(range(64, len(data)), 200)]:
        bad = bytearray(data)
        bad[place] ^= 1 << draw.randrange(8)
        path.write_bytes(bad)
        refused(path)


def rewrite(path: Path, tensors: dict[str, Any] | None = None, **metadata: Any) -> None:
    """Change tensors (None takes one out) and metadata, and make the checksum agree."""
    old_tensors, old_metadata = read_tensors(path)
    both: list[dict[str, Any]] = [{**old_tensors, **(tensors or {})}, {**old_metadata, **metadata}]
    data = tensors_to_bytes(*({k: v for k, v in part.items() if v is not None} for part in both))
    path.write_bytes(data)


def plain(path: Path, key: str) -> dict[str, Any]:
    return json.loads(read_tensors(path)[1][key])


@pytest.mark.parametrize(
    "metadata, words",
    [
        ({"format": "other"}, "its format is 'other'; expected 'polyfield-field'"),
        ({"format": None}, "its format is None"),
        (
            {"version": "1"},
            "is a field file of version '1'; this polyfield reads version '2'; use the version of polyfield",
        ),
        ({"version": None}, "version None"),
        ({"spec": None}, "hold no spec"),
        ({"context": None}, "hold no context"),
        ({"spec": "{"}, "spec: line 1: not valid JSON"),
        ({"spec": "[]"}, "field spec: found list"),
        ({"spec": '{"a": NaN}'}, "spec: line 1: found NaN"),
        ({"context": "[]"}, "context is []; expected an object with background"),
        ({"context": '{"a": 1, "a": 1}'}, "occurs twice"),
    ],
)
def test_metadata_of_something_else_are_refused(path, metadata, words):
    rewrite(path, **metadata)
    assert words in refused(path)


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("background", [0, 0], "expected an object with background (three numbers)"),
        ("background", [0, 0, "1"], "expected an object with background"),
        ("background", [0, 0, 7], "background is (0.0, 0.0, 7.0)"),
        ("step_size", True, "context is {"),
        ("step_size", -1, "step_size is -1.0"),
        ("cameras", [], "context is {"),
        ("occupancy", None, "occupancy is None"),
        ("occupancy", [2, 5, 5], "expected torch.uint8 (7,)"),
        ("occupancy", [2, 5, 5, -5], "expected the shape"),
        ("occupancy", [2, 10**6, 10**6, 10**6], "expected torch.uint8 (250000000000000000,)"),
        ("occupancy", [1, 2, 2, 64], "expected bools (K, R, R, R)"),
    ],
)
def test_a_context_of_wrong_kinds_is_refused(path, key, value, words):
    rewrite(path, context=json.dumps({**plain(path, "context"), key: value}))
    assert words in refused(path)


def test_a_missing_occupancy_is_refused(path):
    rewrite(path, {"context.occupancy": None})
    assert "tensor context.occupancy: found nothing; expected torch.uint8 (32,)" in refused(path)


def test_a_renamed_tensor_is_named_with_the_closest(path, field):
    rewrite(path, {"field.encoding.tables.0": None, "field.encoding.tabels.0": field.encoding.tables[0]})
    assert (
        "tensor 'field.encoding.tables.0' is missing; found 'field.encoding.tabels.0' instead; restore the file"
        in refused(path)
    )


def test_missing_extra_and_different_tensors_are_named(path, field):
    data, table = path.read_bytes(), field.encoding.tables[0].detach()
    for tensors, words in [
        ({"field.encoding.tables.0": None}, "tensor 'field.encoding.tables.0' is missing; restore"),
        ({"field.more": table}, "tensor 'field.more' does not belong to this field; expected field."),
        ({"encoding.tables.0": table}, "tensor 'encoding.tables.0' does not belong to this field"),
        (
            {"field.encoding.tables.0": table[1:]},
            f"torch.float32 ({len(table) - 1}, 4); expected torch.float16",
        ),
        (
            {"field.encoding.tables.0": table.double()},
            f"torch.float64 {tuple(table.shape)}; expected torch.float16",
        ),
    ]:
        path.write_bytes(data)
        rewrite(path, tensors)
        assert words in refused(path)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"entries": 1 << 31, "finest": 1000}, "expected a whole number from 1 to 67108864"),
        ({"layers": 1_000_000}, "expected a whole number from 0 to 16"),
        ({"entries": 1 << 26, "finest": 60_000, "levels": 32, "features": 8}, "parameters"),
        ({"entries": 1 << 26, "finest": 1000}, "by the description of the field in this file"),
        ({"levels": 3}, "by the description of the field in this file"),
        ({"levels": "2"}, "expected a whole number"),
        ({"other": 2}, "option 'other' is unknown"),
    ],
)
def test_a_spec_of_another_or_an_absurd_field_is_refused_before_memory_is_taken(path, change, words):
    spec = plain(path, "spec")
    rewrite(path, spec=json.dumps({**spec, "options": {**spec["options"], **change}}))
    peak = peak_memory()
    assert words in refused(path)
    assert peak_memory() - peak < 100 << 20


def peak_memory() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def test_pickles_are_never_opened(tmp_path):
    bird, path = tmp_path / "bird", tmp_path / "x.field"

    class Canary:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(bird),)

    path.write_bytes(pickle.dumps(Canary()))
    assert "is a pickle" in refused(path)
    torch.save(Canary(), path)
    assert "is a pickle" in refused(path)
    assert not bird.exists()


def test_a_folder_and_an_absent_file_are_refused(tmp_path):
    assert "a folder, a device or a pipe" in refused(tmp_path)
    assert "no such file" in refused(tmp_path / "x.field")
