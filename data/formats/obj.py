"""Wavefront OBJ: vertices and polygons. Textures, normals, groups, lines and materials are passed over."""

from __future__ import annotations

import re

import numpy as np

from polyfield.data.decoding import Malformed
from polyfield.data.formats.polygons import Polygons

_VERTEX = re.compile(rb"(?m)^[ \t]*v[ \t]+(.*)$")
_FACE = re.compile(rb"(?m)^[ \t]*f[ \t]+(.*)$")
_SURFACE = re.compile(rb"(?m)^[ \t]*(curv2?|surf)[ \t]")
_CONTINUED = re.compile(rb"\\[ \t]*\n")
_COMMENT = re.compile(rb"#[^\n]*")


def read(data: bytes) -> Polygons:
    """Return the polygons of an OBJ. Raises Malformed with the line at fault."""
    text = _COMMENT.sub(b"", data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    if _CONTINUED.search(text):
        text = _joined(text)
    notes = ("Curved surfaces are left out.",) if _SURFACE.search(text) else ()
    rows = list(_VERTEX.finditer(text))
    vertices = _numbers(text, rows)
    faces = list(_FACE.finditer(text))
    tokens = [re.sub(rb"/\S*", b"", face[1]).split() for face in faces]
    counts = np.array([len(row) for row in tokens], np.int64)
    corners = _references(text, faces, tokens)
    # Numbers count from 1; negative ones count back from the last vertex above the face.
    above = np.searchsorted([row.start() for row in rows], [face.start() for face in faces]).repeat(counts)
    corners = np.where(corners < 0, above + corners, corners - 1)
    bad = (corners < 0) | (corners >= len(vertices))
    if bad.any():
        place = int(bad.argmax())
        face = int(np.searchsorted(np.cumsum(counts), place, side="right"))
        token = np.concatenate([np.array(row, object) for row in tokens])[place].decode("ascii", "replace")
        raise Malformed(
            f"line {_line(text, faces[face])}: the face refers to vertex {token:.40}; expected 1 to {len(vertices)},"
            " or -1 and below, counted back from the face"
        )
    return Polygons(vertices, corners, counts, notes=notes)


def _joined(text: bytes) -> bytes:
    """Return the text with continued lines as one. The next line keeps its number: line breaks move behind the joined one."""
    parts, breaks = [], 1
    for line in text.split(b"\n"):
        bare = line.rstrip(b" \t")
        if bare.endswith(b"\\"):
            parts.append(bare[:-1] + b" ")
            breaks += 1
        else:
            parts.append(line + b"\n" * breaks)
            breaks = 1
    return b"".join(parts)


def _numbers(text: bytes, rows: list[re.Match[bytes]]) -> np.ndarray:
    """Return the first three numbers of each vertex, (V, 3) float64: a weight or a colour may follow."""
    words = [row[1].split(None, 3)[:3] for row in rows]
    try:
        if all(len(found) == 3 for found in words):
            return np.array(words, np.float64).reshape(-1, 3)
        raise ValueError
    except ValueError:
        for row, found in zip(rows, words):
            try:
                if len(found) == 3 and [float(word) for word in found]:
                    continue
            except ValueError:
                pass
            raise Malformed(
                f"line {_line(text, row)}: the vertex is {row[0].strip()[:40]!r}; expected v and 3 numbers"
            ) from None
        raise


def _references(text: bytes, faces: list[re.Match[bytes]], tokens: list[list[bytes]]) -> np.ndarray:
    try:
        return np.array([int(token) for row in tokens for token in row], np.int64)
    except (ValueError, OverflowError):
        for face, row in zip(faces, tokens):
            if not all(re.fullmatch(rb"[+-]?\d{1,18}", token) for token in row):
                raise Malformed(
                    f"line {_line(text, face)}: the face is {face[0].strip()[:40]!r}; expected f and vertex indices"
                ) from None
        raise


def _line(text: bytes, match: re.Match[bytes]) -> int:
    return text.count(b"\n", 0, match.start()) + 1
