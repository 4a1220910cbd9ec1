"""PLY, text and binary of either byte order: vertices with normals, polygons, and triangle strips.

Lists may have any lengths. Other elements and properties are passed over.
"""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import dataclass
from typing import IO

import numpy as np

from polyfield.data.decoding import Malformed, Truncated
from polyfield.data.formats.polygons import Polygons

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4",
    "float64": "f8",
}  # fmt: skip
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_INDICES = ("vertex_indices", "vertex_index")  # both names are in use
_LONGEST_HEAD = 1 << 20  # bytes


@dataclass(frozen=True)
class Property:
    """A column of an element: a number, or a list of numbers behind its own length."""

    name: str
    kind: np.dtype
    length: np.dtype | None = None  # of a list

    @property
    def least(self) -> int:
        """The fewest bytes of a row, binary."""
        return (self.length or self.kind).itemsize


@dataclass(frozen=True)
class Element:
    name: str
    count: int
    properties: tuple[Property, ...]


@dataclass(frozen=True)
class Head:
    """The header of a PLY file."""

    elements: tuple[Element, ...]
    text: bool  # rather than binary
    start: int  # of the data, in bytes

    def count(self, name: str) -> int:
        """Return how many elements of a name there are, 0 if the header names none."""
        return sum(element.count for element in self.elements if element.name == name)

    @property
    def faces(self) -> int:
        """How many faces and triangle strips there are."""
        return self.count("face") + self.count("tristrips")


def read_head(file: IO[bytes]) -> Head:
    """Return the header of an open PLY. Raises Malformed and Truncated."""
    if file.readline(16).strip() != b"ply":
        raise Malformed("it does not begin with 'ply'; expected a PLY")
    order, elements = None, []  # type: tuple[str | None, list[tuple[str, int, list[Property]]]]
    for line in iter(lambda: file.readline(4096), b""):
        words = line.decode("latin-1").split() or [""]
        if words[0] == "end_header":
            if order is None:
                raise Malformed("its header names no format; expected ascii or binary")
            made = tuple(Element(name, count, tuple(columns)) for name, count, columns in elements)
            return Head(made, order == "", file.tell())
        if file.tell() > _LONGEST_HEAD:
            raise Malformed(f"its header is longer than {_LONGEST_HEAD:,} bytes; export it again")
        shape = [words[0], len(words)]
        if shape == ["format", 3] and words[1] in _FORMATS:
            order = _FORMATS[words[1]]
        elif shape == ["element", 3] and re.fullmatch(r"\d{1,15}", words[2]):
            if any(words[1] == name for name, _, _ in elements):
                raise Malformed(f"its header has two elements {words[1]!r:.40}; expected one of each name")
            elements.append((words[1], int(words[2]), []))
        elif (
            words[0] == "property" and elements and order is not None and (column := _property(words, order))
        ):
            elements[-1][2].append(column)
        elif words[0] not in ("comment", "obj_info", ""):
            raise Malformed(
                f"its header has the line {line.strip()[:60]!r}; expected a valid format, element or property line"
            )
    raise Truncated("its header has no end_header")


