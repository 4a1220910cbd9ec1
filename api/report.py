"""Reports: messages and progress for people, all of it on stderr. Nothing that is computed depends on them."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_PLAIN_EVERY = 5.0  # seconds between lines off a terminal
_LIVE_EVERY = 0.1

_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Return a context manager that suppresses all messages and progress reports of polyfield.

    >>> import polyfield
    >>> with polyfield.quiet():
    ...     pass  # polyfield.fit("photo.png", seconds=10)
    """
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def say(line: str) -> None:
    """Write a line for people."""
    if not _quiet.get():
        print(line, file=sys.stderr, flush=True)


class Bar:
    """Progress of one piece of work: a live bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._start = self._shown = time.monotonic()
        self._live = _live_bar(name) if sys.stderr.isatty() and not _quiet.get() else None

    def __call__(self, share: float, doing: str = "") -> None:
        now = time.monotonic()
        if now - self._shown < (_LIVE_EVERY if self._live else _PLAIN_EVERY) and share < 1:
            return
        self._shown = now
        if self._live:
            self._live.update(self._live.task_ids[0], completed=share, note=doing)
        elif now - self._start > 2:
            left = (now - self._start) * (1 - share) / share if share else float("inf")
            more = "" if doing == self._name else f"  {doing}"
            say(f"{self._name}: {share:4.0%}, {left:.0f} s left{more}")

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._live:
            self._live.stop()


@contextlib.contextmanager
def showing(name: str) -> Iterator[Bar]:
    """Return a context whose bar shows progress, and is removed at the end."""
    bar = Bar(name)
    try:
        yield bar
    finally:
        bar.close()


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
