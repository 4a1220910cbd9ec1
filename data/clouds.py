"""Point clouds as sources: PLY, npz, npy and PCD, with or without normals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polyfield.data.decoding import decoding
from polyfield.data.formats import pcd, ply
from polyfield.data.kinds import array_heads, fingerprint, main_array, read_array, suffix_of
from polyfield.errors import PolyfieldError, shown

SUFFIXES = (".ply", ".npz", ".npy", ".pcd")

Arrays = tuple[np.ndarray, np.ndarray | None]  # points and normals


@dataclass(frozen=True)
class Cloud:
    """Points in the file's own coordinates and units."""

    name: str  # the file's, without suffix
    points: np.ndarray  # (P, 3) float64
    normals: np.ndarray | None  # (P, 3) float32, of the length they have in the file
    found: str  # one sentence: what was detected
    sha256: str  # of the file
    notes: tuple[str, ...] = ()  # warnings, a line each


def open_cloud(path: str | Path) -> Cloud:
    """Return the points in a PLY, npz, npy or PCD file.

    An npz holds `points` (P, 3), or one array of that shape, and may hold `normals` (P, 3). Of a mesh in a PLY the
    vertices are taken. Raises
    PolyfieldError, one line with the file's name, if the file is damaged, has no points, or has values that
    are not finite.
    """
    path = Path(path)
    label = shown(path)
    suffix = suffix_of(path, "cloud", SUFFIXES)
    digest = fingerprint(path)
    if suffix in (".npz", ".npy"):
        points, normals = _read_arrays(path)
        notes: tuple[str, ...] = ()
    else:
        with decoding(label):
            read = (ply if suffix == ".ply" else pcd).read(path.read_bytes())
        points, normals, notes = read.vertices, read.normals, read.notes
        if len(read.counts):
            notes += (f"{len(read.counts)} faces are left out.",)
    _check(points, "points", label)
    if normals is not None:
        _check(normals, "normals", label)
        if len(normals) != len(points):
            raise PolyfieldError(
                f"{label} has {len(normals)} normals; expected {len(points)}, one for each point"
            )
        normals = normals.astype(np.float32)
    found = f"{shown(path.name)} is a point cloud: {len(points)} points"
    found += " with normals." if normals is not None else " without normals."
    notes = tuple(f"{shown(path.name)}: {note}" for note in notes)
    return Cloud(path.stem, points.astype(np.float64), normals, found, digest, notes)


def _check(values: np.ndarray, key: str, label: str) -> None:
    if values.ndim != 2 or values.shape[1] != 3 or len(values) == 0:
        raise PolyfieldError(f"{label}: {key} has shape {values.shape}; expected (P, 3) with P at least 1")
    if bad := values.size - int(np.isfinite(values).sum()):
        raise PolyfieldError(
            f"{label}: {bad} values of {key} are NaN or infinite; remove the points that have them"
        )


def _read_arrays(path: Path) -> Arrays:
    head = main_array(path)
    if len(head.shape) != 2 or head.shape[1] != 3:  # before values are read, as they may be large
        raise PolyfieldError(f"{shown(path)}: {head.called} has shape {head.shape}; expected (P, 3)")
    normals = array_heads(path).get("normals")
    return read_array(path, head), None if normals is None else read_array(path, normals)
