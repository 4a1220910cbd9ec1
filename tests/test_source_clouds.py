"""Clouds as sources come back as they were written, and damaged ones in one line."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import trimesh
from source_files import export, noise, refusal, written

from polyfield.data.clouds import open_cloud
from polyfield.data.decoding import Truncated
from polyfield.data.formats.pcd import unpack_lzf


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_ply_clouds_come_back_with_normals(tmp_path, encoding):
    values = noise(50, 6, dtype=np.float32)
    names = ["x", "y", "z", "nx", "ny", "nz"]
    form = "ascii" if encoding == "ascii" else "binary_little_endian"
    head = f"ply\nformat {form} 1.0\nelement vertex 50\n" + "".join(
        f"property float {name}\n" for name in names
    )
    text = "\n".join(" ".join(repr(float(v)) for v in row) for row in values).encode()
    data = head.encode() + b"end_header\n" + (text if encoding == "ascii" else values.tobytes())
    cloud = open_cloud(written(tmp_path / "a.ply", data))
    assert cloud.points.dtype == np.float64 and np.array_equal(cloud.points, values[:, :3])
    assert cloud.normals.dtype == np.float32 and np.array_equal(cloud.normals, values[:, 3:])
    assert cloud.found == "a.ply is a point cloud: 50 points with normals."
    for length in [0, 10, len(head), len(data) // 2, len(data) - 60]:
        refusal(written(tmp_path / "a.ply", data[:length]), "cloud")
    bare = open_cloud(
        written(tmp_path / "b.ply", export(trimesh.PointCloud(values[:, :3]), "ply", encoding=encoding))
    )
    assert np.allclose(bare.points, values[:, :3], atol=1e-6) and bare.normals is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_clouds_in_arrays_come_back(tmp_path, dtype):
    points, normals = noise(20, 3, dtype=dtype), noise(20, 3, dtype=np.float32, seed=1)
    np.save(tmp_path / "a.npy", points.astype(points.dtype.newbyteorder(">")))
    np.savez(tmp_path / "a.npz", points=points, normals=normals, label=np.arange(20), name=np.array(["a"]))
    np.savez_compressed(tmp_path / "b.npz", anything=points)
    for name, has in (("a.npy", False), ("a.npz", True), ("b.npz", False)):
        cloud = open_cloud(tmp_path / name)
        assert np.array_equal(cloud.points, points) and (cloud.normals is not None) == has
    assert np.array_equal(open_cloud(tmp_path / "a.npz").normals, normals)


def packed(data: bytes) -> bytes:
    """LZF without copies: literals alone."""
    return b"".join(
        bytes([len(part) - 1]) + part for part in (data[i : i + 32] for i in range(0, len(data), 32))
    )


def pcd_of(columns: dict[str, np.ndarray], form: str, height: int = 1) -> bytes:
    """A PCD of fields (P,) or (P, K), with their own types."""
    count = len(next(iter(columns.values())))
    letters = {"f": "F", "i": "I", "u": "U"}
    parts = [np.atleast_2d(values.T).T for values in columns.values()]
    head = f"# made by a test\nVERSION .7\nFIELDS {' '.join(columns)}\n"
    head += f"SIZE {' '.join(str(part.itemsize) for part in parts)}\n"
    head += f"TYPE {' '.join(letters[part.dtype.kind] for part in parts)}\n"
    head += (
        f"COUNT {' '.join(str(part.shape[1]) for part in parts)}\nWIDTH {count // height}\nHEIGHT {height}\n"
    )
    head += f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {form}\n"
    if form == "ascii":
        body = "\n".join(
            " ".join(repr(v) for part in parts for v in part[i].tolist()) for i in range(count)
        ).encode()
    elif form == "binary":
        body = b"".join(part[i].tobytes() for i in range(count) for part in parts)
    else:
        data = b"".join(part.tobytes() for part in parts)  # one field after the other
        body = struct.pack("<II", len(packed(data)), len(data)) + packed(data)
    return head.encode() + body


@pytest.mark.parametrize("form", ["ascii", "binary", "binary_compressed"])
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i2"])
def test_pcd_comes_back(tmp_path, form, dtype):
    points = (100 * noise(30, 3, dtype=np.float64)).astype(dtype)
    normals = noise(30, 3, dtype=np.float32, seed=2)
    columns = {
        "x": points[:, 0],
        "y": points[:, 1],
        "_": noise(30, 5),
        "z": points[:, 2],
        "rgb": normals[:, 0],
    }
    cloud = open_cloud(written(tmp_path / "a.pcd", pcd_of(columns, form, height=3)))
    assert np.array_equal(cloud.points, points) and cloud.normals is None and cloud.notes == ()
    columns |= {f"normal_{axis}": normals[:, at] for at, axis in enumerate("xyz")}
    cloud = open_cloud(written(tmp_path / "b.pcd", pcd_of(columns, form)))
    assert np.array_equal(cloud.points, points) and np.array_equal(cloud.normals, normals)


def test_pcd_with_copies_is_unpacked(tmp_path):
    open3d = pytest.importorskip("open3d", reason="writes the file", exc_type=ImportError)
    points = np.round(noise(500, 3, dtype=np.float64), 1)
    points[100:400, 1] = 2.5
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    open3d.io.write_point_cloud(str(tmp_path / "a.pcd"), cloud, compressed=True)
    data = (tmp_path / "a.pcd").read_bytes()
    assert b"binary_compressed" in data and len(data) < 0.7 * points.nbytes
    assert np.allclose(open_cloud(tmp_path / "a.pcd").points, points, atol=1e-6)


def test_lzf_copies_may_overlap_their_own_end():
    assert unpack_lzf(b"\x01ab\xe0\x05\x01", 16) == b"ab" * 8
    assert unpack_lzf(b"\x00a\x60\x00", 6) == b"a" * 6
    for data, size in ((b"\x01ab\xe0\x05\x09", 16), (b"\x01ab\xe0", 16), (b"\x01ab", 3), (b"\x05ab", 6)):
        with pytest.raises(Truncated):
            unpack_lzf(data, size)


@pytest.mark.parametrize("form", ["ascii", "binary", "binary_compressed"])
def test_cut_pcd_is_refused(tmp_path, form):
    points = noise(30, 3, dtype=np.float32)
    data = pcd_of(dict(zip("xyz", points.T)), form)
    for length in range(1, len(data) - 24, 37):
        text = refusal(written(tmp_path / "a.pcd", data[:length]), "cloud")
        assert text.startswith("a.pcd is truncated or damaged (")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("POINTS 30", "POINTS 31", "is truncated or damaged (POINTS is 31, but WIDTH x HEIGHT is 30 x 1)"),
        ("POINTS 30", "POINTS -200000000", "its POINTS is '-200000000'; expected a whole number"),
        ("WIDTH 30", "WIDTH 3", "is truncated or damaged (POINTS is 30, but WIDTH x HEIGHT is 3 x 1)"),
        ("COUNT 1 1 1", "COUNT 1 1", "its FIELDS, SIZE, TYPE and COUNT have different lengths"),
        ("SIZE 4", "SIZE 3", "its field 'x' has COUNT 1 and type F3; expected a whole number for COUNT"),
        ("SIZE", "FIZE", "its header has the line 'FIZE 4 4 4'"),
        ("x y z", "a y z", "its fields are a, y, z; expected x, y and z among them"),
        ("DATA binary", "DATA zipped", "its DATA are 'zipped'"),
    ],
)
def test_false_pcd_says_what_is_false(tmp_path, old, new, expected):
    data = pcd_of(dict(zip("xyz", noise(30, 3, dtype=np.float32).T)), "binary")
    assert expected in refusal(
        written(tmp_path / "a.pcd", data.replace(old.encode(), new.encode(), 1)), "cloud"
    )


def test_bad_clouds_are_one_line(tmp_path):
    def saved(name, **arrays):
        np.savez(tmp_path / name, **arrays)
        return refusal(tmp_path / name, "cloud")

    points = noise(5, 3, dtype=np.float32)
    holed = points.copy()
    holed[2, 1] = np.nan
    assert "1 values of points are NaN or infinite" in saved("a.npz", points=holed)
    assert "1 values of normals are NaN or infinite" in saved("a.npz", points=points, normals=holed)
    assert "has 4 normals; expected 5" in saved("a.npz", points=points, normals=points[:4])
    assert "array 'points' has shape (5, 2); expected (P, 3)" in saved("a.npz", points=points[:, :2])
    assert "points has shape (0, 3); expected (P, 3) with P at least 1" in saved("a.npz", points=points[:0])
    assert "holds 2 arrays ('a' (5, 3), 'b' (5, 3))" in saved("a.npz", a=points, b=points)
    assert "array 'points' is of type object; expected booleans" in saved(
        "a.npz", points=np.full((2, 3), None)
    )


def test_of_a_mesh_the_vertices_are_a_cloud(tmp_path):
    cloud = open_cloud(written(tmp_path / "a.ply", export(trimesh.creation.box(), "ply")))
    assert len(cloud.points) == 8 and cloud.notes == ("a.ply: 12 faces are left out.",)
