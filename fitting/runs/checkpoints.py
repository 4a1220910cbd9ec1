"""Checkpoints: generations of a run's state.

At least one good generation survives whenever the machine stops. A generation is a folder
`checkpoints/step-000001000` with the tensors, the rest of the state as JSON and a manifest of their sizes and
SHA-256. It is written under a hidden name, synced, read back and renamed. Older generations are deleted after
that.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from polyfield.errors import PolyfieldError, shown
from polyfield.files.atomic import open_file, read_stream, refusal, sync_folder, write_synced
from polyfield.files.strict_json import json_file, parse_json, read_json
from polyfield.files.tensors import tensors_from_bytes, tensors_to_bytes

FORMAT = "polyfield-checkpoint"
VERSION = 3
KEPT = 2  # generations

TENSORS = "tensors.safetensors"
STATE = "state.json"
MANIFEST = "manifest.json"

_LEFTOVER = re.compile(r"\.step-(\d{9,})\.\d+\.(tmp|old)")


@dataclass(frozen=True)
class Checkpoint:
    """The content of a generation."""

    path: Path
    step: int
    tensors: dict[str, Tensor]
    state: dict[str, Any]
    warnings: tuple[str, ...]  # one line for each interrupted save, which is skipped


def save(run: Path, step: int, tensors: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Write the generation of a step, delete superfluous ones, and return its folder.

    The newest two are kept. Generations after `step` are deleted too, because they are of an earlier course
    of a run that was resumed before them. Raises PolyfieldError if the system refuses or the tensors are not
    finite. Older generations are then intact.
    """
    folder = run / "checkpoints"
    final = folder / _name(step)
    files = {
        TENSORS: tensors_to_bytes(tensors, {"format": FORMAT, "version": str(VERSION)}),
        STATE: json_file(state, shown(final / STATE)),
    }
    files[MANIFEST] = _manifest(step, files)
    temp, aside = _hidden(folder, step, "tmp"), _hidden(folder, step, "old")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(run)
        _take_back(folder)
        _write_folder(temp, files)
        if any((temp / name).read_bytes() != data for name, data in files.items()):
            raise PolyfieldError(
                f"{shown(final)}: what was read back differs from what was written; check the disk"
            )
        _rename(temp, final, aside)
    except OSError as error:
        raise refusal(final, error, sum(map(len, files.values()))) from None
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    _prune(folder, step)
    return final


def load(run: Path, step: int | None = None) -> Checkpoint:
    """Return the generation of a step, or the newest one, after every check.

    Raises PolyfieldError, one line with the file, the cause and the nearest good generation.
    """
    try:
        return _load(run, step)
    except OSError as error:
        raise PolyfieldError(
            f"{shown(error.filename or run)} cannot be read ({(error.strerror or str(error)).lower()})"
        ) from None


def generations(run: Path) -> list[int]:
    """Return the steps of the generations that were saved completely, in ascending order."""
    return sorted(_folders(run))


def begun(run: Path) -> bool:
    """Return whether a generation was ever saved, even if its manifest is missing now."""
    return bool(_named(run / "checkpoints") or _folders(run))


# -- writing


def _name(step: int) -> str:
    return f"step-{step:09d}"


def _hidden(folder: Path, step: int, ending: str) -> Path:
    return folder / f".{_name(step)}.{threading.get_native_id()}.{ending}"


def _manifest(step: int, files: dict[str, bytes]) -> bytes:
    entries = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    return json_file({"format": FORMAT, "version": VERSION, "step": step, "files": entries}, MANIFEST)


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files in their order, each synced before the next begins, and then sync the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in files.items():
        write_synced(folder / name, data)
    sync_folder(folder)


def _take_back(folder: Path) -> None:
    """Rename generations back that an interrupted save had moved aside."""
    for step, entry in _leftovers(folder):
        final = folder / _name(step)
        if entry.suffix == ".old" and (entry / MANIFEST).exists() and not final.exists():
            os.rename(entry, final)


def _rename(temp: Path, final: Path, aside: Path) -> None:
    """Rename a folder to its final name.

    An older folder of that name is first moved aside, where `_folders` finds it.
    """
    if final.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(final, aside)
    try:
        os.rename(temp, final)
    except BaseException:
        if aside.exists():
            os.rename(aside, final)
        raise
    sync_folder(final.parent)


def _prune(folder: Path, step: int) -> None:
    """Delete leftovers, generations beyond the newest two up to `step`, and all after it."""
    steps = _complete(folder)
    kept = sorted(s for s in steps if s <= step)[-KEPT:]
    for other in steps:
        if other not in kept:
            # Renamed first, so that a partly deleted folder never looks like a damaged generation.
            with contextlib.suppress(OSError):
                os.rename(folder / _name(other), _hidden(folder, other, "tmp"))
    for entry in folder.iterdir():
        if _LEFTOVER.fullmatch(entry.name):
            shutil.rmtree(entry, ignore_errors=True)


# -- reading


def _load(run: Path, step: int | None) -> Checkpoint:
    folders = _folders(run)
    if step is None:
        step = max(folders, default=None)
        if step is None:
            raise _none_whole(run)
    elif step not in folders:
        there = (
            f"found the steps {', '.join(map(str, sorted(folders)))}" if folders else "found no checkpoint"
        )
        raise PolyfieldError(f"{shown(run)}: no checkpoint of step {step}; {there}")
    try:
        tensors, state = _read(folders[step], step)
    except PolyfieldError as error:
        raise PolyfieldError(f"{error}; {_way_out(folders, step)}") from None
    return Checkpoint(folders[step], step, tensors, state, _warnings(run, folders))


