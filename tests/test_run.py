"""Runs: a folder that is never overwritten, logs that survive a kill, and one owner at a time."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import polyfield
from polyfield.errors import PolyfieldError
from polyfield.fitting.runs.run import Run


def create(path: Path | None, name: str = "lego") -> Run:
    return Run.create(
        path,
        source_name=name,
        architecture="hashgrid",
        config={"seed": 3, "steps": None},
        scene={"frames": ["a"]},
    )


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(PolyfieldError) as caught:
        call()
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def run(tmp_path) -> Run:
    return create(tmp_path / "run")


# -- the folder


def test_a_run_that_was_created_opens(run):
    opened = Run.open(run.path)
    assert opened == run
    assert opened.config == {"schema": 4, "version": polyfield.__version__, "seed": 3, "steps": None}
    assert opened.scene == {"frames": ["a"]}
    assert opened.renders.is_dir()
    assert opened.field_path == run.path / "field.field"


def test_runs_are_numbered_and_never_overwritten(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "lego-hashgrid-2").mkdir(parents=True)
    (tmp_path / "runs" / "lego-hashgrid-3").touch()
    paths = [create(None).path for _ in range(2)]
    assert paths == [Path("runs/lego-hashgrid-1"), Path("runs/lego-hashgrid-4")]


def test_processes_that_create_at_once_get_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    children = []
    for _ in range(8):
        if (child := os.fork()) == 0:
            try:
                create(None)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert sorted(os.listdir("runs")) == [f"lego-hashgrid-{n}" for n in range(1, 9)]


@pytest.mark.parametrize(
    "name, cleaned",
    [
        ("../../etc/passwd", "etc-passwd"),
        ("a b;$(c)\n'd\"", "a-b-c-d"),
        (".hidden", "hidden"),
        ("Müll.v2", "Müll.v2"),
        ("///", "source"),
        ("x" * 300, "x" * 40),
    ],
)
def test_a_source_name_becomes_a_plain_folder_name(tmp_path, monkeypatch, name, cleaned):
    monkeypatch.chdir(tmp_path)
    assert create(None, name).path == Path(f"runs/{cleaned}-hashgrid-1")


def test_only_a_new_or_an_empty_folder_is_taken(tmp_path, run):
    (tmp_path / "empty").mkdir()
    assert create(tmp_path / "empty").path.name == "empty"
    assert create(tmp_path / "deep" / "er").path.name == "er"
    (tmp_path / "file").touch()
    os.symlink("nowhere", tmp_path / "link")
    for path in (run.path, tmp_path / "file", tmp_path / "link"):
        assert refused(partial(create, path)).startswith(f"{path} already exists and is not an empty folder")
    assert refused(lambda: create(tmp_path / "file" / "run")).startswith(str(tmp_path / "file" / "run"))


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("config.json", None, "holds no config.json; expected the folder of a run"),
        (
            "config.json",
            '{"schema": 5, "version": "9.1"}',
            "schema is 5; expected 4; if another version of polyfield wrote this run, use that version ('9.1')",
        ),
        ("config.json", "{}", "schema is None"),
        ("config.json", "[]", "is not a JSON object"),
        ("config.json", '{"schema": 4, "lr": NaN}', "line 1: found NaN"),
        ("config.json", '{"schema": 4', "not valid JSON"),
        ("scene.json", None, "no such file"),
        ("scene.json", "3", "is not a JSON object"),
    ],
)
def test_a_folder_that_is_no_run_of_ours_is_refused(run, name, text, words):
    (run.path / name).unlink() if text is None else (run.path / name).write_text(text)
    message = refused(lambda: Run.open(run.path))
    assert message.startswith(str(run.path)) and words in message


def test_results_are_written(run):
    run.write_eval({"psnr": 30.5})
    assert json.loads((run.path / "eval.json").read_text()) == {"psnr": 30.5}


# -- metrics


def test_metrics_go_round(run):
    assert run.metrics() == ([], [])
    records = [{"step": step, "loss": 0.1 / (step + 1)} for step in range(5)]
    for record in records:
        run.log(record)
    assert run.metrics() == (records, [])


@pytest.mark.parametrize("half", [b'{"st', b'{"step": 9}', b"\xc3", b"\0\0\0\n"])
def test_half_a_last_line_is_left_out_and_removed_on_resume(run, half):
    for step in range(4):
        run.log({"step": step})
    with open(run.path / "metrics.jsonl", "ab") as stream:
        stream.write(half)
    assert run.metrics() == ([{"step": step} for step in range(4)], [])
    assert run.truncate_metrics(2) == []
    run.log({"step": 3, "again": True})
    assert run.metrics()[0][2:] == [{"step": 2}, {"step": 3, "again": True}]


def test_truncating_no_metrics_makes_no_file(run):
    assert run.truncate_metrics(5) == []
    assert not (run.path / "metrics.jsonl").exists()


def test_a_bad_line_is_left_out_with_a_warning(run):
    (run.path / "metrics.jsonl").write_text('{"step": 0}\n{"step": NaN}\n[]\n{"step": 3}\n')
    [warning] = run.truncate_metrics(5)
    assert "metrics.jsonl: record 2: line 1: found NaN" in warning and warning.endswith(
        "this record was left out (and 1 more)"
    )
    assert run.metrics() == ([{"step": 0}, {"step": 3}], [])


def test_a_record_that_no_one_could_read_is_refused(run):
    assert "metrics.jsonl cannot be written as JSON" in refused(lambda: run.log({"loss": float("nan")}))


def test_a_line_that_the_disk_takes_half_is_taken_back(run):
    run.log({"step": 0})
    size = (run.path / "metrics.jsonl").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, hard))
    try:
        message = refused(lambda: run.log({"step": 1, "text": "x" * (4 << 20)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (
        "disk is full or the quota is reached" in message
        and (run.path / "metrics.jsonl").stat().st_size == size
    )


# -- the lock


@pytest.fixture
def other() -> Iterator[subprocess.Popen]:
    """A process that lives."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def hold(run: Run, **owner: Any) -> Path:
    path = run.path / "lock.json"
    path.write_text(json.dumps({"host": socket.gethostname(), **owner}))
    return path


