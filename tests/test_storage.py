"""Storage: whole files or none, strict JSON, tensors that are what was written or are refused in one line."""

from __future__ import annotations

import errno
import json
import os
import pickle  # noqa: TID251 - makes what polyfield must refuse
import random
import resource
import stat
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from polyfield.errors import PolyfieldError
from polyfield.files import tensors as checked_tensors
from polyfield.files.atomic import write_bytes
from polyfield.files.strict_json import LONGEST_JSON, read_json, write_json
from polyfield.files.tensors import digest, read_tensors, tensors_from_bytes, tensors_to_bytes

TENSORS = {
    "table": torch.arange(300.0).reshape(100, 3),
    "half": torch.linspace(-1, 1, 7, dtype=torch.bfloat16),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "none": torch.zeros(0, 4),
    "bits": torch.arange(200, dtype=torch.uint8),
    "mask": torch.tensor([True, False, True]),
    "count": torch.tensor([-(2**60), 5]),
}
METADATA = {"format": "test", "spec": '{"a": 1}', "zeta": "ü"}


def refused(path: Path, call: Callable[[], Any]) -> str:
    with pytest.raises(PolyfieldError) as caught:
        call()
    message = str(caught.value)
    assert message.startswith(str(path)) and message.isprintable() and len(message) < len(str(path)) + 300
    return message


def raiser(number: int) -> Callable[..., None]:
    def fail(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# -- writing


def test_a_write_is_synced_before_its_name_and_the_folder_after(tmp_path, monkeypatch):
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        size = os.fstat(descriptor).st_size
        calls.append("folder" if is_folder else f"file of {size}")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        assert source.parent == target.parent and source.name == f".new.{os.getpid()}.tmp"
        calls.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_bytes(tmp_path / "new", b"12345")
    assert calls == ["file of 5", "rename", "folder"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_mode_follows_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    "call, number, words",
    [
        (
            "fsync",
            errno.ENOSPC,
            "cannot write 2,000 bytes: the disk is full or the quota is reached; free some space",
        ),
        ("fsync", errno.EIO, "cannot write 2,000 bytes: input/output error"),
        ("replace", errno.EROFS, "permission denied"),
        ("replace", errno.EXDEV, "invalid cross-device link"),
    ],
)
def test_a_write_that_the_system_refuses_leaves_the_old_file(tmp_path, monkeypatch, call, number, words):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, call, raiser(number))
    assert words in refused(path, lambda: write_bytes(path, b"x" * 2000))
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"old"


