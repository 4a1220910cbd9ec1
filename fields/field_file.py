"""Field files: one safetensors file with all that is needed to query, view, convert and export a field."""

from __future__ import annotations

import difflib
import math
import os
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.errors import PolyfieldError, naming, shown
from polyfield.fields.context import FieldContext, nonsense
from polyfield.fields.quantised import SCALES
from polyfield.fields.registry import build
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import SCALES_OF, StoredField
from polyfield.files.atomic import write_bytes
from polyfield.files.strict_json import json_text, parse_json
from polyfield.files.tensors import read_tensors, tensors_to_bytes

FORMAT = "polyfield-field"
VERSION = "2"

_FIELD = "field."  # begins the names of the field's own tensors
_OCCUPANCY = "context.occupancy"
_LARGEST_INFLATED = 1 << 28  # bytes of a file's zlib streams, inflated


def save_field(path: str | os.PathLike[str], field: StoredField, context: FieldContext) -> None:
    """Write a field and its context, atomically, with tables in half precision, or with 8 bits if its spec says so.

    Raises PolyfieldError if that fails. An existing file is then unchanged.
    """
    where = shown(path)
    tensors = {_FIELD + name: tensor for name, tensor in field.stored().items()}
    if field.spec.bits is not None:
        left = _LARGEST_INFLATED
        for name, tensor in sorted(tensors.items()):
            if _may_deflate(tensor) and tensor.nbytes <= left:
                data = _deflated(tensor)
                if data.nbytes < tensor.nbytes:
                    tensors[name], left = data, left - tensor.nbytes
    shape = None
    if context.occupancy is not None:
        shape = list(context.occupancy.shape)
        tensors[_OCCUPANCY] = _pack(context.occupancy, deflated=field.spec.bits is not None)
    plain = {
        "background": list(context.background),
        "step_size": context.step_size,
        "cone": context.cone,
        "near": context.near,
        "occupancy": shape,
        "cameras": context.cameras,
        "source": context.source,
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "spec": json_text(field.spec.to_json(), where),
        "context": json_text(plain, where),
    }
    write_bytes(path, tensors_to_bytes(tensors, metadata))


def load_field(path: str | os.PathLike[str]) -> tuple[StoredField, FieldContext]:
    """Return the field of a file, on the CPU, and its context.

    Raises PolyfieldError, one line that begins with the path, if the file is damaged or has another format or
    version, or if its tensors are not those of its spec. Memory is allocated for the file's content, not for
    the spec's claims.
    """
    where = shown(path)
    tensors, metadata = read_tensors(path)
    if metadata.get("format") != FORMAT:
        raise PolyfieldError(
            f"{where} is not a field file: its format is {metadata.get('format')!r:.80}; expected {FORMAT!r}"
        )
    if metadata.get("version") != VERSION:
        raise PolyfieldError(
            f"{where} is a field file of version {metadata.get('version')!r:.80}; this polyfield reads version "
            f"{VERSION!r}; use the version of polyfield that wrote it, or fit again"
        )
    with naming(path):
        spec, packed = FieldSpec.from_json(_json(metadata, "spec")), tensors.pop(_OCCUPANCY, None)
        context = _context(_json(metadata, "context"), packed, deflated=spec.bits is not None)
        return _field(spec, tensors), context


def _json(metadata: dict[str, str], key: str) -> Any:
    if key not in metadata:
        raise PolyfieldError(f"the metadata hold no {key}; restore the file, or fit again")
    return parse_json(metadata[key].encode(errors="surrogatepass"), key)


def _field(spec: FieldSpec, tensors: dict[str, Tensor]) -> StoredField:
    with torch.device("meta"):
        expected = {_FIELD + name: tensor for name, tensor in build(spec).stored().items()}
    _compare_names(tensors, expected)
    if spec.bits is not None:
        streams = {name: tensor for name, tensor in expected.items() if _is_stream(tensors[name], tensor)}
        size = sum(tensor.nbytes for tensor in streams.values())
        if size > _LARGEST_INFLATED:
            raise PolyfieldError(
                f"its zlib streams hold {size:,} bytes; expected at most {_LARGEST_INFLATED:,}; restore the file, or fit again"
            )
        _compare({name: tensors[name] for name in expected.keys() - streams.keys()}, expected)
        tensors |= {name: _whole_numbers(name, tensors[name], tensor) for name, tensor in streams.items()}
    _compare(tensors, expected)
    if spec.bits is not None:
        _check_quantised(tensors)
    built = build(spec)
    built.take({name.removeprefix(_FIELD): tensor for name, tensor in tensors.items()})
    return built


