"""Atomic writes of files, and reads of regular files."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from pathlib import Path
from typing import BinaryIO

from polyfield.errors import PolyfieldError, shown


def temporary(path: Path) -> Path:
    """Return the hidden name under which `path` is written: .NAME.PID.tmp.

    PID is the thread's own number, which on the main thread is the process's.
    """
    return path.with_name(f".{path.name}.{threading.get_native_id()}.tmp")


def refusal(path: Path, error: OSError, needed: int) -> PolyfieldError:
    """Return the error, one line, about a write of `needed` bytes that the system refused."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            cause, remedy = "the disk is full or the quota is reached", "free some space or write elsewhere"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            cause, remedy = "permission denied", "choose a folder that you can write to"
        case errno.EISDIR:
            cause, remedy = "a folder has this name", "choose another name"
        case errno.ENOENT | errno.ENOTDIR:
            cause, remedy = "its folder does not exist, or is a file", "create the folder first"
        case _:
            cause, remedy = (error.strerror or str(error)).lower(), "fix that or write elsewhere"
    what = f": cannot write {needed:,} bytes" if needed else " cannot be created"
    return PolyfieldError(f"{shown(path)}{what}: {cause}; {remedy}")


def write_synced(path: Path, data: bytes) -> None:
    """Write the file in place, with the umask's mode, and wait until it is on the disk."""
    with open(path, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the folder's list of names is on the disk."""
    if os.name == "nt":  # Windows cannot sync folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that, whenever the machine stops, the whole old file or the whole new file exists.

    Raises PolyfieldError if the system refuses. The old file is then unchanged.
    """
    path = Path(path)
    temp = temporary(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        write_synced(temp, data)
        os.replace(temp, path)
        sync_folder(path.parent)
    except OSError as error:
        raise refusal(path, error, len(data)) from None
    finally:
        with contextlib.suppress(OSError):
            temp.unlink(missing_ok=True)


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Return a regular file, opened for reading. Raises PolyfieldError, one line, for anything else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise PolyfieldError(f"{shown(path)} is a folder, a device or a pipe; expected a file")
        return open(path, "rb")
    except FileNotFoundError:
        raise PolyfieldError(f"{shown(path)}: no such file; check the path") from None
    except OSError as error:
        raise PolyfieldError(f"{shown(path)} cannot be read: {(error.strerror or '').lower()}") from None


def read_stream(stream: BinaryIO, size: int, where: str) -> bytes:
    """Return at most `size` bytes of an open file."""
    try:
        return stream.read(size)
    except OSError as error:
        raise PolyfieldError(f"{where} cannot be read: {(error.strerror or '').lower()}") from None
    except MemoryError:
        raise PolyfieldError(f"{where}: {size:,} bytes are more than this machine's memory holds") from None
