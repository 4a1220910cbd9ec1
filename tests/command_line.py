"""The command as tests call it: as a process or in this one, and what they look at afterwards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyfield.apps.command import main
from polyfield.fitting.runs import checkpoints

SMALL = ["--options", "levels", "3", "entries", "1024", "finest", "48", "width", "16"]
STEPS = 120


def start(*arguments: str | int | Path, cwd: Path) -> subprocess.Popen:
    """Begin a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "polyfield.apps", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(*arguments: str | int | Path, cwd: Path, status: int = 0) -> tuple[str, str]:
    """Return stdout and stderr of a command in a process of its own."""
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return out, err


def inside(capsys, *arguments: str | int | Path) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return ended.value.code, said.out, said.err


def mistake(capsys, *arguments: str | int | Path) -> str:
    """Return the one line with which a command is refused."""
    status, _, err = inside(capsys, *arguments)
    assert status == 1 and err.count("error: ") == 1
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    return last.removeprefix("error: ")


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file as a person would."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def final_tensors(folder: Path) -> str:
    """Return a hash of the last checkpoint's tensors."""
    [newest] = checkpoints.generations(folder)[-1:]
    assert newest == STEPS
    tensors = checkpoints.load(folder).tensors
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().view(-1).numpy().tobytes())
    return total.hexdigest()


def lock_of(pid: int, folder: Path) -> bool:
    """Return whether a process has begun to work on a run."""
    try:
        return f'"pid": {pid}' in (folder / "lock.json").read_text()
    except FileNotFoundError:  # not taken yet, or given back between two looks
        return False


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
