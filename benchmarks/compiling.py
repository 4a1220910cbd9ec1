"""torch.compile as a contender. If it fails or takes too long, the other contenders are still measured."""

from __future__ import annotations

import contextlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator

from benchmarks.turns import Budget


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """A context that raises TimeoutError after so many seconds; only where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compiles(first: Callable[[], object], budget: Budget, notes: list[str]) -> bool:
    """Whether the first call of something compiled, which compiles it, works. A note says how long it took, or why not."""
    if not budget.compile_seconds:
        notes.append("torch.compile was left out")
        return False
    start, outcome = time.perf_counter(), ""
    try:
        with at_most(budget.compile_seconds), warnings.catch_warnings(action="ignore"):
            first()
    except Exception as error:  # noqa: BLE001 - whatever a compiler may raise
        outcome = f"torch.compile failed: {in_short(error)}"
    seconds = time.perf_counter() - start
    if outcome and seconds >= budget.compile_seconds:
        outcome = f"torch.compile was given up after {seconds:.0f} s"
    notes.append(outcome or f"torch.compile took {seconds:.0f} s at the first call, which is not counted")
    return not outcome


def in_short(error: Exception) -> str:
    """An error as a part of one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:150]
