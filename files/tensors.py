"""Tensors with a checksum: safetensors files in which every byte is checked."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from polyfield.errors import PolyfieldError, shown
from polyfield.files.atomic import open_file, read_stream
from polyfield.files.strict_json import parse_json

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


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256, in hexadecimal, of the content: metadata and tensors.

    It covers all metadata but the checksum itself, and every tensor's name, type, shape and bytes.
    """
    others = sorted((key, value) for key, value in metadata.items() if key != CHECKSUM)
    total = hashlib.sha256(json.dumps(others).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(json.dumps([name, _CODES[tensor.dtype], list(tensor.shape)]).encode())
        total.update(_raw(tensor))
    return total.hexdigest()


def tensors_to_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a safetensors file of the tensors, with its checksum in the metadata.

    Tensors may be on any device and have any strides. The same values give the same bytes; safetensors' own
    writer shuffles metadata. Tensors that share memory are written one by one. Raises PolyfieldError for NaN,
    infinities and other types, so that every written file can be read.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _CODES:
            raise PolyfieldError(f"tensor {name} is {tensor.dtype}; expected one of {', '.join(DTYPES)}")
    _refuse_non_finite(tensors, "nothing was written")
    header: dict[str, Any] = {
        "__metadata__": dict(sorted({**metadata, CHECKSUM: digest(tensors, metadata)}.items()))
    }
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))  # so that each is aligned
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
    # Unescaped, because an escape has two spellings, and every flipped bit must be detected.
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(_raw(tensors[name]) for name in order)])


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and metadata of a safetensors file that `tensors_to_bytes` made.

    The header is checked before memory is allocated. The checksum and the values are checked before anything
    is returned. Raises PolyfieldError, one line with the file and the cause.
    """
    with open_file(path) as stream:
        return _tensors(stream, os.fstat(stream.fileno()).st_size, shown(path))


def tensors_from_bytes(data: bytes, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and metadata of bytes in memory. Messages begin with `where`. See `read_tensors`."""
    return _tensors(io.BytesIO(data), len(data), where)


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
    """Return the metadata, after every check that needs the header and the file's size alone."""
    start = read_stream(stream, 9, where)
    if not start:
        raise _damaged(where, "it is empty (0 bytes)")
    if start[8:] != b"{" and start.startswith((b"\x80", b"PK")):
        raise PolyfieldError(
            f"{where} is a pickle or a zip archive, which polyfield never opens; expected a file that polyfield wrote"
        )
    length = int.from_bytes(start[:8], "little")
    if length > LONGEST_HEADER:
        raise PolyfieldError(
            f"{where}: its first 8 bytes state a header of {length:,} bytes; expected at most {LONGEST_HEADER:,}; "
            "polyfield did not write this file, or the file is damaged; use another file"
        )
    if size < 8 + length:
        raise _damaged(where, f"it is cut short: {size:,} bytes, and the header alone needs {8 + length:,}")
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
            raise _damaged(
                where, f"tensor {name!r:.80} {fault}: it begins at byte {begin}; expected {reached}"
            )
        reached = end
    if size != 8 + length + reached:
        fault = "it is cut short" if size < 8 + length + reached else "it is too long"
        raise _damaged(where, f"{fault}: {size:,} bytes; the header states {8 + length + reached:,}")
    return metadata


def _span(name: str, entry: Any, where: str) -> tuple[int, int]:
    """Return where a tensor's bytes begin and end, after the checks of its entry."""
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
        raise _damaged(where, f"tensor {name!r:.80} has {len(shape)} axes; expected at most {MOST_AXES}")
    needed = math.prod(shape) * DTYPES[dtype].itemsize
    if math.prod(max(n, 1) for n in shape) >= 1 << 48 or needed != end - begin:
        raise _damaged(
            where, f"tensor {name!r:.80}: shape {shape} of {dtype} does not fit its {end - begin:,} bytes"
        )
    return begin, end


def _raw(tensor: Tensor) -> Any:
    """Return a tensor's bytes, in the memory order of a contiguous copy, as a buffer."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()


def _refuse_non_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not (finite := tensor.isfinite()).all():
            bad = tensor.numel() - int(finite.sum())
            raise PolyfieldError(
                f"{where}: tensor {name!r:.80}: {bad:,} of {tensor.numel():,} values are NaN or infinite; "
                "use an earlier file or checkpoint"
            )


def _damaged(where: str, fault: str) -> PolyfieldError:
    return PolyfieldError(f"{where}: {fault}; the file is damaged; use another copy or write it again")
