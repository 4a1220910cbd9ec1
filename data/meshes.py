"""Meshes as sources: OBJ, PLY, STL, GLB and OFF through trimesh, checked, and what keeps them from being watertight."""

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

# A face of an OBJ that counts vertices from the end, or from 0: trimesh takes others for them.
BAD_REFERENCE = re.compile(rb"(?m)^f\b.*?[ \t](-\d+|0+(?!\d))")


@dataclass(frozen=True)
class Mesh:
    """Triangles in the file's own coordinates and units."""

    name: str  # the file's, without suffix
    vertices: np.ndarray  # (V, 3) float64; more than one may stand in one position
    faces: np.ndarray  # (F, 3) int64, at least one, with corners in three positions
    why_open: str | None  # what keeps it from being watertight and wound one way; None where nothing does
    found: str  # one sentence: what was detected
    sha256: str  # of the file
    notes: tuple[str, ...]  # warnings, a line each


def open_mesh(path: str | Path) -> Mesh:
    """The mesh in an OBJ, PLY, STL, GLB or OFF file, all its objects joined with their transforms applied.

    Polygons are cut into triangles; faces with two corners in one position are dropped, which opens nothing. Raises
    PolyfieldError, one line with the file's name, on anything damaged, without faces, or with values that are not
    finite.
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
            f"{label}: all {len(faces)} faces have two corners in one position; export it again"
        )
    dropped = len(faces) - int(whole.sum())
    notes = (f"{shown(path.name)}: {dropped} faces without area are left out.",) if dropped else ()
    faces = faces[whole]
    reason = why_open(corners[whole])
    found = f"{shown(path.name)} is a mesh: {len(vertices)} vertices, {len(faces)} faces"
    found += f", open: {reason}." if reason else ", watertight."
    return Mesh(path.stem, vertices, faces, reason, found, digest, notes)


def why_open(faces: np.ndarray) -> str | None:
    """What keeps faces (F, 3) of vertex numbers from bounding a solid, or None.

    None says that every edge belongs to two faces, which pass it in opposite directions.
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
    """What a file holds, meshes or points, as trimesh has it; cut files are refused."""
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
        raise PolyfieldError(
            f"{label}: {bad} coordinates are not finite (NaN or inf); mend or remove those vertices"
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        worst = faces.min() if faces.min() < 0 else faces.max()
        raise PolyfieldError(f"{label}: a face refers to vertex {worst}; expected 0 to {len(vertices) - 1}")


def _positions(vertices: np.ndarray) -> np.ndarray:
    """(V,) int64: vertices in exactly one position have one number."""
    order = np.lexsort(vertices.T)
    sorted_ = vertices[order]
    numbers = np.empty(len(vertices), np.int64)
    numbers[order] = np.concatenate([[0], (sorted_[1:] != sorted_[:-1]).any(axis=1).cumsum()])
    return numbers


def _refuse_cut(path: Path, suffix: str, data: bytes) -> None:
    """Raises for what trimesh would read in part, or as something else, without a word."""
    if suffix == ".ply" and (head := ply_head(path)).text:
        # Elements behind these, edges for one, may have fewer numbers.
        least = 3 if list(head.elements)[-1] in ("vertex", "face") else 1
        _refuse_few_lines(data[head.start :].splitlines(), sum(head.elements.values()), least)
    if suffix == ".off":
        lines = [line for line in (whole.split(b"#")[0].strip() for whole in data.splitlines()) if line]
        counts = lines[0].split()[1:] or lines[1].split()
        _refuse_few_lines(lines[1 if len(lines[0].split()) > 1 else 2 :], int(counts[0]) + int(counts[1]))
    if suffix == ".stl" and not _stl_is_whole(data):
        raise ValueError("it is not as long as its head says, nor does it end in 'endsolid'")
    if suffix == ".obj" and (bad := BAD_REFERENCE.search(data)):
        line = data.count(b"\n", 0, bad.start()) + 1
        raise PolyfieldError(
            f"{shown(path)}: line {line}: the face refers to vertex {bad[1].decode()}; expected numbers from 1,"
            " export it without relative ones"
        )


def _stl_is_whole(data: bytes) -> bool:
    binary = len(data) == 84 + 50 * int.from_bytes(data[80:84], "little")
    return binary or data.rstrip().rsplit(b"\n", 1)[-1].lstrip().lower().startswith(b"endsolid")


def _refuse_few_lines(lines: list[bytes], count: int, least: int = 3) -> None:
    lines = [line for line in lines if line.strip()]
    if len(lines) < count:
        raise ValueError(f"{len(lines)} lines of data, its head says {count}")
    last = lines[count - 1].split()
    if len(last) < least:
        raise ValueError("its last line is not whole")
