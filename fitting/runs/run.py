"""Run: the folder of one fit, with its configuration, scene, metrics and results.

One process at a time owns it.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polyfield
from polyfield.errors import PolyfieldError, shown
from polyfield.files.atomic import open_file, read_stream, refusal, sync_folder, write_bytes
from polyfield.files.locks import one_at_a_time
from polyfield.files.strict_json import json_file, json_text, parse_json, read_json, write_json

SCHEMA = 4


@dataclass(frozen=True)
class Run:
    """A run folder. Make one with `create`, open one with `open`."""

    path: Path
    config: dict[str, Any]  # schema, version of polyfield, every option
    scene: dict[str, Any]  # frames, split, hashes

    @staticmethod
    def create(
        path: Path | None,
        *,
        source_name: str,
        architecture: str,
        config: dict[str, Any],
        scene: dict[str, Any],
    ) -> Run:
        """Make and return a new run folder: `path`, or runs/SOURCE-ARCH-N with the first free N.

        Nothing is overwritten. Raises PolyfieldError if `path` exists and is not an empty folder, or the
        system refuses.
        """
        path = first_free(f"{clean(source_name)}-{architecture}") if path is None else claim(Path(path))
        run = Run(path, {"schema": SCHEMA, "version": polyfield.__version__, **config}, scene)
        with _refusals(path):
            run.renders.mkdir()
        write_json(path / "scene.json", scene)
        write_json(path / "config.json", run.config)  # last, because a folder without it is not a run
        with _refusals(path):
            sync_folder(path.parent)
        return run

    @staticmethod
    def open(path: str | os.PathLike[str]) -> Run:
        """Return the run in a folder. Raises PolyfieldError if there is no run that this polyfield reads."""
        path = Path(path)
        if not (path / "config.json").exists():
            raise PolyfieldError(f"{shown(path)} holds no config.json; expected the folder of a run")
        config = _read_object(path / "config.json")
        if config.get("schema") != SCHEMA:
            raise PolyfieldError(
                f"{shown(path / 'config.json')}: schema is {config.get('schema')!r:.80}; expected {SCHEMA}; if another "
                f"version of polyfield wrote this run, use that version ({config.get('version')!r:.80})"
            )
        return Run(path, config, _read_object(path / "scene.json"))

    @property
    def field_path(self) -> Path:
        return self.path / "field.field"

    @property
    def renders(self) -> Path:
        return self.path / "renders"

    @property
    def _metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    def log(self, record: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl. A line that cannot be written completely is removed.

        After a kill, `truncate_metrics` removes a partial line first.
        """
        line = (json_text(record, shown(self._metrics_path)) + "\n").encode()
        with _refusals(self._metrics_path, len(line)), open(self._metrics_path, "ab", buffering=0) as stream:
            before = stream.tell()
            try:
                if stream.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                stream.truncate(before)
                raise

    def metrics(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the records of metrics.jsonl, and the fault of each line that is not a record.

        A partial last line, left by a kill or a power cut, is skipped.
        """
        if not self._metrics_path.exists():
            return [], []
        with open_file(self._metrics_path) as stream:
            size = os.fstat(stream.fileno()).st_size
            lines = read_stream(stream, size, shown(self._metrics_path)).split(b"\n")[:-1]
        records, faults = [], []
        for number, line in enumerate(lines, 1):
            try:
                records.append(_object(line, f"{shown(self._metrics_path)}: record {number}"))
            except PolyfieldError as error:
                if number < len(lines):
                    faults.append(str(error))
        return records, faults

    def truncate_metrics(self, step: int) -> list[str]:
        """Drop the records after a step, which a resumed run writes again, and lines that are not records.

        Returns a warning if there were lines that are not records, except for a partial last line.
        """
        records, faults = self.metrics()
        if self._metrics_path.exists():
            kept = [record for record in records if _step_of(record) <= step]
            text = "".join(json.dumps(record) + "\n" for record in kept)
            write_bytes(self._metrics_path, text.encode())
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return [f"{faults[0]}; this record was left out{more}"] if faults else []

    def write_eval(self, result: dict[str, Any]) -> None:
        """Write eval.json."""
        write_json(self.path / "eval.json", result)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Return a context that owns the run.

        Raises PolyfieldError if another process owns it, and names that process. The lock of a process that
        no longer exists is taken over.
        """
        path = self.path / "lock.json"
        owner = json_file(_identity(os.getpid()), "lock.json")
        with _refusals(path, len(owner)), one_at_a_time(self.path):
            _refuse_if_owned(path)
            path.unlink(missing_ok=True)
            with open(path, "xb") as stream:
                stream.write(owner)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if path.read_bytes() == owner:
                    path.unlink()


def _step_of(record: dict[str, Any]) -> float:
    """Return the step at which a record was written, or infinity if its step is not a whole number."""
    step = record.get("step", 0)
    return step if isinstance(step, int) else float("inf")


# -- making the folder


def clean(name: str) -> str:
    """Return a source's name for use in a path: letters, digits, dots and dashes, at most 40 of them."""
    return re.sub(r"[^\w.-]+", "-", name)[:40].strip("-.") or "source"


def first_free(name: str) -> Path:
    """Make and return the folder runs/NAME-N with the first free N."""
    runs = Path("runs")
    with _refusals(runs):
        runs.mkdir(exist_ok=True)
        for number in itertools.count(1):
            with contextlib.suppress(FileExistsError):
                os.mkdir(runs / f"{name}-{number}")  # fails where another process was first
                return runs / f"{name}-{number}"
    raise AssertionError("numbers do not end")


def claim(path: Path) -> Path:
    """Make a folder and return it. Raises PolyfieldError if it exists and is not empty, or the system refuses."""
    with _refusals(path):
        if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
            raise PolyfieldError(
                f"{shown(path)} already exists and is not an empty folder; choose another name "
                f"with --out, or, if it is the run of an unfinished fit, continue it with `polyfield resume {shown(path)}`"
            )
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def _refusals(path: Path, needed: int = 0) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refusal(path, error, needed) from None


# -- reading


def _read_object(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise PolyfieldError(f"{shown(path)} is not a JSON object; restore the file, or begin a new run")
    return value


def _object(line: bytes, where: str) -> dict[str, Any]:
    value = parse_json(line, where)
    if not isinstance(value, dict):
        raise PolyfieldError(f"{where} is not a JSON object")
    return value


# -- the lock


def _refuse_if_owned(path: Path) -> None:
    """Refuse a lock whose process exists, or may exist on another host.

    A lock that cannot be read is partial, left by a kill, and is not refused.
    """
    try:
        owner = read_json(path)
    except PolyfieldError:
        return
    match owner:
        case {"pid": int(pid), "host": str(host)} if pid > 0:
            if host == socket.gethostname() and not _lives(pid, owner.get("started")):
                return
            raise PolyfieldError(
                f"{shown(path)}: process {pid} on {shown(host)} is working on this run; wait for it or "
                "stop it; if it no longer exists, delete this file"
            )


def _identity(pid: int) -> dict[str, Any]:
    _, started = _stat(pid)
    return {"pid": pid, "host": socket.gethostname(), "started": started}


def _lives(pid: int, started: object) -> bool:
    """Return whether a process of this host exists and has the expected start time, if that is known.

    The start time is compared because process ids are reused.
    """
    if os.name == "nt":
        return True  # a check would end the process
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    state, now = _stat(pid)
    return state not in ("Z", "X") and (started is None or now is None or started == now)


def _stat(pid: int) -> tuple[str, str | None]:
    """Return a process's state letter and its start time, or ("", None) if they are not known.

    The start time is the boot's id and the clock ticks since the boot.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", None
    return fields[0], f"{boot} {fields[19]}"
