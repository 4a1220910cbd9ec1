"""STL, binary and text: triangles, each with its own three vertices."""

from __future__ import annotations

import re

import numpy as np

from polyfield.data.decoding import Malformed, Truncated
from polyfield.data.formats.polygons import Polygons

_HEAD = 84  # bytes: 80 of any text, and the number of facets
_FACET = np.dtype([("normal", "<f4", 3), ("vertices", "<f4", (3, 3)), ("attribute", "<u2")])
_VERTEX = re.compile(rb"(?i)\bvertex\s+(\S+)\s+(\S+)\s+(\S+)")


def read(data: bytes) -> Polygons:
    """Return the triangles of an STL. Raises Malformed and Truncated."""
    count = int.from_bytes(data[80:_HEAD], "little")
    length = _HEAD + _FACET.itemsize * count
    if len(data) == length:
        return _binary(data, count)
    # A binary file may begin with "solid" too.
    if data.lstrip()[:5].lower() == b"solid" and re.search(rb"(?i)facet|endsolid", data):
        return _text(data)
    if not _HEAD <= length <= len(data):
        raise Truncated(f"{len(data):,} bytes, but its header states {count:,} facets of 50 bytes")
    return _binary(data, count, f"{len(data) - length:,} bytes behind the last facet are left out.")


def _binary(data: bytes, count: int, *notes: str) -> Polygons:
    facets = np.frombuffer(data, _FACET, count, _HEAD)
    return _separate(facets["vertices"].reshape(-1, 3).astype(np.float64), notes)


def _text(data: bytes) -> Polygons:
    facets = len(re.findall(rb"(?i)\bendfacet\b", data))
    try:
        vertices = np.array(_VERTEX.findall(data), np.float64).reshape(-1, 3)
    except ValueError:
        raise Malformed("a vertex is not 3 numbers; export it again") from None
    if not re.search(rb"(?i)\bendsolid\b", data.rstrip().rpartition(b"\n")[2]):
        raise Truncated("it does not end in 'endsolid'")
    if len(vertices) != 3 * facets:
        raise Truncated(f"{len(vertices)} vertices in {facets} facets; expected {3 * facets}")
    return _separate(vertices, ())


def _separate(vertices: np.ndarray, notes: tuple[str, ...]) -> Polygons:
    return Polygons.of_triangles(vertices, np.arange(len(vertices)), notes)
