"""Values that are kept in memory or, where they are large, in a temporary file that is mapped."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from polyfield.errors import PolyfieldError, shown

IN_MEMORY = 256 << 20  # bytes; larger values are kept in a temporary file


def kept(parts: Iterable[np.ndarray], label: str, expected: int) -> np.ndarray:
    """Return arrays (n, ...) of one type as one array (N, ...). There must be one at least.

    More than IN_MEMORY bytes are kept in an unlinked temporary file that is mapped read-only. `expected` is how many there
    will be, as far as is known. Raises PolyfieldError, which begins with `label`, where that file has no space.
    """
    taken: list[np.ndarray] = []
    size, most, parts = 0, IN_MEMORY if expected <= IN_MEMORY else 0, iter(parts)
    for part in parts:
        taken.append(part)
        size += part.nbytes
        if size > most:
            break
    else:
        return np.concatenate(taken)
    shape, dtype, needed = taken[0].shape[1:], taken[0].dtype, max(expected, size)
    with contextlib.ExitStack() as stack:
        with _space(label, needed):
            file = stack.enter_context(tempfile.TemporaryFile())
            while taken:
                file.write(np.ascontiguousarray(taken.pop(0)).data)
        for part in parts:
            with _space(label, needed):
                file.write(np.ascontiguousarray(part).data)
        with _space(label, needed):
            file.flush()
        row = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return np.memmap(file, dtype, "r", shape=(file.tell() // row, *shape))


@contextlib.contextmanager
def _space(label: str, needed: float) -> Iterator[None]:
    """Return a context in which the system's errors say that the temporary file has no space."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise PolyfieldError(
            f"{label}: {needed / 1e9:.1f} GB of pixels do not fit into {shown(tempfile.gettempdir())} ({reason});"
            " point TMPDIR to a folder with enough space, or use `polyfield fit` with a larger --downscale"
        ) from None
