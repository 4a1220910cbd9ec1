"""Sizes of fields: the largest within a number of bytes, a source's own size, and fits that are too large for memory."""

import dataclasses
import math

import numpy as np
import pytest

from polyfield.data.pictures import Picture
from polyfield.errors import PolyfieldError
from polyfield.fields import ARCHITECTURES, Domain, FieldSpec, Meaning
from polyfield.fields.context import FieldContext
from polyfield.fields.registry import architecture
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks import task as task_module
from polyfield.fitting.tasks.picture_task import PictureTask
from polyfield.fitting.tasks.sizing import stored_bytes, suited
from polyfield.progress import silent

CUBE = Domain("box", (0.0,) * 3, (1.0,) * 3)


def picture_task(width: int, height: int, channels: int = 3) -> PictureTask:
    values = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return PictureTask(Picture("noise", values, False, 255.0, "a picture", "00"), 1)


def config(**more) -> FitConfig:
    return FitConfig("x", "hashgrid", steps=2, device="cpu", signal="image", **more)


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("field", ARCHITECTURES)
def test_the_largest_that_fits(field, bits):
    spec = dataclasses.replace(FieldSpec.of(field, "sdf", CUBE), bits=bits)
    below_limits = {"mlp": 10_000 if bits else 30_000, "cp": 200_000}
    size = below_limits.get(field, 500_000)
    found = suited(spec, None, size)
    assert stored_bytes(found) <= size
    if field in ("hashgrid", "rbf"):
        assert stored_bytes(found) > 0.99 * size
    option, kind = next(key for key in found.options), architecture(field)
    more = found.options[option] + kind.size_step
    larger = dataclasses.replace(found, options={option: more})
    assert stored_bytes(larger) > size


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "vm cannot store image fields: it needs three axes, but the field has 2; use cp"),
        ({"resolution": 8}, "vm cannot store image fields"),
    ],
)
def test_what_is_wrong_beside_the_size_is_said_first(options, words):
    spec = FieldSpec("vm", Meaning.of("image", Domain("box", (0.5, 0.5), (0.5, 0.5))), options)
    with pytest.raises(PolyfieldError, match=words):
        suited(spec, None, 100_000)


@pytest.mark.parametrize("name, size", [("mlp", 500_000), ("cp", 4_000_000)])
def test_none_is_larger_than_its_architectures_limit(name, size):
    kind = architecture(name)
    options = suited(FieldSpec.of(name, "sdf", CUBE), None, size).options
    assert options[kind.size_option] == kind.size_limit


def test_given_options_stay():
    spec = FieldSpec.of("cp", "sdf", CUBE, resolution=50)
    found = suited(spec, None, 100_000)
    assert found.options["resolution"] == 50 and 85_000 < stored_bytes(found) <= 100_000
    fixed = dataclasses.replace(spec, options={"rank": 96})
    with pytest.raises(
        PolyfieldError, match="--bytes 1000: cp needs .* omit the option 'rank', or give more bytes"
    ):
        suited(fixed, None, 1000)
    with pytest.raises(PolyfieldError, match="--bytes 100: the smallest cp needs"):
        suited(spec, None, 100)


def test_a_picture_gets_a_field_no_larger_than_itself():
    task = picture_task(512, 256)
    made = task.begin(config(), silent).field
    assert 0.2 * 512 * 256 * 3 < made.stored_bytes() <= 512 * 256 * 3
    asked = task.begin(config(bytes=100_000), silent).field
    assert 30_000 < asked.stored_bytes() <= 100_000


def test_8_bits_make_files_smaller_or_with_bytes_fields_larger():
    task = picture_task(512, 256)
    plain, eight = (task.begin(config(bits=bits), silent).field for bits in (None, 8))
    assert plain.parameter_count() == eight.parameter_count()
    assert eight.stored_bytes() < 0.51 * plain.stored_bytes()
    plain, eight = (task.begin(config(bits=bits, bytes=100_000), silent).field for bits in (None, 8))
    assert eight.parameter_count() > 1.5 * plain.parameter_count() and eight.stored_bytes() <= 100_000


@pytest.mark.parametrize("width, height, channels", [(1, 1, 3), (9, 7, 1), (32, 32, 3)])
def test_a_tiny_picture_gets_the_smallest_field(width, height, channels):
    task = picture_task(width, height, channels)
    fit = task.begin(config(), silent)
    fit.step()
    assert math.isfinite(task.measure(fit.field, FieldContext(), silent).figures["psnr"])


def test_too_large_a_fit_is_refused(monkeypatch):
    task, asked = picture_task(40, 24), config(options={"levels": 4, "entries": 1 << 12})
    assert task.memory(asked).rest > 1e8
    monkeypatch.setattr(task_module, "available", lambda: 1e8)
    with pytest.raises(PolyfieldError, match="noise: the fit needs about .*; use a smaller --bytes"):
        task.memory(asked)
