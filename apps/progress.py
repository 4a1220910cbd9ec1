"""Progress of long work: a live line on a terminal, a plain line now and then elsewhere, all of it on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

_PLAIN_EVERY = 5.0  # seconds between lines off a terminal
_LIVE_EVERY = 0.1


class Progress:
    """One task: call it with how far the work is, in [0, 1], and what else there is to say."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._start = self._shown = time.monotonic()
        self._live = _live_bar(name) if sys.stderr.isatty() else None

    def __call__(self, share: float, note: str = "") -> None:
        now = time.monotonic()
        if now - self._shown < (_LIVE_EVERY if self._live else _PLAIN_EVERY) and share < 1:
            return
        self._shown = now
        if self._live:
            self._live.update(self._live.task_ids[0], completed=share, note=note)
        elif now - self._start > 2:
            left = (now - self._start) * (1 - share) / share if share else float("inf")
            print(f"{self._name}: {share:4.0%}, {left:.0f} s left  {note}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._live:
            self._live.stop()


@contextlib.contextmanager
def showing(name: str) -> Iterator[Progress]:
    """A Progress that is taken off the screen at the end."""
    progress = Progress(name)
    try:
        yield progress
    finally:
        progress.close()


def _live_bar(name: str) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
    bar.add_task(name, total=1.0, note="")
    bar.start()
    return bar


def say(line: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    print(line, file=sys.stderr, flush=True)
