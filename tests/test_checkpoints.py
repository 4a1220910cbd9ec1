"""Checkpoints: a good generation survives whatever happens, and a bad one is named, never loaded."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from polyfield.errors import PolyfieldError
from polyfield.files.tensors import tensors_to_bytes
from polyfield.fitting.runs import checkpoints


def tensors(step: int) -> dict[str, torch.Tensor]:
    return {"table": torch.full((300, 4), float(step)), "moment": torch.arange(50.0) + step}


def save(run: Path, step: int, **state: Any) -> Path:
    return checkpoints.save(run, step, tensors(step), {"step": step, **state})


def is_good(checkpoint: checkpoints.Checkpoint, step: int) -> bool:
    wanted = tensors(step)
    same = all(torch.equal(checkpoint.tensors[name], wanted[name]) for name in wanted)
    return (
        checkpoint.step == checkpoint.state["step"] == step
        and checkpoint.tensors.keys() == wanted.keys()
        and same
    )


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(PolyfieldError) as caught:
        call()
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run with good generations at steps 900 and 1000."""
    save(tmp_path, 900)
    save(tmp_path, 1000)
    return tmp_path


def folder(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:09d}"


def test_what_was_saved_is_loaded(run):
    state = {"step": 1100, "loss": 0.1 + 0.2, "pool": [3, 1, 2], "none": None, "deep": {"a": {"b": True}}}
    assert checkpoints.save(run, 1100, tensors(1100), state) == folder(run, 1100)
    loaded = checkpoints.load(run)
    assert is_good(loaded, 1100) and loaded.state == state and loaded.warnings == ()
    assert sorted(os.listdir(folder(run, 1100))) == ["manifest.json", "state.json", "tensors.safetensors"]


def test_the_newest_two_are_kept_in_the_order_of_numbers(tmp_path):
    for step in (5, 999_999_999, 1_000_000_000, 12_345_678_901):
        save(tmp_path, step)
    assert checkpoints.generations(tmp_path) == [1_000_000_000, 12_345_678_901]
    assert is_good(checkpoints.load(tmp_path), 12_345_678_901)
    assert is_good(checkpoints.load(tmp_path, 1_000_000_000), 1_000_000_000)


def test_a_run_resumed_from_an_older_generation_gives_up_the_newer_ones(run):
    save(run, 950)
    assert checkpoints.generations(run) == [900, 950]


def test_a_step_reached_again_replaces_its_generation(run):
    save(run, 1000, again=True)
    assert checkpoints.generations(run) == [900, 1000]
    assert checkpoints.load(run).state == {"step": 1000, "again": True}
    assert sorted(os.listdir(run / "checkpoints")) == ["step-000000900", "step-000001000"]


def test_a_step_that_is_not_there_is_refused_with_those_that_are(run, tmp_path_factory):
    assert refused(lambda: checkpoints.load(run, 7)).endswith(
        "no checkpoint of step 7; found the steps 900, 1000"
    )
    empty = tmp_path_factory.mktemp("empty")
    assert "holds no complete checkpoint" in refused(lambda: checkpoints.load(empty))
    assert "found no checkpoint" in refused(lambda: checkpoints.load(empty, 7))


# -- writing


def test_everything_is_synced_before_it_is_named_and_read_back_before_others_go(run, monkeypatch):
    calls: list[str] = []
    fsync, rename, read_bytes = os.fsync, os.rename, Path.read_bytes

    def record_fsync(descriptor: int) -> None:
        info = os.fstat(descriptor)
        paths = [run, *run.rglob("*")]
        [path] = [p for p in paths if p.exists() and os.path.samestat(p.stat(), info)]
        assert stat.S_ISDIR(info.st_mode) or info.st_size > 0
        calls.append(f"sync {path.name}")
        fsync(descriptor)

    def record_rename(source: Path, target: Path) -> None:
        calls.append(f"rename {source.name} {target.name}")
        rename(source, target)

    def record_read(path: Path) -> bytes:
        calls.append(f"read {path.name}")
        return read_bytes(path)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    monkeypatch.setattr(Path, "read_bytes", record_read)
    save(run, 1100)
    files, temp = ["tensors.safetensors", "state.json", "manifest.json"], f".step-000001100.{os.getpid()}.tmp"
    assert calls == [
        f"sync {run.name}",
        *(f"sync {name}" for name in files),
        f"sync {temp}",
        *(f"read {name}" for name in files),
        f"rename {temp} step-000001100",
        "sync checkpoints",
        f"rename step-000000900 .step-000000900.{os.getpid()}.tmp",
    ]


