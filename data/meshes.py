"""Meshes as sources: OBJ, PLY, STL, GLB and OFF, read with trimesh and checked."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from polyfield.data.images import decoding
from polyfield.data.kinds import fingerprint, ply_head, suffix_of
from polyfield.errors import PolyfieldError, shown

if TYPE_CHECKING:
    from trimesh import Scene

SUFFIXES = (".obj", ".ply", ".stl", ".glb", ".off")

# A face of an OBJ that counts vertices from the end, or from 0: trimesh would take other vertices.
BAD_REFERENCE = re.compile(rb"(?m)^f\b.*?[ \t](-\d+|0+(?!\d))")


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

    All objects in the file are joined, with their transforms applied. Polygons are cut into triangles. Faces
    with two corners in one position are dropped, which leaves no holes. Raises PolyfieldError, one line with
    the file's name, if the file is damaged, has no faces, or has values that are not finite.
    """
    path = Path(path)
    label = shown(path)
    digest = fingerprint(path)
    scene = read_geometry(path)
    with decoding(label):
        joined = scene.to_mesh()
        vertices = np.array(joined.vertices, np.float64)
        faces = np.array(joined.faces, np.int64)
    _check(vertices, faces, label)
    corners = _positions(vertices)[faces]
    whole = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    if not whole.any():
        raise PolyfieldError(
            f"{label}: every one of its {len(faces)} faces has an area of 0; export it again"
        )
    dropped = len(faces) - int(whole.sum())
    notes = (f"{shown(path.name)}: {dropped} faces without area are left out.",) if dropped else ()
    faces = faces[whole]
    reason = why_open(corners[whole])
    found = f"{shown(path.name)} is a mesh: {len(vertices)} vertices, {len(faces)} faces"
    found += f", open: {reason}." if reason else ", watertight."
    return Mesh(path.stem, vertices, faces, reason, found, digest, notes)


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
        ("has both its faces wound against each other", "have both their faces wound against each other",
         (counts == 2) & (forward != 1)),
    )  # fmt: skip
    found = [
        f"{count} edge {one}" if count == 1 else f"{count} edges {many}"
        for one, many, bad in problems
        if (count := int(bad.sum()))
    ]
    return "; ".join(found) or None


def read_geometry(path: Path) -> Scene:
    """Return a file's meshes or points as trimesh reads them. Raises PolyfieldError for truncated files."""
    import trimesh

    suffix = suffix_of(path, "mesh", SUFFIXES)
    with decoding(shown(path)):
        data = path.read_bytes()
        _refuse_cut(path, suffix, data)
        return trimesh.load_scene(io.BytesIO(data), file_type=suffix[1:], process=False, skip_materials=True)


def _check(vertices: np.ndarray, faces: np.ndarray, label: str) -> None:
    if len(faces) == 0:
        raise PolyfieldError(f"{label}: has no faces; expected a mesh")
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise PolyfieldError(f"{label}: its vertices have {vertices.shape[-1]} coordinates; expected 3")
    if bad := vertices.size - int(np.isfinite(vertices).sum()):
        raise PolyfieldError(f"{label}: {bad} coordinates are NaN or infinite; fix or remove their vertices")
    if faces.min() < 0 or faces.max() >= len(vertices):
        worst = faces.min() if faces.min() < 0 else faces.max()
        raise PolyfieldError(f"{label}: a face refers to vertex {worst}; expected 0 to {len(vertices) - 1}")


def _positions(vertices: np.ndarray) -> np.ndarray:
    """Return a number for each vertex, (V,) int64. Vertices in exactly one position have the same number."""
    order = np.lexsort(vertices.T)
    sorted_ = vertices[order]
    numbers = np.empty(len(vertices), np.int64)
    numbers[order] = np.concatenate([[0], (sorted_[1:] != sorted_[:-1]).any(axis=1).cumsum()])
    return numbers


def _refuse_cut(path: Path, suffix: str, data: bytes) -> None:
    """Refuse files that trimesh would silently read in part, or as something else."""
    if suffix == ".ply" and (head := ply_head(path)).text:
        # Elements behind these, edges for one, may have fewer numbers.
        least = 3 if list(head.elements)[-1] in ("vertex", "face") else 1
        _refuse_few_lines(data[head.start :].splitlines(), sum(head.elements.values()), least)
    if suffix == ".off":
        lines = [line for line in (whole.split(b"#")[0].strip() for whole in data.splitlines()) if line]
        counts = lines[0].split()[1:] or lines[1].split()
        _refuse_few_lines(lines[1 if len(lines[0].split()) > 1 else 2 :], int(counts[0]) + int(counts[1]))
    if suffix == ".stl" and not _stl_is_whole(data):
        raise ValueError("it is not as long as its header states, and does not end in 'endsolid'")
    if suffix == ".obj" and (bad := BAD_REFERENCE.search(data)):
        line = data.count(b"\n", 0, bad.start()) + 1
        raise PolyfieldError(
            f"{shown(path)}: line {line}: the face refers to vertex {bad[1].decode()}; expected numbers from 1,"
            " export it without relative indices"
        )


def _stl_is_whole(data: bytes) -> bool:
    binary = len(data) == 84 + 50 * int.from_bytes(data[80:84], "little")
    return binary or data.rstrip().rsplit(b"\n", 1)[-1].lstrip().lower().startswith(b"endsolid")


def _refuse_few_lines(lines: list[bytes], count: int, least: int = 3) -> None:
    lines = [line for line in lines if line.strip()]
    if len(lines) < count:
        raise ValueError(f"{len(lines)} lines of data, its header states {count}")
    last = lines[count - 1].split()
    if len(last) < least:
        raise ValueError("its last line is incomplete")