def test_a_disk_that_fills_half_way_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
    try:
        message = refused(path, lambda: write_bytes(path, bytes(4 << 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "4,194,304 bytes" in message
    assert os.listdir(tmp_path) == ["file"] and path.read_bytes() == b"old"


def test_a_target_that_cannot_be_a_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    missing = "its folder does not exist, or is a file; create the folder first"
    refusals = {"folder": "a folder has this name", "absent/file": missing, "file/file": missing}
    for name, words in refusals.items():
        path = tmp_path / name
        assert words in refused(path, partial(write_bytes, path, b""))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("calls_lived", range(4))
def test_a_kill_leaves_the_old_or_the_new_file(tmp_path, monkeypatch, calls_lived):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    child = os.fork()
    if child == 0:
        try:
            lived = iter(range(calls_lived))
            for name in ("fsync", "replace", "open"):
                monkeypatch.setattr(os, name, dying(getattr(os, name), lived))
            write_bytes(path, b"new")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_bytes() == (b"old" if calls_lived < 2 else b"new")
    assert {name for name in os.listdir(tmp_path) if name != "file"} <= {f".file.{child}.tmp"}


def dying(call: Callable[..., Any], lived: Any) -> Callable[..., Any]:
    def run(*args: Any, **more: Any) -> Any:
        if next(lived, None) is None:
            os._exit(9)
        return call(*args, **more)

    return run


# -- JSON


def test_json_goes_round_in_its_order_with_a_newline_at_the_end(tmp_path):
    value = {"b": [1, 0.1, -1e-300, None, True], "a": {"ü\udc80": "line\nbreak"}}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("}\n") and text.index('"b"') < text.index('"a"')
    assert read_json(tmp_path / "x.json") == value
    (tmp_path / "x.json").write_text(text, encoding="utf-8-sig")  # a byte order mark is passed over
    assert read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_that_nobody_could_read_is_not_written(tmp_path, number):
    path = tmp_path / "x.json"
    refused(path, lambda: write_json(path, {"a": [number]}))
    assert not path.exists()


@pytest.mark.parametrize(
    "text, words",
    [
        (b"", "line 1: not valid JSON"),
        (b'{"a": 1,\n "b": ', "line 2: not valid JSON"),
        (b'{\n"NaN": "Infinity",\n"b": [1, NaN]}', "line 3: found NaN"),
        (b"[1,\n-Infinity]", "line 2: found -Infinity"),
        (b'["1e999",\n\n-1e999]', "line 3: found -1e999"),
        (b"[1,\n" + b"9" * 5000 + b"]", "line 2: found 99999999999999999999 at [1];"),
        (
            b'{"a": {"b": 1},\n"b": 2, "c": [{"a": 1}],\n"\\u0061": 3}',
            'line 3: the key "\\u0061" occurs twice',
        ),
        (b'{"a": 1,\n"b": "\xff"}', "line 2: not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "line 1: not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": 1} {', "line 1: not valid JSON"),
    ],
)
def test_json_that_is_not_strict_is_refused_with_its_line(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_bytes(text)
    assert words in refused(path, lambda: read_json(path))


def test_json_that_is_no_file_of_bearable_size_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "long", "wb") as stream:
        stream.truncate(LONGEST_JSON + 1)
    for name, words in [
        ("absent", "no such file"),
        ("", "a folder, a device or a pipe"),
        ("pipe", "a folder, a device or a pipe"),
        ("long", "at most"),
        ("n" * 300, "file name too long"),
        ("a\nb", "a\\nb': no such file"),
    ]:
        path = tmp_path / name
        assert words in refused_anywhere(partial(read_json, path))


def refused_anywhere(call: Callable[[], Any]) -> str:
    with pytest.raises(PolyfieldError) as caught:
        call()
    assert str(caught.value).isprintable()
    return str(caught.value)


# -- tensors


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "x.safetensors"
    write_bytes(path, tensors_to_bytes(TENSORS, METADATA))
    return path


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


def test_tensors_and_metadata_go_round(path):
    tensors, metadata = read_tensors(path)
    assert same(tensors, TENSORS)
    assert metadata == {**METADATA, "sha256": digest(TENSORS, METADATA)}


def test_any_safetensors_reader_reads_what_we_write(path):
    assert same(safetensors.torch.load_file(path), TENSORS)


def test_the_same_values_give_the_same_bytes_in_whatever_order_they_come(path):
    backwards = dict(reversed(TENSORS.items())), dict(reversed(METADATA.items()))
    assert tensors_to_bytes(*backwards) == path.read_bytes()


def test_views_of_one_memory_are_written_as_what_they_show(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    views = {"all": base, "column": base[:, 2], "turned": base.T, "wide": base[0].expand(3, 6)}
    views["leaf"] = base.clone().requires_grad_()
    read, _ = tensors_from_bytes(tensors_to_bytes(views, {}), "x")
    assert same(read, views)


def test_the_digest_depends_on_every_part():
    tensors, metadata = {"a": torch.arange(6.0), "b": torch.zeros(1)}, {"k": "v"}
    others = [
        ({**tensors, "a": torch.arange(6.0).reshape(2, 3)}, metadata),
        ({**tensors, "a": torch.arange(6.0).view(torch.int32)}, metadata),
        ({"b": tensors["a"], "a": tensors["b"]}, metadata),
        ({"a": tensors["a"], "c": tensors["b"]}, metadata),
        ({"a": tensors["a"]}, metadata),
        (tensors, {"k": "w"}),
        (tensors, {"l": "v"}),
        (tensors, {}),
    ]
    digests = {digest(*other) for other in others}
    assert len(digests) == len(others) and digest(tensors, metadata) not in digests
    assert digest(tensors, {**metadata, "sha256": "0"}) == digest(tensors, metadata)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_values_that_are_not_finite_are_named_on_both_ways(tmp_path, monkeypatch, value):
    tensors = {"fine": torch.ones(3), "moments": torch.tensor([1.0, value, value])}
    with pytest.raises(PolyfieldError, match="'moments': 2 of 3 values are NaN or infinite"):
        tensors_to_bytes(tensors, {})
    with monkeypatch.context() as patch:
        patch.setattr(checked_tensors, "_refuse_non_finite", lambda *_: None)
        data = tensors_to_bytes(tensors, {})
    path = tmp_path / "x.field"
    path.write_bytes(data)
    assert "'moments': 2 of 3 values" in refused(path, lambda: read_tensors(path))


def test_a_type_that_no_file_holds_is_refused():
    with pytest.raises(PolyfieldError, match="tensor z is torch.complex64; expected one of F64"):
        tensors_to_bytes({"z": torch.zeros(1, dtype=torch.complex64)}, {})


def test_a_file_cut_anywhere_or_continued_is_refused(path):
    data = path.read_bytes()
    for length in [*range(20), *range(20, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        message = refused(path, lambda: read_tensors(path))
        assert "is empty" in message if length == 0 else "cut short" in message
    path.write_bytes(data + b"\0")
    assert "is too long" in refused(path, lambda: read_tensors(path))


def test_one_flipped_bit_anywhere_is_refused(path):
    data, draw = path.read_bytes(), random.Random(0)
    places = [*range(64), *draw.sample(range(64, len(data)), 200)]
    for place in places:
        path.write_bytes(flipped(data, place, 1 << draw.randrange(8)))
        refused(path, lambda: read_tensors(path))


def test_any_flipped_bit_of_the_header_is_refused(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for place in range(8, 8 + length, 3):
        for bit in range(8):
            with pytest.raises(PolyfieldError):
                tensors_from_bytes(flipped(data, place, 1 << bit), "x")


def flipped(data: bytes, place: int, mask: int) -> bytes:
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]


def entry(shape: Any = (2,), begin: Any = 0, end: Any = 8, dtype: Any = "F32", **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


@pytest.mark.parametrize(
    "header, words",
    [
        ([], "not a JSON object"),
        ({"a": 3}, "does not give a dtype"),
        ({"a": entry(shape=[2.0])}, "does not give a dtype"),
        ({"a": entry(shape=[-2])}, "does not give a dtype"),
        ({"a": entry(begin=False)}, "does not give a dtype"),
        ({"a": entry(dtype="C64")}, "dtype 'C64'; expected one of F64"),
        ({"a": entry(shape=[3])}, "does not fit its 8 bytes"),
        ({"a": entry(shape=[10**9], end=4 * 10**9)}, "cut short"),
        ({"a": entry(shape=[0, 10**18, 10**18], end=0)}, "does not fit its 0 bytes"),
        ({"a": entry(shape=[1] * 9 + [2])}, "10 axes; expected at most 8"),
        ({"a": entry(), "b": entry(begin=4, end=12)}, "'b' overlaps another"),
        ({"a": entry(begin=4, end=12)}, "'a' leaves a gap before it"),
        ({"a": entry(begin=8, end=0)}, "does not fit its -8 bytes"),
        ({"a": entry(), "__metadata__": {"k": 1}}, "not all text"),
        ({"a": entry(), "__metadata__": []}, "not all text"),
        ({"a": entry()}, "hold no sha256"),
        ('{"a": %s, "a": %s}' % ((json.dumps(entry()),) * 2), 'the key "a" occurs twice'),
        ('{"__metadata__": {"k": "1", "k": "2"}}', 'the key "k" occurs twice'),
        ('{"a":' * 50_000, "nested too deeply"),
        ("{", "not valid JSON"),
        ({"n" * 5000: entry(dtype="C64" * 100)}, "expected one of F64"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, words):
    path = tmp_path / "x.field"
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    assert words in refused(path, lambda: read_tensors(path))


def test_a_header_of_absurd_length_is_refused_unread(tmp_path):
    path = tmp_path / "x.field"
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", 200_000_000) + b"{")
        stream.truncate(300_000_000)
    assert "at most 100,000,000" in refused(path, lambda: read_tensors(path))


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["x.field", "x.safetensors"])
def test_a_pickle_is_named_and_never_opened(tmp_path, name):
    bird, path = tmp_path / "bird", tmp_path / name
    pickle.loads(pickle.dumps(Canary(bird)))
    assert bird.exists(), "the canary is dead: this test could not fail"
    bird.rmdir()
    for protocol in (2, 4, 5):
        path.write_bytes(pickle.dumps(Canary(bird), protocol))
        assert "is a pickle or a zip archive, which polyfield never opens" in refused(
            path, lambda: read_tensors(path)
        )
    torch.save(Canary(bird), path)
    assert "is a pickle or a zip archive, which polyfield never opens" in refused(
        path, lambda: read_tensors(path)
    )
    assert not bird.exists()
