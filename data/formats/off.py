"""OFF in text: vertices and polygons. Colours, normals and texture coordinates are passed over."""

from __future__ import annotations

import re

import numpy as np

from polyfield.data.decoding import Malformed, Truncated
from polyfield.data.formats.polygons import Polygons

_KEYWORD = re.compile(rb"(ST)?C?N?(4)?(n)?OFF", re.IGNORECASE)


def read(data: bytes) -> Polygons:
    """Return the polygons of an OFF. Raises Malformed and Truncated."""
    lines = [line for line in (whole.split(b"#")[0].strip() for whole in data.splitlines()) if line]
    keyword = _KEYWORD.match(lines[0]) if lines else None
    if keyword is None:
        raise Malformed(f"it starts with {data[:12]!r}; expected OFF")
    if keyword[2] or keyword[3]:
        raise Malformed(f"its vertices do not have three coordinates ({keyword[0].decode()}); expected OFF")
    # Some writers put the numbers right behind the keyword.
    lines[0] = lines[0][keyword.end() :].strip()
    if lines[0].upper().startswith(b"BINARY"):
        raise Malformed("it is a binary OFF; save it as text, or as PLY")
    if not lines[0]:
        del lines[0]
    head = lines[0].split()[:2] if lines else []
    if len(head) != 2 or not all(re.fullmatch(rb"\d{1,12}", word) for word in head):
        raise Malformed(
            f"its counts are {b' '.join(head)[:40]!r}; expected the numbers of vertices and of faces"
        )
    points, faces = int(head[0]), int(head[1])
    if len(lines) - 1 < points + faces:
        raise Truncated(f"{len(lines) - 1} lines of data, but its header states {points + faces}")
    try:
        places = [line.split(None, 3)[:3] for line in lines[1 : 1 + points]]
        if not all(len(place) == 3 for place in places):
            raise ValueError
        vertices = np.array(places, np.float64)
    except ValueError:
        raise Malformed("a vertex is not 3 numbers; export it again") from None
    rows = [line.split() for line in lines[1 + points : 1 + points + faces]]
    try:
        counts = np.array([int(row[0]) for row in rows], np.int64)
        used = [row[1 : 1 + count] for row, count in zip(rows, counts.tolist())]
        corners = np.array([int(word) for row in used for word in row], np.int64)
    except (ValueError, OverflowError):
        raise Malformed("a face has values that are not whole numbers; export it again") from None
    for face, (row, count) in enumerate(zip(used, counts.tolist())):
        if len(row) != count:
            raise Truncated(f"face {face} states {count} corners and has {len(row)}")
    return Polygons(vertices.reshape(-1, 3), corners, counts)
