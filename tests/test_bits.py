"""8 bits: files of whole numbers with scales, fits that end with such numbers, and sizes."""

import dataclasses
import itertools
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ball_scene import BOX, SPEC, finished, new_fit
from test_field_file import refused, rewrite
from test_fields import field_of

import polyfield
from polyfield.errors import PolyfieldError
from polyfield.fields import ARCHITECTURES, FieldSpec, StoredField, create
from polyfield.fields.context import FieldContext
from polyfield.fields.field_file import load_field, save_field
from polyfield.fields.quantised import FEWEST, dequantised, quantised
from polyfield.files.tensors import read_tensors, tensors_to_bytes
from polyfield.fitting.tasks.sizing import stored_bytes


def eight(name: str) -> StoredField:
    """Return a small field of 8 bits, and with tables and layers that are large enough to be quantised."""
    field = field_of(name, "radiance", **({} if name == "voxels" else {"width": 24}))
    field.spec = dataclasses.replace(field.spec, bits=8)
    return field


class TestQuantiser:
    @pytest.mark.parametrize(
        "shape, table, blocks",
        [
            ((5000, 3), True, (5, 3)),
            ((40, 7), True, (1, 7)),
            ((40, 7), False, (40, 1)),
            ((300,), False, (1, 1)),
        ],
    )
    def test_errors_are_at_most_half_a_scale(self, shape, table, blocks):
        tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0)).pow(3)
        numbers, scales = quantised(tensor, table=table)
        assert (numbers.dtype, numbers.shape) == (torch.int8, tensor.shape)
        assert (scales.dtype, scales.shape) == (torch.bfloat16, blocks)
        found = dequantised(numbers, scales, table=table)
        each = torch.ones(shape, dtype=torch.int8)
        assert ((found - tensor).abs() <= dequantised(each, scales, table=table) / 2).all()
        for again, once in zip(quantised(found, table=table), (numbers, scales), strict=True):
            assert torch.equal(again, once)

    def test_blocks_do_not_share_scales(self):
        """A large number costs only its own block: 1024 rows of its column, or its row of a layer."""
        tensor = torch.full((8192, 2), 1e-3)
        tensor[0, 0] = 1e3
        for table, part in ((True, tensor[:, 1]), (True, tensor[1024:, 0]), (False, tensor[1:])):
            found = dequantised(*quantised(tensor, table=table), table=table)
            same = found[:, 1] if part.shape == (8192,) else found[1024:, 0] if table else found[1:]
            torch.testing.assert_close(same, part, rtol=5e-3, atol=0)

    def test_zeros_tiny_and_huge_numbers(self):
        tensor = torch.tensor([[0.0, 1e-38, 1e9, -1e38]]).repeat(2, 1)
        table = dequantised(*quantised(tensor, table=True), table=True)
        assert table[0].tolist() == [0, 0, 127 * 512, -127 * 512]  # half precision holds them
        layer = tensor.T.contiguous()
        numbers, scales = quantised(layer, table=False)
        found = dequantised(numbers, scales, table=False)
        assert found.isfinite().all() and found[2, 0] == pytest.approx(1e9, rel=4e-3)
        assert torch.equal(quantised(found, table=False)[0], numbers)


@pytest.mark.parametrize("name", ARCHITECTURES)
class TestFiles:
    def test_a_field_goes_round(self, name, tmp_path):
        field = eight(name)
        save_field(tmp_path / "a.field", field, FieldContext())
        loaded, context = load_field(tmp_path / "a.field")
        assert loaded.spec == field.spec and loaded.spec.bits == 8
        for parameter, (key, found) in zip(field.parameters(), loaded.named_parameters(), strict=True):
            most = float(parameter.detach().abs().max())
            assert (found - parameter).abs().max() <= most / 254 * 1.004, (
                key
            )  # scales have 8 significant bits
        save_field(tmp_path / "b.field", loaded, context)
        assert (tmp_path / "b.field").read_bytes() == (tmp_path / "a.field").read_bytes()

    def test_the_file_holds_the_bytes_that_are_reported(self, name, tmp_path):
        field = eight(name)
        save_field(tmp_path / "a.field", field, FieldContext())
        tensors = read_tensors(tmp_path / "a.field")[0]
        held = sum(t.nbytes for t in tensors.values())
        assert field.stored_bytes() == stored_bytes(field.spec)
        assert 0.6 * field.stored_bytes() < held <= field.stored_bytes()  # the rest is compressed
        large = [key for key, parameter in field.named_parameters() if parameter.numel() >= FEWEST]
        assert large and all(tensors[f"field.{key}"].dtype in (torch.int8, torch.uint8) for key in large)


