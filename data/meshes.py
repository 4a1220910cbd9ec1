"""Meshes as sources: OBJ, PLY, STL, GLB and OFF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polyfield.data.decoding import decoding
from polyfield.data.formats import glb, obj, off, ply, stl
from polyfield.data.kinds import fingerprint, suffix_of
from polyfield.errors import PolyfieldError, shown

_READERS = {".obj": obj.read, ".ply": ply.read, ".stl": stl.read, ".glb": glb.read, ".off": off.read}
SUFFIXES = tuple(_READERS)


@dataclass(frozen=True)
class Mesh:
    """Triangles in the file's own coordinates and units."""

    name: str  # the file's, without suffix
    vertices: np.ndarray  # (V, 3) float64; several may have one position
    faces: np.ndarray  # (F, 3) int64, at least one, with corners in three positions
    why_open: str | None  # why it is not watertight and wound one way; None if it is
    found: str  # one sentence: what was detected
    sha256: str  # of the file
    notes: tuple[str, ...]  # warnings, a line each


def open_mesh(path: str | Path) -> Mesh:
    """Return the mesh in an OBJ, PLY, STL, GLB or OFF file.

    All objects in the file are joined, with their transforms applied. Polygons are cut into triangles. Triangles
    with two corners in one position are dropped, which leaves no holes. Raises PolyfieldError, one line with
    the file's name, if the file is damaged, has no faces, or has values that are not finite.
    """
    path = Path(path)
    label = shown(path)
    suffix = suffix_of(path, "mesh", SUFFIXES)
    digest = fingerprint(path)
    with decoding(label):
        polygons = _READERS[suffix](path.read_bytes())
        vertices, faces = polygons.vertices, polygons.triangles()
    _check(vertices, faces, label)
    corners = positions(vertices)[faces]
    whole = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    if not whole.any():
        raise PolyfieldError(
            f"{label}: every one of its {len(faces)} faces has an area of 0; export it again"
        )
    dropped = len(faces) - int(whole.sum())
    notes = (*polygons.notes, f"{dropped} faces without area are left out.")[: None if dropped else -1]
    notes = tuple(f"{shown(path.name)}: {note}" for note in notes)
    faces = faces[whole]
    reason = why_open(corners[whole])
    found = f"{shown(path.name)} is a mesh: {len(vertices)} vertices, {len(faces)} faces"
    found += f", open: {reason}." if reason else ", watertight."
    return Mesh(path.stem, vertices, faces, reason, found, digest, notes)


def bodies(corners: np.ndarray) -> np.ndarray:
    """Return a number for each face (F, 3) of position numbers, (F,): faces that share an edge have the same."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    start, end = corners.ravel(), np.roll(corners, -1, axis=1).ravel()
    edges = np.minimum(start, end) * (corners.max() + 1) + np.maximum(start, end)
    order = np.argsort(edges, kind="stable")
    same = edges[order[1:]] == edges[order[:-1]]
    faces = order // 3
    pairs = faces[:-1][same], faces[1:][same]
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(len(corners), len(corners)))
    return connected_components(graph, directed=False)[1]


def why_open(faces: np.ndarray) -> str | None:
    """Return why faces (F, 3) of vertex numbers do not bound a solid, or None if they do.

    They do if every edge belongs to two faces, which pass it in opposite directions.
    """
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = np.minimum(start, end) * (faces.max() + 1) + np.maximum(start, end)
    _, edge, counts = np.unique(edges, return_inverse=True, return_counts=True)
    forward = np.bincount(edge, weights=start < end)
    problems = (
        ("belongs to one face only", "belong to one face only", counts == 1),
        ("belongs to more than two faces", "belong to more than two faces", counts > 2),
        ("belongs to two faces of opposite orientation", "belong to two faces of opposite orientation",
         (counts == 2) & (forward != 1)),
    )  # fmt: skip
    found = [
        f"{count} edge {one}" if count == 1 else f"{count} edges {many}"
        for one, many, bad in problems
        if (count := int(bad.sum()))
    ]
    return "; ".join(found) or None


def _check(vertices: np.ndarray, faces: np.ndarray, label: str) -> None:
    if len(faces) == 0:
        raise PolyfieldError(f"{label} has no faces; expected a mesh")
    if bad := vertices.size - int(np.isfinite(vertices).sum()):
        raise PolyfieldError(f"{label}: {bad} coordinates are NaN or infinite; fix or remove their vertices")


def positions(vertices: np.ndarray) -> np.ndarray:
    """Return a number for each vertex, (V,) int64. Vertices in exactly one position have the same number."""
    order = np.lexsort(vertices.T)
    sorted_ = vertices[order]
    numbers = np.empty(len(vertices), np.int64)
    numbers[order] = np.concatenate([[0], (sorted_[1:] != sorted_[:-1]).any(axis=1).cumsum()])
    return numbers
