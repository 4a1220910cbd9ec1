"""Interruption by SIGINT or SIGTERM.

A signal raises Stopped; during a fit's steps it makes the fit save and end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Self


class Stopped(BaseException):
    """A signal arrived. No `except Exception` catches it, so locks and temporary files are removed."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Return a context in which the first signal raises Stopped, and a second SIGINT ends the process."""
    asked: list[int] = []

    def stop(number: int) -> None:
        if not asked:
            asked.append(number)
            raise Stopped(number)
        _end_if_urgent(number)

    with _calling(stop):
        yield


class Interruption:
    """A context in which the first signal only sets `signal`. The loop reads it between steps."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers = _calling(self._ask)

    def __enter__(self) -> Self:
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._handlers.__exit__(None, None, None)

    @property
    def exit_status(self) -> int:
        """The exit status: 128 + the signal's number, as a shell reports it."""
        return 128 + (self.signal or 0)

    def _ask(self, number: int) -> None:
        if self.signal is not None:
            _end_if_urgent(number)
        self.signal = number


def _end_if_urgent(number: int) -> None:
    if number == signal.SIGINT:
        os._exit(128 + number)  # files are whole, because every write is atomic


@contextlib.contextmanager
def _calling(handler: Callable[[int], None]) -> Iterator[None]:
    """Return a context in which both signals call `handler`.

    It does nothing off the main thread, because only the main thread can set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def call(number: int, _: FrameType | None) -> None:
        handler(number)

    before = {number: signal.signal(number, call) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