def test_the_lock_names_its_owner_and_goes_with_it(run):
    with run.lock():
        owner = json.loads((run.path / "lock.json").read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
        assert f"process {os.getpid()} on {socket.gethostname()}" in refused(lambda: run.lock().__enter__())
    assert not (run.path / "lock.json").exists()
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    assert not (run.path / "lock.json").exists()


def test_a_run_that_a_living_process_owns_is_refused(run, other):
    path = hold(run, pid=other.pid)
    before = path.read_bytes()
    message = refused(lambda: run.lock().__enter__())
    assert message.startswith(str(path)) and f"process {other.pid} on {socket.gethostname()}" in message
    assert path.read_bytes() == before


def test_a_run_that_another_host_owns_is_refused(run):
    hold(run, host="elsewhere", pid=1)
    assert "process 1 on elsewhere is working on this run" in refused(lambda: run.lock().__enter__())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": -1, "host": "x"}', b"\xff"])
def test_a_lock_that_a_kill_cut_short_is_taken_over(run, text):
    (run.path / "lock.json").write_bytes(text)
    with run.lock():
        assert json.loads((run.path / "lock.json").read_text())["pid"] == os.getpid()


def test_the_lock_of_a_dead_process_is_taken_over(run, other):
    hold(run, pid=other.pid)
    other.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet waited for: a zombie
    with run.lock():
        assert json.loads((run.path / "lock.json").read_text())["pid"] == os.getpid()
    other.wait()
    hold(run, pid=other.pid)
    with run.lock():
        pass
    hold(run, pid=2**70)
    with run.lock():
        pass


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_process_id_that_was_given_again_does_not_own_the_run(run, other):
    hold(run, pid=other.pid, started="another boot 7")
    with run.lock():
        pass


def test_a_lock_that_is_no_longer_ours_is_left(run):
    with run.lock():
        hold(run, host="elsewhere", pid=1)
    assert (run.path / "lock.json").exists()


def test_of_many_that_find_a_stale_lock_one_owns_the_run(run):
    """Each child takes the lock, holds it until all have tried, and says whether it got it."""
    hold(run, pid=2**70)
    ready, go = os.pipe(), os.pipe()
    children = []
    for _ in range(6):
        if (child := os.fork()) == 0:
            os.close(go[1])
            try:
                with run.lock():
                    os.write(ready[1], b"1")
                    os.read(go[0], 1)
                os._exit(0)
            except PolyfieldError:
                os.write(ready[1], b"0")
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    said = b"".join(os.read(ready[0], 1) for _ in children)
    os.close(go[1])
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert sorted(said) == list(b"000001")
    assert not (run.path / "lock.json").exists()


def test_a_lock_that_cannot_be_written_is_refused(run, monkeypatch):
    def fail(*args: object, **more: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", fail)
    assert "permission denied" in refused(lambda: run.lock().__enter__())