def _compare_names(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors whose names are not those of the spec."""
    extra = found.keys() - expected.keys()
    for name in sorted(expected.keys() - found.keys()):
        for closest in difflib.get_close_matches(name, extra, n=1, cutoff=0):
            raise PolyfieldError(
                f"tensor {name!r} is missing; found {closest!r:.80} instead; restore the file, or fit again"
            )
        raise PolyfieldError(f"tensor {name!r} is missing; restore the file, or fit again")
    for name in sorted(extra):
        raise PolyfieldError(
            f"tensor {name!r:.80} does not belong to this field; expected {', '.join(expected)}; restore the file, or fit again"
        )


def _compare(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors whose types and shapes are not those of the spec."""
    for name, tensor in found.items():
        ours = expected[name].dtype, tuple(expected[name].shape)
        theirs = tensor.dtype, tuple(tensor.shape)
        if ours != theirs:
            raise PolyfieldError(
                f"tensor {name!r} is {theirs[0]} {theirs[1]}; expected {ours[0]} {ours[1]} by the description of the field in "
                "this file; restore the file, or fit again"
            )


def _check_quantised(tensors: Mapping[str, Tensor]) -> None:
    """Refuse whole numbers and scales that `quantised` never makes."""
    least, largest = SCALES
    for name, scales in tensors.items():
        if not name.endswith(SCALES_OF):
            continue
        bad = scales[(scales < least) | (scales > largest)]
        if len(bad):
            raise PolyfieldError(
                f"tensor {name!r}: found the scale {float(bad[0]):g}; expected {least:g} to {largest:g}; restore the file, or fit again"
            )
        if (numbers := tensors[name.removesuffix(SCALES_OF)]).min() == -128:
            at = int((numbers.flatten() == -128).nonzero()[0])
            raise PolyfieldError(
                f"tensor {name.removesuffix(SCALES_OF)!r}: number {at} is -128; expected -127 to 127; restore the file, or fit again"
            )


def _context(data: Any, packed: Tensor | None, *, deflated: bool) -> FieldContext:
    match data:
        case {
            "background": [red, green, blue],
            "step_size": step_size,
            "cone": cone,
            "near": near,
            "occupancy": shape,
            "cameras": dict(cameras),
            "source": dict(source),
        } if all(type(n) in (int, float) for n in (red, green, blue, step_size, cone, near)):
            return FieldContext(
                background=(float(red), float(green), float(blue)),
                step_size=float(step_size),
                cone=float(cone),
                near=float(near),
                occupancy=_unpack(packed, shape, deflated=deflated),
                cameras=cameras,
                source=source,
            )
    raise PolyfieldError(
        f"context is {data!r:.100}; expected an object with background (three numbers), step_size, cone, near "
        "(numbers), occupancy (the sizes of the occupancy grid, or null), cameras and source (objects); restore the file, or fit again"
    )


def _pack(occupancy: Tensor, *, deflated: bool) -> Tensor:
    """Return bools of any shape as one bit each, (ceil(n / 8),) uint8. The first is the lowest bit.

    With `deflated`, return those bytes as a zlib stream (RFC 1950).
    """
    bits = np.packbits(occupancy.cpu().numpy(), bitorder="little")
    return torch.from_numpy(
        np.frombuffer(bytearray(zlib.compress(bits.tobytes(), 9)), np.uint8) if deflated else bits
    )


def _unpack(packed: Tensor | None, shape: Any, *, deflated: bool) -> Tensor | None:
    """Return the inverse of `_pack`."""
    if packed is None and shape is None:
        return None
    if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
        raise nonsense(
            "occupancy", shape, f"the shape of the tensor {_OCCUPANCY}; restore the file, or fit again"
        )
    size = -(-math.prod(shape) // 8)
    if deflated and packed is not None and packed.dtype == torch.uint8:
        packed = _inflated(packed, size)
    if packed is None or packed.dtype != torch.uint8 or packed.shape != (size,):
        found = "nothing" if packed is None else f"{packed.dtype} {tuple(packed.shape)}"
        raise PolyfieldError(
            f"tensor {_OCCUPANCY}: found {found}; expected torch.uint8 ({size},); restore the file, or fit again"
        )
    bits = np.unpackbits(packed.numpy(), count=math.prod(shape), bitorder="little")
    return torch.from_numpy(bits.astype(bool)).reshape(shape)


def _may_deflate(tensor: Tensor) -> bool:
    """Whether a file of a field with 8 bits holds a tensor as a zlib stream if that is smaller: whole numbers."""
    return tensor.dtype == torch.int8 or (tensor.dtype == torch.int32 and tensor.dim() > 0)


def _is_stream(found: Tensor, expected: Tensor) -> bool:
    """Whether a tensor of a file is a zlib stream."""
    return _may_deflate(expected) and found.dtype == torch.uint8 and found.dim() == 1


def _deflated(numbers: Tensor) -> Tensor:
    """Return whole numbers as a zlib stream.

    It holds int8 numbers (..., F) column by column. Of int32 numbers (N,), it holds the differences between neighbours,
    modulo 2^32, all first bytes first.
    """
    plain = numbers.cpu().numpy()
    if numbers.dtype == torch.int32:
        steps = np.diff(plain.astype("<u4"), prepend=np.uint32(0)).astype("<u4")
        data = steps.view(np.uint8).reshape(-1, 4).T.tobytes()
    else:
        data = plain.T.tobytes()
    return torch.from_numpy(np.frombuffer(bytearray(zlib.compress(data)), np.uint8))


def _whole_numbers(name: str, packed: Tensor, expected: Tensor) -> Tensor:
    """Return the inverse of `_deflated`, of the expected type and shape."""
    data = _inflated(packed, expected.nbytes, name).numpy()
    if expected.dtype == torch.int8:
        columns = data.view(np.int8).reshape(tuple(expected.shape)[::-1])
        return torch.from_numpy(np.ascontiguousarray(columns.T))
    steps = np.ascontiguousarray(data.reshape(4, -1).T).view("<u4")[:, 0]
    return torch.from_numpy(np.cumsum(steps, dtype=np.uint32).view(np.int32)).reshape(expected.shape)


def _inflated(packed: Tensor, size: int, name: str = _OCCUPANCY) -> Tensor:
    """Return the bytes of a zlib stream, (size,) uint8. Raises PolyfieldError where there are more or fewer."""
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed.numpy().tobytes(), min(size, _LARGEST_INFLATED) + 1)
    except zlib.error as error:
        raise PolyfieldError(
            f"tensor {name} is not a zlib stream ({error}); restore the file, or fit again"
        ) from None
    if len(data) != size or not stream.eof or stream.unused_data:
        raise PolyfieldError(
            f"tensor {name}: its zlib stream does not hold {size:,} bytes; restore the file, or fit again"
        )
    return torch.from_numpy(np.frombuffer(bytearray(data), np.uint8))
