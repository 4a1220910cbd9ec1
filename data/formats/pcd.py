"""PCD of the Point Cloud Library: text, binary and compressed binary; points with normals.

https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

from __future__ import annotations

import re

import numpy as np

from polyfield.data.decoding import Malformed, Truncated
from polyfield.data.formats.polygons import Polygons

_KINDS = {
    "F4", "F8", "I1", "I2", "I4", "I8", "U1", "U2", "U4", "U8",
}  # fmt: skip
_KEYS = ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS")
_MOST_UNPACKED = 2**31  # bytes
_LONGEST_HEAD = 1 << 16  # bytes


def read(data: bytes) -> Polygons:
    """Return the points of a PCD, and their normals if it has any. Raises Malformed and Truncated."""
    head, form, start = _head(data)
    kind = _kind(head)
    count = _whole(head, "POINTS")
    if "WIDTH" in head and count != _whole(head, "WIDTH") * _whole(head, "HEIGHT"):
        raise Truncated(
            f"POINTS is {count:,}, but WIDTH x HEIGHT is {head['WIDTH'][0]} x {head['HEIGHT'][0]}"
        )
    body = data[start:]
    if form == "ascii":
        columns = _text(body, kind, count)
    elif form == "binary":
        if len(body) < count * kind.itemsize:
            raise Truncated(
                f"{len(body):,} bytes of data, but its header states {count:,} points of {kind.itemsize} bytes"
            )
        rows = np.frombuffer(body, kind, count)
        columns = {name: rows[name] for name in kind.names or ()}
    else:
        columns = _compressed(body, kind, count)
    vectors = [_vectors(columns, names) for names in (("x", "y", "z"), ("normal_x", "normal_y", "normal_z"))]
    if vectors[0] is None:
        raise Malformed(f"its fields are {', '.join(head['FIELDS'])[:80]}; expected x, y and z among them")
    none = np.empty(0, np.int64)
    return Polygons(vectors[0], none, none, None if vectors[1] is None else vectors[1].astype(np.float32))


def _head(data: bytes) -> tuple[dict[str, list[str]], str, int]:
    """Return the header's words by key, the form of the data, and where they start."""
    head: dict[str, list[str]] = {}
    start = 0
    while (end := data.find(b"\n", start, _LONGEST_HEAD)) >= 0:
        words = data[start:end].decode("latin-1").split() or ["#"]
        start = end + 1
        if words[0] == "DATA":
            if words[1:] not in (["ascii"], ["binary"], ["binary_compressed"]):
                raise Malformed(
                    f"its DATA are {' '.join(words[1:])!r:.40}; expected ascii, binary or binary_compressed"
                )
            return head, words[1], start
        if words[0] in _KEYS:
            head[words[0]] = words[1:]
        elif not words[0].startswith("#"):
            raise Malformed(
                f"its header has the line {' '.join(words)!r:.60}; "
                f"expected a line that begins with {', '.join(_KEYS)} or DATA"
            )
    raise Truncated("its header has no DATA")


def _kind(head: dict[str, list[str]]) -> np.dtype:
    """Return the type of a point, with fields of the same names."""
    for key in ("FIELDS", "SIZE", "TYPE", "POINTS"):
        if key not in head:
            raise Malformed(f"its header has no {key}; export it again")
    names, sizes, types = head["FIELDS"], head["SIZE"], head["TYPE"]
    counts = head.get("COUNT", ["1"] * len(names))
    if not len(names) == len(sizes) == len(types) == len(counts):
        raise Malformed("its FIELDS, SIZE, TYPE and COUNT have different lengths; export it again")
    fields = []
    for number, (name, size, kind, count) in enumerate(zip(names, sizes, types, counts)):
        if kind + size not in _KINDS or not re.fullmatch(r"\d{1,5}", count):
            raise Malformed(
                f"its field {name!r:.40} has COUNT {count:.9} and type {kind:.9}{size:.9}; "
                f"expected a whole number for COUNT and one of the types {', '.join(sorted(_KINDS))}"
            )
        # Padding is called _, any number of times.
        unique = name if names.count(name) == 1 else f"{number} {name}"
        fields.append((unique, f"<{kind.lower()}{size}", (int(count),)))
    return np.dtype(fields)


def _whole(head: dict[str, list[str]], key: str) -> int:
    found = head.get(key, [])
    if len(found) != 1 or not re.fullmatch(r"\d{1,12}", found[0]):
        raise Malformed(f"its {key} is {' '.join(found)!r:.40}; expected a whole number")
    return int(found[0])


def _text(body: bytes, kind: np.dtype, count: int) -> dict[str, np.ndarray]:
    widths = {name: int(np.prod(kind[name].shape)) for name in kind.names or ()}
    width = sum(widths.values())
    words = body.split()
    if len(words) < count * width:
        raise Truncated(f"{len(words):,} numbers of data, but its header states {count * width:,}")
    try:
        values = np.array(words[: count * width], np.float64).reshape(count, width)
    except ValueError:
        raise Malformed("a point has values that are not numbers; export it again") from None
    ends = np.cumsum(list(widths.values()))
    return {name: values[:, end - size : end] for (name, size), end in zip(widths.items(), ends)}


def _compressed(body: bytes, kind: np.dtype, count: int) -> dict[str, np.ndarray]:
    """Return the fields of LZF-compressed data, which hold one field after the other."""
    packed, unpacked = (int.from_bytes(body[at : at + 4], "little") for at in (0, 4))
    if len(body) < 8 + packed:
        raise Truncated(f"{len(body):,} bytes of compressed data; their own header states {8 + packed:,}")
    if unpacked != count * kind.itemsize:
        raise Truncated(f"{unpacked:,} bytes unpacked, but its header states {count * kind.itemsize:,}")
    if unpacked > _MOST_UNPACKED:
        raise Malformed(
            f"it has {unpacked:,} bytes unpacked; expected at most {_MOST_UNPACKED:,}: save it as DATA binary"
        )
    data = unpack_lzf(body[8 : 8 + packed], unpacked)
    columns, at = {}, 0
    for name in kind.names or ():
        columns[name] = np.frombuffer(
            data, kind[name].base, count * int(np.prod(kind[name].shape)), at
        ).reshape(count, -1)
        at += count * kind[name].itemsize
    return columns


def unpack_lzf(data: bytes, size: int) -> bytes:
    """Return the bytes that LZF packed. Raises Truncated if there are not `size` of them."""
    found = bytearray()
    at = 0
    try:
        while at < len(data) and len(found) <= size:
            control = data[at]
            at += 1
            if control < 32:  # a literal run of control + 1 bytes
                found += data[at : at + control + 1]
                at += control + 1
                continue
            length, back = control >> 5, (control & 31) << 8  # a copy of bytes further back
            if length == 7:
                length += data[at]
                at += 1
            back += data[at] + 1
            at += 1
            length += 2
            begin = len(found) - back
            if begin < 0:
                raise Truncated("the compressed data refer to bytes before their start")
            copied = found[begin : begin + length]
            found += (copied * (length // len(copied) + 1))[:length]  # it may overlap its own end
    except IndexError:
        raise Truncated("the compressed data end within a copy") from None
    if len(found) != size:
        raise Truncated(f"{len(found):,} bytes unpacked; expected {size:,}")
    return bytes(found)


def _vectors(columns: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    if not all(name in columns and columns[name].shape[1] == 1 for name in names):
        return None
    return np.concatenate([columns[name] for name in names], 1).astype(np.float64)