class TestBadFiles:
    @pytest.fixture
    def path(self, tmp_path) -> Path:
        occupancy = torch.rand((1, 9, 9, 9), generator=torch.Generator().manual_seed(0)) > 0.5
        save_field(tmp_path / "x.field", eight("hashgrid"), FieldContext(occupancy=occupancy))
        assert torch.equal(load_field(tmp_path / "x.field")[1].occupancy, occupancy)
        return tmp_path / "x.field"

    @pytest.mark.parametrize(
        "change, words",
        [
            (lambda numbers, scales: (numbers, scales * 0), "found the scale 0; expected 7.88861e-31 to"),
            (lambda numbers, scales: (numbers, -scales), "found the scale -"),
            (lambda numbers, scales: (numbers, scales * 1e38), "values are NaN or infinite|found the scale"),
            (
                lambda numbers, scales: (numbers, scales.float()),
                "is torch.float32 .*expected torch.bfloat16",
            ),
            (lambda numbers, scales: (numbers, scales[:, 1:]), r"is torch.bfloat16 \(1, 3\)"),
            (lambda numbers, scales: (numbers, None), "'field.encoding.tables.0.scale' is missing"),
            (lambda numbers, scales: (numbers.half(), scales), "expected torch.int8"),
            (lambda numbers, scales: (numbers.fill_(-128), scales), "number 0 is -128; expected -127 to 127"),
        ],
    )
    def test_numbers_and_scales_that_make_no_sense_are_refused(self, path, change, words):
        key = "field.encoding.tables.0"
        tensors = read_tensors(path)[0]
        numbers, scales = change(tensors[key], tensors[key + ".scale"])
        try:
            rewrite(path, {key: numbers, key + ".scale": scales})
        except PolyfieldError:
            return  # infinite, and so not even written
        assert re.search(words, refused(path))

    def test_an_occupancy_that_does_not_inflate_is_refused(self, path):
        packed = read_tensors(path)[0]["context.occupancy"]
        for bad, words in ((packed[:-1], "does not hold 92 bytes"), (packed.flip(0), "is not a zlib stream")):
            rewrite(path, {"context.occupancy": bad.contiguous()})
            assert words in refused(path)

    @pytest.mark.parametrize("bits", [4, "8", True, 8.0])
    def test_other_bits_are_refused(self, path, bits):
        spec = json.loads(read_tensors(path)[1]["spec"])
        rewrite(path, spec=json.dumps({**spec, "bits": bits}))
        assert f"bits is {bits!r}; expected 8" in refused(path)


class TestFit:
    spec = dataclasses.replace(SPEC, options=SPEC.options | {"width": 24}, bits=8)

    cam = FieldSpec("cam", SPEC.meaning, {"width": 16, "nodes": 6}, bits=8)

    @pytest.mark.parametrize("at, spec", [(15, spec), (22, spec), (22, cam)])
    def test_a_restored_fit_goes_on_exactly(self, at, spec):
        """Before and after the last part of a fit begins, in which its numbers are rounded."""
        whole, part, again = (new_fit(steps=24, spec=spec) for _ in range(3))
        finished(whole)
        for _ in range(at):
            part.step()
        again.restore({name: t.clone() for name, t in part.tensors().items()}, part.state())
        finished(again)
        expected, found = whole.tensors(), again.tensors()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        for one, other in zip(whole.field.parameters(), again.field.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_its_networks_end_with_the_weights_that_its_file_holds(self, tmp_path):
        fit = finished(new_fit(steps=24, spec=self.spec))
        save_field(tmp_path / "x.field", fit.field, FieldContext())
        loaded = load_field(tmp_path / "x.field")[0]
        for name, own in fit.field.trunk.named_parameters():
            assert torch.equal(own, loaded.trunk.get_parameter(name))
            assert not torch.equal(
                own, fit.tensors()[f"field.trunk.{name}"]
            )  # a checkpoint has the unrounded ones

    def test_networks_are_trained_in_the_last_part(self):
        fit = new_fit(steps=24, spec=self.spec)
        weights = []
        while fit.progress < 1:
            fit.step()
            weights.append(fit.tensors()["field.trunk.layers.weights.0"].clone())
        assert all(not torch.equal(one, other) for one, other in itertools.pairwise(weights))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int | None, Any]:
    folder = tmp_path_factory.mktemp("runs")
    y, x = np.mgrid[:64, :80]
    picture = np.uint8(
        127 + 120 * np.sin(x / 7)[..., None] * np.cos(y / 5 + np.arange(3)[:, None, None]).transpose(1, 2, 0)
    )
    from PIL import Image

    Image.fromarray(picture).save(folder / "waves.png")
    with polyfield.quiet():
        return {
            bits: polyfield.fit(folder / "waves.png", steps=30, bits=bits, out=folder / f"{bits}")
            for bits in (8, None)
        }


