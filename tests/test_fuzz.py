"""Spoilt files of every kind: the command succeeds, or says in one line why not, in bounded memory and time.

POLYFIELD_FUZZ_SECONDS sets for how long (a minute in `make test`), POLYFIELD_FUZZ_SEED where the random numbers begin,
POLYFIELD_FUZZ_KEEP a folder for the files that fail and the counts.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fuzz_inputs import Input, inputs, spoiled

from polyfield.api import fit as api_fit
from polyfield.api.fit import FitResult
from polyfield.apps.command import main

SECONDS = float(os.environ.get("POLYFIELD_FUZZ_SECONDS", "60"))
KEPT = os.environ.get("POLYFIELD_FUZZ_KEEP")
SEED = int(os.environ.get("POLYFIELD_FUZZ_SEED", "1"))
LONGEST, LARGEST = 30, 2e9  # seconds and bytes of a case


@dataclass(frozen=True)
class Outcome:
    status: int | None  # None: killed
    out: str
    err: str
    seconds: float
    memory: float  # bytes, beyond what this process has

    def faults(self, folder: Path) -> list[str]:
        """What is wrong with it."""
        found = []
        if self.status is None:
            found.append(f"killed after {self.seconds:.0f} s, or crashed")
        if self.seconds > LONGEST:
            found.append(f"took {self.seconds:.0f} s")
        if self.memory > LARGEST:
            found.append(f"took {self.memory / 1e9:.1f} GB")
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        if self.status == 0:
            try:
                json.loads(self.out)
            except ValueError:
                found.append("stdout is not JSON")
            found += ["an error beside status 0"] * bool(errors)
        elif self.status == 1:
            found += ["stdout is not empty"] * bool(self.out)
            if len(errors) != 1 or self.err.splitlines()[-1] != errors[0] or len(errors[0]) > 500:
                found.append("not one line of at most 500 characters")
            if list(folder.glob("runs/*")):
                found.append("left a run's folder behind")
        elif self.status is not None:
            found.append(f"status {self.status}")
        if "Traceback" in self.err:
            found.append("a traceback")
        return found


def attempt(arguments: list[str], folder: Path) -> Outcome:
    """Run the command in a child of this process, which has everything loaded. Of fits all but the training runs."""
    out, err = folder.parent / "out", folder.parent / "err"
    begun = time.monotonic()
    own = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            torch.set_num_threads(1)  # those of OpenMP do not survive a fork
            os.chdir(folder)
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout, sys.stderr = (  # as Python opens them
                open(number, "w", errors=errors, closefd=False)  # noqa: SIM115
                for number, errors in ((1, "strict"), (2, "backslashreplace"))
            )
            resource.setrlimit(resource.RLIMIT_CPU, (2 * LONGEST, 2 * LONGEST))
            main(arguments)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 70
        except BaseException:  # noqa: BLE001 - the parent sees it
            traceback.print_exc()
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    while True:
        ended, code, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - begun > LONGEST + 5:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.003)
    seconds = time.monotonic() - begun
    status = os.waitstatus_to_exitcode(code)
    return Outcome(
        None if status < 0 else status,
        out.read_text(errors="replace"),
        err.read_text(errors="replace"),
        seconds,
        max(usage.ru_maxrss * 1024.0 - own, 0),
    )


def laid_out(files: dict[str, bytes], one: Input, folder: Path) -> list[str]:
    """Write an input's files and return the command's arguments."""
    place = folder / "input"
    for name, data in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return [str(place / one.target) if word == "FILE" else word for word in one.arguments]


def leave_out_training(monkeypatch) -> None:
    """Let fits end where training would begin: what comes before it reads the files."""

    def begin(config, task, out, view):
        task.memory(config)
        return FitResult(Path("none"), {"source": task.name})

    monkeypatch.setattr(api_fit, "begin", begin)


@pytest.mark.slow
def test_spoilt_files_succeed_or_are_one_line(tmp_path, monkeypatch):
    made = list(inputs(emptied(tmp_path, "made")))
    leave_out_training(monkeypatch)
    generator = random.Random(SEED)
    counts: collections.Counter[str] = collections.Counter()
    bad: dict[str, str] = {}
    for one in made:  # as they are, all succeed
        folder = emptied(tmp_path, "work")
        outcome = attempt(laid_out(one.files, one, folder), folder)
        assert outcome.status == 0 and not outcome.faults(folder), (one.name, outcome.err[-2000:])
    end = time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < end:
        one = made[number % len(made)]
        number += 1
        files = spoiled(one, generator)
        folder = emptied(tmp_path, "work")
        outcome = attempt(laid_out(files, one, folder), folder)
        counts["done" if outcome.status == 0 else "refused" if outcome.status == 1 else "other"] += 1
        for fault in outcome.faults(folder):
            last = (outcome.err.splitlines() or [""])[-1]
            key = f"{one.name}: {fault}: {last[:300]}"
            if key not in bad and len(bad) < 40:
                kept = Path(KEPT or tmp_path / "bad") / str(len(bad))
                laid_out(files, one, kept)
                bad[key] = f"{kept}: {outcome.err[-1500:]}"
    if KEPT:
        (Path(KEPT) / "counts.json").write_text(json.dumps({"files": number, **counts}))
    assert not bad, "\n\n".join(f"{key}\n{value}" for key, value in bad.items())
    assert counts["refused"] > number / 10 and counts["done"] > number / 50


def emptied(tmp_path: Path, name: str) -> Path:
    """Return an empty folder of a name."""
    folder = tmp_path / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
