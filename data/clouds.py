"""Point clouds as sources: PLY without faces, npz, npy and PCD, with or without normals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polyfield.data.images import decoding
from polyfield.data.kinds import array_heads, fingerprint, main_array, read_array, suffix_of
from polyfield.data.meshes import read_geometry
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


def open_cloud(path: str | Path) -> Cloud:
    """Return the points in a PLY, npz, npy or PCD file.

    An npz holds `points` (P, 3), or one array of that shape, and may hold `normals` (P, 3). Raises
    PolyfieldError, one line with the file's name, if the file is damaged, has no points, or has values that
    are not finite.
    """
    path = Path(path)
    label = shown(path)
    suffix = suffix_of(path, "cloud", SUFFIXES)
    digest = fingerprint(path)
    if suffix == ".ply":
        points, normals = _read_ply(path)
    elif suffix == ".pcd":
        points, normals = _read_pcd(path)
    else:
        points, normals = _read_arrays(path)
    _check(points, "points", label)
    if normals is not None:
        _check(normals, "normals", label)
        if len(normals) != len(points):
            raise PolyfieldError(
                f"{label}: has {len(normals)} normals; expected {len(points)}, one for each point"
            )
        normals = normals.astype(np.float32)
    found = f"{shown(path.name)} is a point cloud: {len(points)} points"
    found += " with normals." if normals is not None else " without normals."
    return Cloud(path.stem, points.astype(np.float64), normals, found, digest)


def _check(values: np.ndarray, key: str, label: str) -> None:
    if values.ndim != 2 or values.shape[1] != 3 or len(values) == 0:
        raise PolyfieldError(f"{label}: {key} has shape {values.shape}; expected (P, 3)")
    if bad := values.size - int(np.isfinite(values).sum()):
        raise PolyfieldError(f"{label}: {bad} values of {key} are NaN or infinite; remove their points")


def _read_ply(path: Path) -> Arrays:
    scene = read_geometry(path)
    for geometry in scene.geometry.values():
        if len(getattr(geometry, "faces", ())):
            raise PolyfieldError(
                f"{shown(path)}: has {len(geometry.faces)} faces, it is a mesh; expected points alone"
            )
        with decoding(shown(path)):  # lines of different length give an array of objects
            columns = geometry.metadata["_ply_raw"]["vertex"]["data"]  # trimesh keeps no normals of points
            names = columns.dtype.names if isinstance(columns, np.ndarray) else columns
            normals = None
            if {"nx", "ny", "nz"} <= set(names):
                normals = np.column_stack([columns[name] for name in ("nx", "ny", "nz")]).astype(np.float32)
            return np.asarray(geometry.vertices, np.float64), normals
    raise PolyfieldError(f"{shown(path)}: has no points")


def _read_arrays(path: Path) -> Arrays:
    head = main_array(path)
    if len(head.shape) != 2 or head.shape[1] != 3:  # before values are read, as they may be large
        raise PolyfieldError(f"{shown(path)}: {head.called} has shape {head.shape}; expected (P, 3)")
    normals = array_heads(path).get("normals")
    return read_array(path, head), None if normals is None else read_array(path, normals)


def _read_pcd(path: Path) -> Arrays:
    with decoding(shown(path)):
        _refuse_damaged_pcd(path.read_bytes())
    try:
        import open3d
    except ImportError as error:
        raise PolyfieldError(
            f"{shown(path)}: PCD is read with Open3D, which cannot be loaded ({error}); install it or save as PLY"
        ) from None
    cloud = open3d.io.read_point_cloud(
        path, format="pcd", remove_nan_points=False, remove_infinite_points=False
    )
    return np.asarray(cloud.points), np.asarray(cloud.normals) if cloud.has_normals() else None


def _refuse_damaged_pcd(data: bytes) -> None:
    """Refuse a PCD that does not hold what its header states.

    Open3D returns uninitialised memory for missing data.
    """
    head: dict[bytes, list[bytes]] = {}
    start = 0
    while b"DATA" not in head:
        end = data.find(b"\n", start)
        if end < 0:
            raise ValueError("its header has no DATA")
        words = data[start:end].split() or [b"#"]
        head[words[0]] = words[1:]
        start = end + 1
    sizes = [int(size) for size in head[b"SIZE"]]
    counts = [int(count) for count in head.get(b"COUNT", [b"1"] * len(sizes))]
    points = int(head[b"POINTS"][0])
    if not {b"x", b"y", b"z"} <= set(head[b"FIELDS"]) or not len(sizes) == len(counts) == len(
        head[b"FIELDS"]
    ):
        raise ValueError("its header names no x, y and z of known size")
    if points < 1 or points != int(head[b"WIDTH"][0]) * int(head[b"HEIGHT"][0]):
        raise ValueError(f"{points} points in {head[b'WIDTH'][0].decode()} columns")
    length = points * sum(size * count for size, count in zip(sizes, counts))
    body = data[start:]
    if head[b"DATA"] == [b"ascii"]:
        found, expected = len(np.array(body.split(), np.float64)), points * sum(counts)
    elif head[b"DATA"] == [b"binary"]:
        found, expected = min(len(body), length), length
    else:
        packed, unpacked = (int.from_bytes(body[i : i + 4], "little") for i in (0, 4))
        found, expected = (unpacked, length) if unpacked != length else (min(len(body) - 8, packed), packed)
    if found != expected:
        raise ValueError(f"{found} numbers or bytes of data, its header states {expected}")
