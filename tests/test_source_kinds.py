"""Kinds of sources are found by suffix and by looking; what is none is refused in one line."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import trimesh
from source_files import OPEN, PLY, export, noise, refusal, written

from polyfield.data.kinds import kind_of
from polyfield.errors import PolyfieldError


def test_kinds_are_found_by_suffix_and_by_looking(tmp_path):
    def kind(name, data: bytes = b"x"):
        return kind_of(written(tmp_path / name, data)).name

    def saved(array) -> str:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return kind("a.npy", buffer.getvalue())

    assert kind_of(tmp_path).name == "scene" and kind("a.json") == "scene"
    assert {kind(f"a.{suffix}") for suffix in ("png", "JPG", "jpeg", "webp", "bmp", "gif", "exr")} == {
        "picture"
    }
    assert {kind(f"a.{suffix}") for suffix in ("mp4", "MOV", "webm", "mkv", "avi", "m4v")} == {"video"}
    assert {kind(f"a.{suffix}") for suffix in ("obj", "stl", "GLB", "off")} == {"mesh"}
    assert {kind(f"a.{suffix}") for suffix in ("nii", "nii.gz", "tif", "tiff")} == {"volume"} and kind(
        "a.pcd"
    ) == "cloud"
    assert kind("a.ply", export(trimesh.creation.box(), "ply")) == "mesh"
    assert kind("a.ply", export(trimesh.PointCloud(noise(5, 3)), "ply")) == "cloud"
    assert kind("a.ply", (PLY + "element face 0\nend_header\n").encode()) == "cloud"
    elements = "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    assert kind("a.ply", (PLY + elements).encode()) == "mesh"
    assert (saved(noise(9, 3)), saved(noise(4, 5, 6)), saved(noise(3, 3, 3, 2))) == (
        "cloud",
        "volume",
        "volume",
    )
    np.savez(tmp_path / "a.npz", points=noise(5, 3), other=noise(4, 4, 4))
    assert kind_of(tmp_path / "a.npz").name == "cloud" and "'points'" in kind_of(tmp_path / "a.npz").reason


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("none.png", None, "no such file or folder"),
        ("a.mp3", b"x", "its name ends in .mp3; polyfield reads folders and .json (scenes), .png"),
        ("a", b"x", "its name has no suffix; polyfield reads"),
        ("a.gz", b"x", "its name ends in .gz; polyfield reads"),
        ("a.ply", b"x", "it does not begin with 'ply'; expected a PLY"),
        ("a.ply", b"", "it does not begin with 'ply'; expected a PLY"),
        ("a.npy", b"", "cannot be decoded ("),
        ("a.npz", b"PK\3\4 and no more", "cannot be decoded (File is not a zip file)"),
        ("a.npy", b"\x93NUMPY\1\0\x06\0{'a':(", "cannot be decoded ("),
    ],
)
def test_what_is_of_no_kind_is_one_line(tmp_path, name, data, expected):
    if data is not None:
        written(tmp_path / name, data)
    with pytest.raises(PolyfieldError) as caught:
        kind_of(tmp_path / name)
    assert expected in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", OPEN)
def test_what_is_no_file_is_one_line(tmp_path, kind):
    name = {"picture": "a.png", "video": "a.mp4", "mesh": "a.obj", "cloud": "a.npy", "volume": "a.nii"}[kind]
    assert "cannot be read (no such file or directory)" in refusal(tmp_path / name, kind)
    assert "is empty (0 bytes)" in refusal(written(tmp_path / name, b""), kind)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert "is a folder, a device or a pipe; expected a file" in refusal(tmp_path / name, kind)


def test_where_two_kinds_fit_the_user_is_asked(tmp_path):
    points = noise(5, 3, dtype=np.float32)
    np.savez(tmp_path / "a.npz", points=points, occupancies=noise(5), loc=points[0])
    np.save(tmp_path / "a.npy", noise(4, 5, 3))
    for name, expected in (
        ("a.npz", "has the arrays points, occupancies, so its points may not lie on a surface"),
        ("a.npy", "has shape (4, 5, 3), which fits a picture (H, W, C) and a volume (Z, Y, X)"),
    ):
        with pytest.raises(PolyfieldError) as caught:
            kind_of(tmp_path / name)
        assert expected in str(caught.value) and "--as " in str(caught.value)
    assert kind_of(tmp_path / "a.npz", "cloud").reason == "--as cloud"
    assert kind_of(tmp_path / "a.npy", "volume").name == "volume"
    with pytest.raises(
        PolyfieldError, match="--as sound: expected one of scene, picture, video, mesh, cloud, volume"
    ):
        kind_of(tmp_path / "a.npy", "sound")


def test_a_pipe_is_not_waited_for(tmp_path):
    for name in ("a.ply", "a.npz", "a.png", "a.json"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(PolyfieldError, match="is a device or a pipe; expected a file or a folder"):
            kind_of(tmp_path / name)
