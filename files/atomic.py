"""Files that are whole or not there, and regular files opened for reading."""

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
    """The hidden name under which `path` is written: .NAME.PID.tmp, with a thread's own number off the main one."""
    return path.with_name(f".{path.name}.{threading.get_native_id()}.tmp")


def refusal(path: Path, error: OSError, needed: int) -> PolyfieldError:
    """The one line about a write of `needed` bytes that the system refused."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            cause, remedy = "the disk or the quota is full", "make room or write elsewhere"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            cause, remedy = "it may not be written to", "choose a folder that you may write to"
        case errno.EISDIR:
            cause, remedy = "a folder has this name", "choose another name"
        case errno.ENOENT | errno.ENOTDIR:
            cause, remedy = "there is no such folder", "create it first"
        case _:
            cause, remedy = (error.strerror or str(error)).lower(), "mend that or write elsewhere"
    what = f"cannot write {needed:,} bytes" if needed else "cannot be made"
    return PolyfieldError(f"{shown(path)}: {what}: {cause}; {remedy}")


def write_synced(path: Path, data: bytes) -> None:
    """Write the file in place, its mode as the umask has it, and wait until the disk holds it."""
    with open(path, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk holds the folder's list of names."""
    if os.name == "nt":  # has no such call
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file so that, whenever the machine stops, there is the whole old one or the whole new one.

    Raises PolyfieldError where the system refuses; the file that was there is then as it was.
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
    """Open a regular file for reading; anything else is refused in one line."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise PolyfieldError(f"{shown(path)}: is a folder or a device; expected a file")
        return open(path, "rb")
    except FileNotFoundError:
        raise PolyfieldError(f"{shown(path)}: there is no such file; check the path") from None
    except OSError as error:
        raise PolyfieldError(f"{shown(path)}: cannot be read: {(error.strerror or '').lower()}") from None


def read_stream(stream: BinaryIO, size: int, where: str) -> bytes:
    """At most `size` bytes of an open file."""
    try:
        return stream.read(size)
    except OSError as error:
        raise PolyfieldError(f"{where}: cannot be read: {(error.strerror or '').lower()}") from None
    except MemoryError:
        raise PolyfieldError(f"{where}: {size:,} bytes are more than this machine's memory holds") from None
