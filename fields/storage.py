"""Storage: files that are whole or not there, JSON without surprises, tensors under a checksum."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import re
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from polyfield.errors import PolyfieldError, shown

LONGEST_JSON = 256 << 20  # bytes
LONGEST_HEADER = 100_000_000  # bytes, the limit of the safetensors format
MOST_AXES = 8
CHECKSUM = "sha256"  # the metadata key of the content checksum

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}

# -- writing


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


# -- JSON


def json_text(value: Any, where: str, indent: int | None = None) -> str:
    """JSON of plain data, keys in their order; NaN and infinity are refused."""
    try:
        return json.dumps(value, allow_nan=False, indent=indent)
    except ValueError as error:
        raise PolyfieldError(f"{where}: cannot be written as JSON: {error}") from None


def json_file(value: Any, where: str) -> bytes:
    """The bytes of a JSON file: indented, with a newline at the end."""
    return (json_text(value, where, indent=2) + "\n").encode()


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write plain data as a JSON file, atomically."""
    write_bytes(path, json_file(value, shown(path)))


def read_json(path: str | os.PathLike[str]) -> Any:
    """The plain data of a JSON file, read strictly: see `parse_json`."""
    with open_file(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > LONGEST_JSON:
            raise PolyfieldError(
                f"{shown(path)}: {size:,} bytes of JSON; at most {LONGEST_JSON:,} are read; make it smaller"
            )
        return parse_json(read_stream(stream, size, shown(path)), shown(path))


def parse_json(data: bytes, where: str) -> Any:
    """The plain data of JSON bytes in UTF-8, with or without a byte order mark.

    NaN, infinities, keys that stand twice in an object and absurdly deep nesting are refused in one line that begins
    with `where`.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolyfieldError(f"{where}: line {line}: not UTF-8; save the file as UTF-8") from None
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_whole,
            parse_constant=_constant,
        )
    except _Fault:
        raise PolyfieldError(f"{where}: {_first_fault(text)}") from None
    except json.JSONDecodeError as error:
        raise PolyfieldError(
            f"{where}: line {error.lineno}: not valid JSON: {error.msg.removesuffix(' at')}"
        ) from None
    except RecursionError:
        raise PolyfieldError(f"{where}: JSON nested too deeply to be read; flatten it") from None


class _Fault(Exception):
    """JSON that the grammar of the parser lets pass and we do not."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _Fault
    return members


def _float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise _Fault
    return value


def _whole(text: str) -> int:
    _float(text)  # thousands of digits would take the parser forever, and overflow whoever uses the number
    return int(text)


def _constant(text: str) -> float:
    raise _Fault


_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_TOKENS = re.compile(rf"({_STRING})\s*:|{_STRING}|[{{}}\[\],]|-?Infinity|NaN|-?\d[\d.eE+-]*")


def _first_fault(text: str) -> str:
    """Where and what the first of the faults is that the parser's hooks saw without knowing the place."""
    where: list[str | int] = []  # the way to this token: keys of objects and indices of arrays
    open_objects: list[set[str] | None] = []  # the keys of each object so far, None for an array
    for token in _TOKENS.finditer(text):
        found, key = token[0], token[1]
        if key is not None:
            where[-1], keys = json.loads(key), open_objects[-1]
            assert keys is not None
            if where[-1] in keys:
                return (
                    f"line {_line(text, token)}: the key {key:.80} stands twice in one object, at {_way(where)}; "
                    "remove one"
                )
            keys.add(str(where[-1]))
        elif found in "{[":
            open_objects.append(set() if found == "{" else None)
            where.append("" if found == "{" else 0)
        elif found in "}]":
            open_objects.pop()
            where.pop()
        elif found == ",":
            where[-1] = where[-1] + 1 if isinstance(where[-1], int) else where[-1]
        elif not found.startswith('"') and not math.isfinite(float(found)):
            at = f" at {_way(where)}" if where else ""
            return f"line {_line(text, token)}: found {found[:20]}{at}; expected a finite number"
    raise AssertionError("a fault that cannot be found again")


def _way(where: list[str | int]) -> str:
    """frames[3].transform_matrix[0][1]"""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step:.80}" for step in where)
    return shown(steps.removeprefix("."))


def _line(text: str, token: re.Match[str]) -> int:
    return text.count("\n", 0, token.start()) + 1


