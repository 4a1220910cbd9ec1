"""The kernel implementations that are measured: the reference, and the native one for each instruction set."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

REFERENCE = "reference"
T = TypeVar("T")


def instruction_sets() -> list[str]:
    """Those that this CPU runs, widest first; none where polyfield was installed without its native part."""
    if importlib.util.find_spec("polyfield._core") is None:
        return []
    from polyfield import _core

    return _core.instruction_sets()


def forms() -> list[str]:
    """The reference, and the native form by the names of its instruction sets."""
    return [REFERENCE, *instruction_sets()]


@contextlib.contextmanager
def using(form: str) -> Iterator[None]:
    """A context in which the kernels run in that form."""
    asked = os.environ.get("POLYFIELD_KERNELS")
    before = None
    os.environ["POLYFIELD_KERNELS"] = REFERENCE if form == REFERENCE else "native"
    if form != REFERENCE:
        from polyfield import _core

        before = _core.instruction_set()
        _core.use(form)
    try:
        yield
    finally:
        if before is not None:
            _core.use(before)
        if asked is None:
            del os.environ["POLYFIELD_KERNELS"]
        else:
            os.environ["POLYFIELD_KERNELS"] = asked


def within(form: str, work: Callable[[], T]) -> Callable[[], T]:
    """The work, done in that form."""

    def run() -> T:
        with using(form):
            return work()

    return run
