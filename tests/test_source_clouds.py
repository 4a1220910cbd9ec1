"""Clouds as sources come back as they were written, and damaged ones in one line."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from source_files import export, noise, pcd, refusal, written

from polyfield.data.clouds import open_cloud


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


@pytest.mark.parametrize("form", ["ascii", "binary"])
def test_pcd_comes_back(tmp_path, form):
    pytest.importorskip("open3d", reason="PCD needs Open3D, which cannot be loaded", exc_type=ImportError)
    points = noise(30, 3, dtype=np.float32)
    cloud = open_cloud(written(tmp_path / "a.pcd", pcd(points, form)))
    assert np.allclose(cloud.points, points, rtol=1e-6) and cloud.normals is None


@pytest.mark.parametrize("form", ["ascii", "binary"])
def test_cut_or_false_pcd_never_reaches_open3d(tmp_path, form):
    points = noise(30, 3, dtype=np.float32)
    data = pcd(points, form)
    for length in range(1, len(data) - 24, 37):
        text = refusal(written(tmp_path / "a.pcd", data[:length]), "cloud")
        assert text.startswith("a.pcd is truncated or damaged (")
    for false in (data.replace(b"POINTS 30", b"POINTS 31"), data.replace(b"WIDTH 30", b"WIDTH 3"), pcd(points, form, " w"),
                  noise(300).tobytes(), data.replace(b"SIZE", b"FIZE"), data.replace(b"x y z", b"a y z")):  # fmt: skip
        assert refusal(written(tmp_path / "a.pcd", false), "cloud").startswith(
            "a.pcd is truncated or damaged ("
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
    assert "points has shape (0, 3); expected (P, 3)" in saved("a.npz", points=points[:0])
    assert "holds 2 arrays ('a' (5, 3), 'b' (5, 3))" in saved("a.npz", a=points, b=points)
    assert "array 'points' is of type object; expected booleans" in saved(
        "a.npz", points=np.full((2, 3), None)
    )
    mesh = written(tmp_path / "a.ply", export(trimesh.creation.box(), "ply"))
    assert "has 12 faces, it is a mesh" in refusal(mesh, "cloud")
