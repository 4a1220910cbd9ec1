"""Results: a JSON file for each measurement, which is valid while the code, the machine and the options stay the same."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import polyfield
from benchmarks.forms import instruction_sets
from polyfield.api.results import plain
from polyfield.errors import PolyfieldError
from polyfield.files.strict_json import read_json, write_json
from polyfield.kernels.dispatch import form

ROOT = Path(__file__).parent.parent
_FLOORS = (
    "files",
    "kernels",
    "cameras",
    "fields",
    "data",
    "rendering",
    "demo",
    "fitting",
    "distill",
    "process",
)
_SHOWING = (
    "__main__.py",
    "report.py",
    "heat_map.py",
    "architecture_page.py",
)  # the benchmarks' files that no measurement depends on


@dataclass(frozen=True)
class Cell:
    """One measurement that is kept by itself."""

    kind: str
    name: str  # of its file: the kind, and what of it
    options: dict[str, Any]  # plain data
    measure: Callable[[], dict[str, Any]]  # rows and notes


def inputs(options: dict[str, Any]) -> dict[str, Any]:
    """All that a cell's figures depend on."""
    return {"polyfield": polyfield.__version__, "code": _code(), "machine": machine(), "options": options}


def machine() -> dict[str, Any]:
    """What is measured on."""
    sets, used, threads = instruction_sets(), form(torch.device("cpu")), torch.get_num_threads()
    if used == "native":
        from polyfield import _core
        from polyfield.kernels import native  # noqa: F401 - chooses the instruction set that POLYFIELD_ISA asks for

        used, threads = _core.instruction_set(), _core.threads()
    return {
        "processor": _processor(),
        "threads": threads,
        "instruction_sets": sets,
        "used": used,
        "system": platform.system(),
        "torch": torch.__version__,
    }


def keep(cell: Cell, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The cell's record, from its file if that still holds, else measured now."""
    path = folder / f"{cell.name}.json"
    now = inputs(cell.options)
    record = _read(path)
    if record is not None and record["inputs"] == now:
        say(f"{cell.name}: nothing has changed since {record['date']}")
        return record
    say(f"{cell.name}: measuring")
    start = time.perf_counter()
    results = plain(cell.measure())
    record = {
        "kind": cell.kind,
        "inputs": now,
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - start, 1),
        "rows": results["rows"],
        "notes": results.get("notes", []),
        **{key: results[key] for key in ("tile",) if key in results},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, record)
    return record


def records(folder: Path) -> list[dict[str, Any]]:
    """All records of a folder, by the names of their files."""
    return [record for path in sorted(folder.glob("*.json")) if (record := _read(path)) is not None]


def _read(path: Path) -> dict[str, Any] | None:
    """A record, or None for a file that is absent or no record: it is then measured anew."""
    try:
        record = read_json(path) if path.exists() else None
    except PolyfieldError:
        return None
    whole = isinstance(record, dict) and record.keys() >= {"kind", "inputs", "date", "rows", "notes"}
    return record if whole else None


def files_digest(folder: Path) -> str:
    """Of the names and sizes of all files below a folder, and of what its JSON files hold."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _code() -> str:
    """Of everything that is measured, and of the extension as it was built."""
    paths = [
        path
        for floor in _FLOORS
        for path in (ROOT / floor).rglob("*")
        if path.suffix in (".py", ".hpp", ".cpp")
    ]
    paths += [path for path in (ROOT / "benchmarks").glob("*.py") if path.name not in _SHOWING]
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    if instruction_sets():
        from polyfield import _core

        digest.update(Path(_core.__file__).read_bytes())
    return digest.hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