@pytest.mark.parametrize("step", [1000, 1100])
@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
@pytest.mark.parametrize("lived", [0, 1, 3])
def test_a_save_that_the_system_refuses_leaves_the_generations(run, monkeypatch, step, call, lived):
    real, left = getattr(os, call), iter(range(lived))

    def fail(*args: Any, **more: Any) -> Any:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        try:
            save(run, step, new=True)
        except PolyfieldError as error:
            assert str(error).startswith(
                str(folder(run, step))
            ) and "disk is full or the quota is reached" in str(error)
            assert "bytes" in str(error) and str(error).isprintable()
    assert is_good(checkpoints.load(run), checkpoints.generations(run)[-1])
    save(run, 1200)
    assert is_good(checkpoints.load(run), 1200) and len(checkpoints.generations(run)) == 2
    assert all(name.startswith("step-") for name in os.listdir(run / "checkpoints"))


def test_a_disk_that_forgets_is_noticed_before_anything_is_deleted(run, monkeypatch):
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read_bytes(path)[:-1] + b"?")
    assert "what was read back differs from what was written" in refused(lambda: save(run, 1100))
    assert checkpoints.generations(run) == [900, 1000]


def test_state_that_could_not_be_read_is_not_saved(run):
    bad = {"table": torch.tensor([1.0, float("nan")])}
    assert "'table': 1 of 2 values" in refused(lambda: checkpoints.save(run, 1100, bad, {}))
    assert "state.json" in refused(lambda: checkpoints.save(run, 1100, {}, {"loss": float("inf")}))
    assert sorted(os.listdir(run / "checkpoints")) == ["step-000000900", "step-000001000"]


@pytest.mark.parametrize("step", [1000, 1100])
def test_a_kill_at_any_system_call_leaves_a_good_newest_generation(run, tmp_path_factory, step):
    """Every kill in turn: the newest generation is the old or the new one, and the next save cleans up."""
    for lived in range(1000):
        copy = tmp_path_factory.mktemp("copy") / "run"
        shutil.copytree(run, copy)
        child = os.fork()
        if child == 0:
            try:
                die_after(lived)
                save(copy, step, new=True)
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, 9)
        finished = status == 0
        newest = checkpoints.load(copy)
        assert is_good(newest, newest.step) and newest.step in (1000, step)
        assert len(checkpoints.generations(copy)) >= 2
        assert all(
            line.isprintable() and "is an incomplete save; it was skipped" in line for line in newest.warnings
        )
        if finished:
            assert newest.state.get("new") and not newest.warnings
            assert lived > 10
            return
        save(copy, 1200)
        assert checkpoints.load(copy).warnings == () and len(checkpoints.generations(copy)) == 2
        assert is_good(checkpoints.load(copy), 1200)
        assert all(name.startswith("step-") for name in os.listdir(copy / "checkpoints"))


def die_after(calls: int) -> None:
    """End this process, as a kill does, at the call after so many that change a file system."""
    left: Iterator[int] = iter(range(calls))

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **more: Any) -> Any:
            if next(left, None) is None:
                os._exit(9)
            return call(*args, **more)

        return run

    for name in ("fsync", "rename", "mkdir", "rmdir", "unlink"):
        setattr(os, name, dying(getattr(os, name)))


# -- reading


def test_saves_cut_short_are_skipped_with_a_line_each_and_strays_without(run):
    inside = run / "checkpoints"
    shutil.copytree(folder(run, 1000), inside / ".step-000001200.77.tmp")
    shutil.copytree(folder(run, 1000), folder(run, 1300))
    (folder(run, 1300) / "manifest.json").unlink()
    for stray in (".DS_Store", "step-", "step-abc", "step-000000900.bak", "step-99", "step-²²²²²²²²²"):
        (inside / stray).touch()
    (inside / "step-0000009999").mkdir()
    (inside / "step-000009999").touch()
    (folder(run, 1000) / ".DS_Store").touch()
    loaded = checkpoints.load(run)
    assert is_good(loaded, 1000) and checkpoints.generations(run) == [900, 1000]
    assert len(loaded.warnings) == 2 and all(line.isprintable() for line in loaded.warnings)
    assert "step-000001300" in loaded.warnings[0] and ".step-000001200.77.tmp" in loaded.warnings[1]


def test_a_run_whose_only_generation_lost_its_manifest_is_refused(tmp_path):
    assert not checkpoints.begun(tmp_path)
    (tmp_path / "checkpoints" / ".step-000000800.77.tmp").mkdir(parents=True)
    assert not checkpoints.begun(tmp_path)
    save(tmp_path, 900)
    (folder(tmp_path, 900) / "manifest.json").unlink()
    assert checkpoints.begun(tmp_path) and checkpoints.generations(tmp_path) == []
    message = refused(lambda: checkpoints.load(tmp_path))
    assert message.startswith(
        f"{folder(tmp_path, 900)} holds no manifest.json, and no other checkpoint is complete"
    )