class TestRuns:
    def test_the_file_is_smaller_and_its_field_is_what_was_measured(self, runs):
        eight, plain = runs[8], runs[None]
        assert eight.figures["parameters"] == plain.figures["parameters"]
        assert eight.figures["bytes"] < 0.55 * plain.figures["bytes"]
        assert eight.figures["bytes"] == polyfield.load(eight.run).stored_bytes()
        assert eight.figures["psnr"] == polyfield.evaluate(eight.run)["psnr"]

    def test_a_run_is_resumed_with_its_bits(self, runs):
        before = (runs[8].run / "field.field").read_bytes()
        with polyfield.quiet():
            polyfield.resume(runs[8].run)
        assert (runs[8].run / "field.field").read_bytes() == before

    def test_a_field_of_8_bits_teaches_one_of_8_bits(self, runs, tmp_path):
        with polyfield.quiet():
            student = polyfield.convert(runs[8].run, to="cp", steps=20, bits=8, out=tmp_path / "student")
        loaded = polyfield.load(student.run)
        assert isinstance(loaded, StoredField) and loaded.spec.bits == 8
        assert student.figures["bytes"] == loaded.stored_bytes()

    def test_a_run_from_before_there_were_bits_is_resumed(self, runs):
        path = runs[None].run / "config.json"
        config = json.loads(path.read_text())
        del config["bits"]
        path.write_text(json.dumps(config))
        with polyfield.quiet():
            assert polyfield.resume(runs[None].run).figures["psnr"] == runs[None].figures["psnr"]

    def test_other_bits_are_refused(self):
        with pytest.raises(PolyfieldError, match="--bits 16: expected 8"):
            polyfield.fit("demo", bits=16)


def test_buffers_of_whole_numbers_come_back_from_a_file_that_holds_their_differences(tmp_path):
    spec = dataclasses.replace(FieldSpec.of("voxels", "radiance", BOX, rows=5000), bits=8)
    field = create(spec)
    field.advance(0.5, torch.rand(1, 16, 16, 16, generator=torch.Generator().manual_seed(1)) > 0.9)
    save_field(tmp_path / "a.field", field, FieldContext())
    loaded, _ = load_field(tmp_path / "a.field")
    assert torch.equal(loaded.encoding.node_of_row, field.encoding.node_of_row)
    save_field(tmp_path / "b.field", loaded, FieldContext())
    assert (tmp_path / "a.field").read_bytes() == (tmp_path / "b.field").read_bytes()
    assert (tmp_path / "a.field").stat().st_size < field.stored_bytes() - 3 * 5000


def test_whole_numbers_are_compressed(tmp_path):
    """Normal numbers have 6.2 bits each in the mean, and zeros next to none."""
    field = eight("hashgrid")
    with torch.no_grad():
        table = field.encoding.tables[0]
        table.normal_(generator=torch.Generator().manual_seed(2))
        table[::2] = 0
    save_field(tmp_path / "a.field", field, FieldContext())
    held = read_tensors(tmp_path / "a.field")[0]["field.encoding.tables.0"]
    assert held.dtype == torch.uint8 and held.nbytes < 0.7 * table.numel()
    loaded, _ = load_field(tmp_path / "a.field")
    whole, scales = quantised(table.detach(), table=True)
    assert torch.equal(loaded.encoding.tables[0], dequantised(whole, scales, table=True))
    rewrite(tmp_path / "a.field", {"field.encoding.tables.0": held[:-1].contiguous()})
    assert "field.encoding.tables.0: its zlib stream does not hold" in refused(tmp_path / "a.field")


def test_streams_inflate_to_a_bounded_size(tmp_path, monkeypatch):
    """Tables of zeros are compressed until the bound is reached; a file with more is refused before anything is inflated."""
    field = eight("triplane")
    for parameter in field.parameters():
        torch.nn.init.zeros_(parameter)
    save_field(tmp_path / "all.field", field, FieldContext())
    streams = sum(t.dtype == torch.uint8 for t in read_tensors(tmp_path / "all.field")[0].values())
    monkeypatch.setattr("polyfield.fields.field_file._LARGEST_INFLATED", field.encoding.tables[0].numel())
    save_field(tmp_path / "some.field", field, FieldContext())
    fewer = sum(t.dtype == torch.uint8 for t in read_tensors(tmp_path / "some.field")[0].values())
    assert 0 < fewer < streams
    assert load_field(tmp_path / "some.field")[0].spec == field.spec
    assert "its zlib streams hold" in refused(tmp_path / "all.field")


def test_a_stream_of_differences_that_is_too_short_is_refused(tmp_path):
    field = create(dataclasses.replace(FieldSpec.of("voxels", "radiance", BOX, rows=5000), bits=8))
    save_field(tmp_path / "a.field", field, FieldContext())
    tensors, metadata = read_tensors(tmp_path / "a.field")
    tensors["field.encoding.node_of_row"] = torch.frombuffer(
        bytearray(zlib.compress(bytes(16))), dtype=torch.uint8
    )
    (tmp_path / "a.field").write_bytes(tensors_to_bytes(tensors, metadata))
    with pytest.raises(PolyfieldError, match="node_of_row: its zlib stream does not hold 20,000 bytes"):
        load_field(tmp_path / "a.field")
