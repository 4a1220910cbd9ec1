"""Errors of decoders, turned into one line about the file.

A file is called truncated or damaged only where its own sizes or checksums do not add up.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import struct
import sys
import zlib
from collections.abc import Iterator

from polyfield.errors import PolyfieldError

# The errors that decoders raise on bad bytes.
DECODER_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, NameError, OSError, RuntimeError, SyntaxError,
    TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


class Malformed(ValueError):
    """Content that a format does not allow, or that polyfield does not read.

    The text completes "FILE: ": what was found, what was expected and what to do.
    """


class Truncated(ValueError):
    """Data that are shorter than the file's own header states. The text names both sizes."""


@contextlib.contextmanager
def decoding(label: str) -> Iterator[None]:
    """Return a context that turns a decoder's errors into one line about the file that `label` names."""
    try:
        yield
    except PolyfieldError:
        raise
    except MemoryError:
        raise PolyfieldError(f"{label} does not fit into memory; shrink it first") from None
    except Malformed as error:
        raise PolyfieldError(f"{label}: {error}") from None
    except Truncated as error:
        raise PolyfieldError(f"{label} is truncated or damaged ({error}); copy or export it again") from None
    except DECODER_ERRORS as error:
        raise _undecodable(label, error) from None


def _undecodable(label: str, error: Exception) -> PolyfieldError:
    if isinstance(error, OSError) and error.errno is not None:  # the system's own
        return PolyfieldError(f"{label} cannot be read ({(error.strerror or str(error)).lower()})")
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    if "truncated" in reason.lower() or isinstance(error, EOFError):  # the decoder's own finding
        return PolyfieldError(f"{label} is truncated or damaged ({reason}); copy or export it again")
    return PolyfieldError(f"{label} cannot be decoded ({reason}); copy or export it again")


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Return a context in which nothing reaches stdout and stderr, for C++ libraries that print there or by Python."""
    flushes = [stream.flush for stream in (sys.stdout, sys.stderr) if stream is not None]
    for flush in flushes:
        flush()
    kept = []
    with open(os.devnull, "wb") as null:
        for number in (1, 2):
            with contextlib.suppress(OSError):  # closed from the start
                kept.append((os.dup(number), number))
                os.dup2(null.fileno(), number)
    dropped = io.StringIO()
    try:
        with contextlib.redirect_stdout(dropped), contextlib.redirect_stderr(dropped):
            yield
    finally:
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)  # what C still holds back goes the same way
        for copy, number in kept:
            os.dup2(copy, number)
            os.close(copy)