def test_a_generation_left_aside_is_found_and_takes_its_place_again(run):
    os.rename(folder(run, 1000), run / "checkpoints" / ".step-000001000.77.old")
    assert is_good(checkpoints.load(run), 1000) and checkpoints.generations(run) == [900, 1000]
    save(run, 1100)
    assert sorted(os.listdir(run / "checkpoints")) == ["step-000001000", "step-000001100"]


def check_refused(run: Path, name: str) -> str:
    """The newest generation is refused by the file's name, with the way to the good one."""
    message = refused(lambda: checkpoints.load(run))
    assert message.startswith(str(folder(run, 1000) / name)), message
    assert message.endswith(
        f"; the nearest intact checkpoint is that of step 900: use `polyfield resume {run} --generation 900`"
    )
    return message


def test_the_way_out_is_the_nearest_good_one_or_none(run):
    (folder(run, 1000) / "state.json").write_bytes(b"")
    check_refused(run, "state.json")
    assert is_good(checkpoints.load(run, 900), 900)
    (folder(run, 900) / "state.json").write_bytes(b"")
    message = refused(lambda: checkpoints.load(run))
    assert message.endswith("no other checkpoint is intact; fit again from the start")


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
def test_a_file_cut_anywhere_is_refused(run, name):
    path = folder(run, 1000) / name
    data = path.read_bytes()
    for length in {0, 1, *range(0, len(data), 1000), len(data) // 2, len(data) - 1}:
        path.write_bytes(data[:length])
        if name == "manifest.json" and data[:length].strip() == data.strip():
            continue  # only the newline at its end is gone
        check_refused(run, name)


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
def test_one_flipped_bit_anywhere_is_refused(run, name):
    path = folder(run, 1000) / name
    data, draw = path.read_bytes(), random.Random(1)
    rest = range(min(64, len(data)), len(data))
    for place in [*range(min(64, len(data))), *draw.sample(rest, min(200, len(rest)))]:
        bad = bytearray(data)
        bad[place] ^= 1 << draw.randrange(8)
        path.write_bytes(bad)
        if name == "manifest.json":
            check_refused(run, "")  # a file that the manifest no longer describes is as good a name
        else:
            check_refused(run, name)


def reseal(folder: Path, **changes: Any) -> None:
    """Write a manifest that agrees with the files, but for the changes."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in manifest["files"]:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": checkpoints.hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"version": 1},
            "version 1; this polyfield reads 'polyfield-checkpoint' version 3; resume with the polyfield that wrote it, or begin a new run",
        ),
        ({"format": "other"}, "is 'other' version 3"),
        ({"step": 999}, "step is 999; the folder's name says 1000"),
        ({"files": {}}, "expected tensors.safetensors and state.json"),
        (
            {"files": {"tensors.safetensors": {}, "state.json": {}}},
            "expected an object with the keys bytes and sha256",
        ),
        ({"files": []}, "expected an object with the keys"),
    ],
)
def test_a_manifest_of_something_else_is_refused(run, changes, words):
    reseal(folder(run, 1000), **changes)
    assert words in check_refused(run, "manifest.json")


def test_files_of_another_generation_are_refused(run):
    for name in ("tensors.safetensors", "state.json"):
        shutil.copy(folder(run, 900) / name, folder(run, 1000) / name)
        check_refused(run, "")
        shutil.rmtree(folder(run, 1000))
        save(run, 1000)
    shutil.rmtree(folder(run, 1000))
    shutil.copytree(folder(run, 900), folder(run, 1000))
    assert "step is 900" in check_refused(run, "manifest.json")


def test_missing_and_extra_files_are_refused(run):
    (folder(run, 1000) / "notes.txt").touch()
    assert "is not listed in manifest.json" in check_refused(run, "notes.txt")
    (folder(run, 1000) / "notes.txt").unlink()
    (folder(run, 1000) / "state.json").unlink()
    assert "no such file" in check_refused(run, "state.json")


def test_a_renamed_tensor_is_refused_even_under_a_manifest_that_agrees(run):
    path = folder(run, 1000) / "tensors.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"moment"', b'"memory"'))
    check_refused(run, "tensors.safetensors")
    path.write_bytes((folder(run, 900) / "tensors.safetensors").read_bytes().replace(b"moment", b"torque"))
    reseal(folder(run, 1000))
    assert "does not match its SHA-256" in check_refused(run, "tensors.safetensors")


def test_tensors_that_are_no_checkpoint_and_state_that_is_no_object_are_refused(run):
    path = folder(run, 1000)
    whole = (path / "tensors.safetensors").read_bytes()
    (path / "tensors.safetensors").write_bytes(tensors_to_bytes({}, {"format": "polyfield-field"}))
    reseal(path)
    assert "has format 'polyfield-field' and version None; expected 'polyfield-checkpoint'" in check_refused(
        run, "tensors.safetensors"
    )
    (path / "tensors.safetensors").write_bytes(whole)
    (path / "state.json").write_text("[1]")
    reseal(path)
    assert "is not a JSON object" in check_refused(run, "state.json")
