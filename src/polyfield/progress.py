"""How long work says how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A function that long work calls with its share done in [0, 1], and with what it is doing.

    It may raise to stop the work; what the work was given is then unchanged.
    """

    def __call__(self, share: float, doing: str = "") -> None: ...


def silent(share: float, doing: str = "") -> None:
    """Show nothing."""


def part(progress: Progress, start: float, stop: float, what: str) -> Progress:
    """Return progress of a part of the work that takes its share from `start` to `stop`.

    >>> part(lambda share, doing="": print(share, doing), 0.5, 1.0, "meshing")(0.5)
    0.75 meshing
    """

    def inner(share: float, doing: str = "") -> None:
        progress(start + (stop - start) * share, doing or what)

    return inner