# -- tensors


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256, in hexadecimal, of all metadata but the checksum itself and of every tensor's name, type, shape, bytes."""
    others = sorted((key, value) for key, value in metadata.items() if key != CHECKSUM)
    total = hashlib.sha256(json.dumps(others).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(json.dumps([name, _CODES[tensor.dtype], list(tensor.shape)]).encode())
        total.update(_raw(tensor))
    return total.hexdigest()


def tensors_to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """A safetensors file of the tensors, on any device and of any strides, with its checksum in the metadata.

    The same values give the same bytes (safetensors' own writer shuffles metadata). Tensors that share memory are
    written one by one. NaN and infinities are refused: what is written can be read.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _CODES:
            raise PolyfieldError(f"tensor {name}: {tensor.dtype}; expected one of {', '.join(DTYPES)}")
    _refuse_non_finite(tensors, "nothing was written")
    header: dict[str, Any] = {
        "__metadata__": dict(sorted({**metadata, CHECKSUM: digest(tensors, metadata)}.items()))
    }
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # so that each stands aligned
    begin = 0
    for name in order:
        tensor = tensors[name]
        end = begin + tensor.nbytes
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    # Unescaped: an escape may be spelt in two ways, and every flipped bit is to be seen.
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(_raw(tensors[name]) for name in order)])


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file that `tensors_to_bytes` made.

    The header is checked before memory is taken, the checksum and the values before anything is returned. Raises
    PolyfieldError, one line with the file and the cause.
    """
    with open_file(path) as stream:
        return _tensors(stream, os.fstat(stream.fileno()).st_size, shown(path))


def tensors_from_bytes(data: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """`read_tensors` of bytes that are in memory; `where` begins the messages."""
    return _tensors(io.BytesIO(data), len(data), where)


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


def _tensors(stream: BinaryIO, size: int, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    metadata = _read_header(stream, size, where)
    stream.seek(0)
    try:
        tensors = safetensors.torch.load(read_stream(stream, size, where))
    except safetensors.SafetensorError as error:
        raise _damaged(where, str(error)) from None
    if CHECKSUM not in metadata:
        raise PolyfieldError(f"{where}: the metadata hold no {CHECKSUM}: polyfield did not write this file")
    if digest(tensors, metadata) != metadata[CHECKSUM]:
        raise _damaged(where, "the content does not match its SHA-256")
    _refuse_non_finite(tensors, where)
    return tensors, metadata


def _read_header(stream: BinaryIO, size: int, where: str) -> dict[str, str]:
    """The metadata, after every check that needs the header and the file's size alone."""
    start = read_stream(stream, 9, where)
    if not start:
        raise _damaged(where, "is empty (0 bytes)")
    if start[8:] != b"{" and start.startswith((b"\x80", b"PK")):
        raise PolyfieldError(
            f"{where}: is a pickle, which polyfield never opens; convert it where it was made"
        )
    length = int.from_bytes(start[:8], "little")
    if length > LONGEST_HEADER:
        raise _damaged(where, f"says that its header has {length:,} bytes; at most {LONGEST_HEADER:,}")
    if size < 8 + length:
        raise _damaged(where, f"is cut short: {size:,} bytes, and the header alone needs {8 + length:,}")
    stream.seek(8)
    header = parse_json(read_stream(stream, length, where), f"{where}: header")
    if not isinstance(header, dict):
        raise _damaged(where, "the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(where, "the header's metadata are not all text")
    spans = sorted((_span(name, entry, where), name) for name, entry in header.items())
    reached = 0
    for (begin, end), name in spans:
        if begin != reached:
            fault = "overlaps another" if begin < reached else "leaves a gap before it"
            raise _damaged(where, f"tensor {name!r:.80} {fault}: begins at byte {begin}, expected {reached}")
        reached = end
    if size != 8 + length + reached:
        fault = "is cut short" if size < 8 + length + reached else "is too long"
        raise _damaged(where, f"{fault}: {size:,} bytes, and the header asks for {8 + length + reached:,}")
    return metadata


def _span(name: str, entry: Any, where: str) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, after the checks of its own entry."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [begin, end], **rest} if (
            not rest and all(type(n) is int and n >= 0 for n in (*shape, begin, end))
        ):
            pass
        case _:
            raise _damaged(
                where, f"tensor {name!r:.80}: the header does not give a dtype, shape and data_offsets"
            )
    if dtype not in DTYPES:
        raise _damaged(
            where, f"tensor {name!r:.80}: dtype {dtype!r:.20}; expected one of {', '.join(DTYPES)}"
        )
    if len(shape) > MOST_AXES:
        raise _damaged(where, f"tensor {name!r:.80}: {len(shape)} axes; at most {MOST_AXES}")
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if math.prod(max(n, 1) for n in shape) >= 1 << 48 or needed != end - begin:
        raise _damaged(
            where, f"tensor {name!r:.80}: shape {shape} of {dtype} does not fit its {end - begin:,} bytes"
        )
    return begin, end


def _raw(tensor: Tensor) -> Any:
    """A tensor's bytes in memory order of a contiguous copy, as a buffer."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _refuse_non_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not (finite := tensor.isfinite()).all():
            bad = tensor.numel() - int(finite.sum())
            raise PolyfieldError(
                f"{where}: tensor {name!r:.80}: {bad:,} of {tensor.numel():,} values are NaN or infinite; "
                "go back to an earlier state"
            )


def _damaged(where: str, fault: str) -> PolyfieldError:
    return PolyfieldError(f"{where}: {fault}; the file is damaged: take another copy or write it again")