def read(data: bytes) -> Polygons:
    """Return the points and polygons of a PLY. Raises Malformed and Truncated."""
    head = read_head(io.BytesIO(data))
    tables = _Text(data[head.start :]) if head.text else _Binary(data, head.start)
    found = {}
    for element in head.elements:
        found[element.name] = tables.rows(element)
    notes = (f"{rest:,} bytes behind the last element are left out.",) if (rest := tables.rest()) else ()
    columns = found.get("vertex", {})
    vertices = _vectors(columns, "x", "y", "z")
    if vertices is None:
        raise Malformed("its vertices do not have x, y and z; expected a number property for each of them")
    corners, counts = _polygons(found.get("face", {}), head.count("face"))
    if head.count("tristrips"):
        strips = _strips(found["tristrips"])
        corners, counts = np.append(corners, strips), np.append(counts, np.full(len(strips) // 3, 3))
    normals = _vectors(columns, "nx", "ny", "nz")
    return Polygons(vertices, corners, counts, None if normals is None else normals.astype(np.float32), notes)


Columns = dict[
    str, "np.ndarray | tuple[np.ndarray, np.ndarray]"
]  # of a list: its numbers, one row after the other; lengths


class _Binary:
    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._at = data, start

    def rest(self) -> int:
        return len(self._data) - self._at

    def rows(self, element: Element) -> Columns:
        least = sum(column.least for column in element.properties)
        if element.count * least > self.rest():
            raise Truncated(
                f"{self.rest():,} bytes are left for {element.count:,} elements {element.name!r} "
                f"of at least {least} bytes each"
            )
        if not element.count or not element.properties:
            return _empty(element)
        return self._alike(element) or self._each(element)

    def _alike(self, element: Element) -> Columns | None:
        """Return the columns if every list is as long as in the first row, else None."""
        at = self._at
        fields: list[tuple[str, np.dtype] | tuple[str, np.dtype, tuple[int]]] = []
        for number, column in enumerate(element.properties):
            if column.length is None:
                fields.append((str(number), column.kind))
                at += column.kind.itemsize
                continue
            size = self._length(column, at)
            at += column.length.itemsize + size * column.kind.itemsize
            if at > len(self._data):
                return None
            fields += [(f"{number}n", column.length), (str(number), column.kind, (size,))]
        kind = np.dtype(fields)
        if element.count * kind.itemsize > self.rest():
            return None
        rows = np.frombuffer(self._data, kind, element.count, self._at)
        columns: Columns = {}
        for number, column in enumerate(element.properties):
            values = rows[str(number)]
            if column.length is not None:
                lengths = rows[f"{number}n"].astype(np.int64)
                if (lengths != values.shape[1]).any():
                    return None
                columns[column.name] = values.reshape(-1), lengths
            else:
                columns[column.name] = values
        self._at += element.count * kind.itemsize
        return columns

    def _each(self, element: Element) -> Columns:
        """Return the columns of rows that differ in length."""
        parts: list[list[np.ndarray]] = [[] for _ in element.properties]
        for _ in range(element.count):
            for column, part in zip(element.properties, parts):
                size = 1
                if column.length is not None:
                    size = self._length(column, self._at)
                    self._at += column.length.itemsize
                if self._at + size * column.kind.itemsize > len(self._data):
                    raise Truncated(f"the data end within element {element.name!r}")
                part.append(np.frombuffer(self._data, column.kind, size, self._at))
                self._at += size * column.kind.itemsize
        return {
            column.name: np.concatenate(part)
            if column.length is None
            else (np.concatenate(part), np.array([len(values) for values in part]))
            for column, part in zip(element.properties, parts)
        }

    def _length(self, column: Property, at: int) -> int:
        assert column.length is not None
        if at + column.length.itemsize > len(self._data):
            raise Truncated(f"the data end before a list {column.name!r}")
        size = int(np.frombuffer(self._data, column.length, 1, at)[0])
        if size < 0:
            raise Malformed(f"a list {column.name!r} has the length {size}; expected 0 or more")
        return size


class _Text:
    def __init__(self, data: bytes) -> None:
        self._lines = iter([line for line in data.splitlines() if line.strip()])

    def rest(self) -> int:
        return sum(len(line) for line in self._lines)

    def rows(self, element: Element) -> Columns:
        lines = list(itertools.islice(self._lines, element.count))
        if len(lines) < element.count:
            raise Truncated(f"{len(lines):,} lines are left for {element.count:,} elements {element.name!r}")
        if all(column.length is None for column in element.properties):
            return self._table(element, lines)
        parts: list[list[list[bytes]]] = [[] for _ in element.properties]
        for number, line in enumerate(lines):
            words, at = line.split(), 0
            for column, part in zip(element.properties, parts):
                size = 1
                if column.length is not None:
                    if at >= len(words) or not words[at].isdigit():
                        raise Truncated(
                            f"row {number} of element {element.name!r} has no length for its list {column.name!r}"
                        )
                    size, at = int(words[at]), at + 1
                if at + size > len(words):
                    raise Truncated(
                        f"row {number} of element {element.name!r} has {len(words)} numbers, too few for its properties"
                    )
                part.append(words[at : at + size])
                at += size
        return {
            column.name: self._column(element, column, part)
            for column, part in zip(element.properties, parts)
        }

    def _table(self, element: Element, lines: list[bytes]) -> Columns:
        """Return the columns of an element without lists: the same in fewer steps."""
        width = len(element.properties)
        rows = [line.split(None, width)[:width] for line in lines]
        for number, row in enumerate(rows):
            if len(row) < width:
                raise Truncated(
                    f"row {number} of element {element.name!r} has {len(row)} numbers; expected {width}"
                )
        values = _numbers(rows, element).reshape(-1, width)
        return {column.name: values[:, at] for at, column in enumerate(element.properties)}

    def _column(
        self, element: Element, column: Property, rows: list[list[bytes]]
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        values = _numbers([[word for row in rows for word in row]], element).ravel()
        return values if column.length is None else (values, np.array([len(row) for row in rows], np.int64))


def _numbers(rows: list[list[bytes]], element: Element) -> np.ndarray:
    try:
        return np.array(rows, np.float64)
    except ValueError:
        raise Malformed(f"a value of element {element.name!r} is not a number; export it again") from None


def _property(words: list[str], order: str) -> Property | None:
    kinds = [np.dtype(order + _TYPES[word]) for word in words[1:-1] if word in _TYPES]
    if len(words) == 3 and len(kinds) == 1:
        return Property(words[2], kinds[0])
    if len(words) == 5 and words[1] == "list" and len(kinds) == 2 and kinds[0].kind in "iu":
        return Property(words[4], kinds[1], kinds[0])
    return None


def _empty(element: Element) -> Columns:
    none = np.empty(0, np.int64)
    return {column.name: none if column.length is None else (none, none) for column in element.properties}


def _vectors(columns: Columns, *names: str) -> np.ndarray | None:
    found = [columns.get(name) for name in names]
    if not all(isinstance(values, np.ndarray) for values in found):
        return None
    return np.stack([np.asarray(values, np.float64) for values in found], 1)


def _polygons(columns: Columns, count: int) -> tuple[np.ndarray, np.ndarray]:
    for name in _INDICES:
        if isinstance(found := columns.get(name), tuple):
            if (found[0] != np.floor(found[0])).any():
                raise Malformed(f"its {name} are not whole numbers; export it again")
            return found[0].astype(np.int64), found[1]
    if count:
        raise Malformed(f"its faces have no list {' or '.join(_INDICES)}; expected one")
    return np.empty(0, np.int64), np.empty(0, np.int64)


def _strips(columns: Columns) -> np.ndarray:
    """Return the corners of the triangles of all strips; -1 ends a strip, and every second triangle is turned."""
    found = next((columns[name] for name in _INDICES if isinstance(columns.get(name), tuple)), None)
    if found is None:
        raise Malformed(f"its triangle strips have no list {' or '.join(_INDICES)}; expected one")
    numbers, lengths = (part.astype(np.int64) for part in found)
    parts = [np.empty((0, 3), np.int64)]
    for row in np.split(numbers, np.cumsum(lengths)[:-1]):
        for strip in np.split(row, np.flatnonzero(row == -1)):
            parts.append(triangles_of_strip(strip[strip != -1]))
    return np.concatenate(parts).ravel()


def triangles_of_strip(strip: np.ndarray) -> np.ndarray:
    """Return the triangles (T, 3) of one strip (T + 2,): every second one is turned, so that all face one way."""
    if len(strip) < 3:
        return np.empty((0, 3), strip.dtype)
    triangles = np.stack([strip[:-2], strip[1:-1], strip[2:]], 1)
    triangles[1::2] = triangles[1::2, [1, 0, 2]]
    return triangles
