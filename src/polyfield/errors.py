"""The one kind of error that is meant for people, and paths as it shows them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator


class PolyfieldError(Exception):
    """An error that the user can correct: a bad file, key, value or request.

    The text is one line: the file, key or index, what was found, what was expected and what to do.
    The command prints it without a traceback and ends with status 1.
    """


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Return a context whose PolyfieldErrors begin with the file they are about."""
    try:
        yield
    except PolyfieldError as error:
        raise PolyfieldError(f"{shown(path)}: {error}") from None


def as_stored(error: PolyfieldError) -> str | None:
    """Return the text of an error about an option, for an option that a file stores; None for any other error."""
    text = str(error)
    if text.startswith("option "):
        return f"the stored {text.replace('or None', 'or null', 1)}"
    return f"the stored option {text}" if text.startswith("--") else None


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path for a one-line message, quoted if it holds line breaks or other unprintable characters."""
    text = os.fspath(path)
    return text if text.isprintable() else repr(text)