def _none_whole(run: Path) -> PolyfieldError:
    named = _named(run / "checkpoints")
    if not named:
        return PolyfieldError(f"{shown(run)} holds no complete checkpoint; begin a new run")
    return PolyfieldError(
        f"{shown(named[max(named)])} holds no {MANIFEST}, and no other checkpoint is complete; restore that file, "
        "or begin a new run"
    )


def _complete(folder: Path) -> list[int]:
    """Return the steps of the folders with a final name that hold a manifest."""
    return [step for step, entry in _named(folder).items() if (entry / MANIFEST).exists()]


def _named(folder: Path) -> dict[int, Path]:
    found = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in folder.iterdir():
            digits = entry.name.removeprefix("step-")
            if digits.isascii() and digits.isdigit() and entry.name == _name(int(digits)) and entry.is_dir():
                found[int(digits)] = entry
    return found


def _leftovers(folder: Path) -> list[tuple[int, Path]]:
    matches = [(_LEFTOVER.fullmatch(entry.name), entry) for entry in folder.iterdir()]
    return sorted((int(match[1]), entry) for match, entry in matches if match)


def _folders(run: Path) -> dict[int, Path]:
    """Return the folder of each step's generation.

    It has its final name, or was moved aside by an interrupted save.
    """
    folder = run / "checkpoints"
    found = {step: folder / _name(step) for step in _complete(folder)}
    if folder.is_dir():
        for step, entry in _leftovers(folder):
            if entry.suffix == ".old" and (entry / MANIFEST).exists():
                found.setdefault(step, entry)
    return found


def _warnings(run: Path, folders: dict[int, Path]) -> tuple[str, ...]:
    folder = run / "checkpoints"
    cut_short = [entry for step, entry in sorted(_named(folder).items()) if step not in folders]
    cut_short += [entry for _, entry in _leftovers(folder) if entry not in folders.values()]
    return tuple(f"{shown(entry)} is an incomplete save; it was skipped" for entry in cut_short)


def _read(folder: Path, step: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return a generation's content. Raises PolyfieldError if it disagrees with its manifest."""
    entries = _read_manifest(folder / MANIFEST, step)
    there = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")} - {MANIFEST}
    for name in sorted(there - entries.keys()):
        raise PolyfieldError(f"{shown(folder / name)} is not listed in {MANIFEST}; move it elsewhere")
    data = {name: _read_file(folder / name, entry) for name, entry in entries.items()}
    where = shown(folder / TENSORS)
    tensors, metadata = tensors_from_bytes(data[TENSORS], where)
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, str(VERSION)):
        raise PolyfieldError(
            f"{where} has format {metadata.get('format')!r:.80} and version {metadata.get('version')!r:.80}; "
            f"expected {FORMAT!r} and {str(VERSION)!r}"
        )
    state = parse_json(data[STATE], shown(folder / STATE))
    if not isinstance(state, dict):
        raise PolyfieldError(f"{shown(folder / STATE)} is not a JSON object")
    return tensors, state


def _read_manifest(path: Path, step: int) -> dict[str, tuple[int, str]]:
    """Return (bytes, SHA-256) of each file."""
    manifest = read_json(path)
    where = shown(path)
    match manifest:
        case {"format": str(kind), "version": int(version), "step": int(found), "files": dict(files)}:
            pass
        case _:
            raise PolyfieldError(f"{where}: expected an object with the keys format, version, step and files")
    if (kind, version) != (FORMAT, VERSION):
        raise PolyfieldError(
            f"{where} is {kind!r} version {version}; this polyfield reads {FORMAT!r} version {VERSION}; "
            "resume with the polyfield that wrote it, or begin a new run"
        )
    if found != step:
        raise PolyfieldError(f"{where}: step is {found}; the folder's name says {step}")
    if files.keys() != {TENSORS, STATE}:
        raise PolyfieldError(f"{where} lists the files {sorted(files)}; expected {TENSORS} and {STATE}")
    entries = {}
    for name, entry in files.items():
        match entry:
            case {"bytes": int(size), "sha256": str(sha256)}:
                entries[name] = (size, sha256)
            case _:
                raise PolyfieldError(
                    f"{where}: the entry of {name} is {entry!r:.80}; expected an object with the keys bytes and sha256"
                )
    return entries


def _read_file(path: Path, entry: tuple[int, str]) -> bytes:
    size, sha256 = entry
    with open_file(path) as stream:
        found = os.fstat(stream.fileno()).st_size
        if found != size:
            raise PolyfieldError(f"{shown(path)} has {found:,} bytes; {MANIFEST} states {size:,}")
        data = read_stream(stream, size, shown(path))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PolyfieldError(f"{shown(path)} is damaged: its SHA-256 is not the one in {MANIFEST}")
    return data


def _way_out(folders: dict[int, Path], bad: int) -> str:
    """Return the advice for a bad generation."""
    for step in sorted(folders.keys() - {bad}, key=lambda step: (abs(step - bad), -step)):
        with contextlib.suppress(PolyfieldError):
            _read(folders[step], step)
            run = shown(folders[step].parent.parent)
            return f"the nearest intact checkpoint is that of step {step}: use `polyfield resume {run} --generation {step}`"
    return "no other checkpoint is intact; fit again from the start"
