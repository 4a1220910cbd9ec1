"""What a scene's JSON means where its names, matrices and scale are not as other programs would write them."""

import json
import os
import unicodedata

import numpy as np
import pytest
import trimesh
from source_files import export, noise, written
from test_cases import edited, photographed

from polyfield.data.readers import open_scene
from polyfield.errors import PolyfieldError


def test_names_that_differ_in_case_or_unicode_form_are_found(tmp_path):
    photographed(tmp_path, 1, (12, 9), w=12, h=9)
    (tmp_path / "Bilder").mkdir()
    data = json.loads((tmp_path / "transforms.json").read_text())
    for number, frame in enumerate(data["frames"]):
        os.rename(
            tmp_path / f"{number}.png",
            tmp_path / "Bilder" / unicodedata.normalize("NFD", f"Möwe{number}.PNG"),
        )
        frame["file_path"] = unicodedata.normalize("NFC", f"bilder/möwe{number}")
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    scene = open_scene(tmp_path)
    assert len(scene.names) == 10 and scene.skipped == ()
    [note] = [note for note in scene.notes if "differ in case or Unicode form" in note]
    assert note.startswith("10 files are used under names") and "Bilder/" in note


def test_two_names_of_one_file_are_refused(tmp_path):
    edited(tmp_path, lambda data: data["frames"][3].update(file_path="4.PNG"))
    with pytest.raises(PolyfieldError, match=r"is in .*frames\[3\] too; keep one"):
        open_scene(tmp_path)


def test_a_scene_is_read_where_its_points_are_elsewhere(tmp_path):
    for place in ("../sparse.ply", "/data/sparse.ply", 5):
        scene = open_scene(edited(tmp_path, lambda data, place=place: data.update(ply_file_path=place)))
        assert any(note.startswith("ply_file_path: ") for note in scene.notes)


def test_two_files_that_differ_by_case_are_not_guessed_between(tmp_path):
    edited(tmp_path, lambda data: data["frames"][3].update(file_path="A.png"))
    for name in ("a.PNG", "a.Png"):
        (tmp_path / name).write_bytes((tmp_path / "3.png").read_bytes())
    assert open_scene(tmp_path).skipped == ("A.png",)


def test_the_suffixes_that_were_tried_are_named(tmp_path):
    folder = edited(
        tmp_path, lambda data: [frame.update(file_path=f"x{frame['file_path']}") for frame in data["frames"]]
    )
    with pytest.raises(
        PolyfieldError, match=r"do not exist in .*, with or without \.png, \.jpg, \.jpeg \(the first"
    ):
        open_scene(folder)


def test_a_homogeneous_scale_is_divided_out(tmp_path):
    plain = open_scene(edited(tmp_path, lambda data: None))

    def scale(data):
        for frame in data["frames"][2:]:
            frame["transform_matrix"] = (2.5 * np.array(frame["transform_matrix"])).tolist()

    scaled = open_scene(edited(tmp_path, scale))
    assert np.allclose(scaled.cameras.c2w, plain.cameras.c2w, atol=1e-5)
    assert (
        "8 frames have a transform_matrix with the last row 0 0 0 s; each matrix was divided by its s"
        in scaled.notes
    )

    def negative(data):
        data["frames"][0]["transform_matrix"][3] = [0, 0, 0, -1]

    with pytest.raises(PolyfieldError, match="has the last row 0 0 0 -1; expected 0 0 0 1"):
        open_scene(edited(tmp_path, negative))


def test_a_box_that_is_given_is_the_box(tmp_path):
    folder = edited(tmp_path, lambda data: None)
    scene, by_cameras = open_scene(folder, box=(1.0, 2.0, 3.0, 8.0)), open_scene(folder)
    assert scene.domain.centre == (1, 2, 3) and scene.domain.half_size == (8, 8, 8)
    assert scene.domain.kind == "contraction"
    assert scene.near == by_cameras.near
    small = open_scene(folder, box=(0.0, 0.0, 0.0, 1.0))
    assert small.near == pytest.approx(by_cameras.near / by_cameras.domain.half_size[0])


def outwards(data):
    """Turn the cameras round, each on its spot."""
    for frame in data["frames"]:
        for row in frame["transform_matrix"][:3]:
            row[0], row[2] = -row[0], -row[2]


def test_cameras_that_look_outwards_get_a_larger_box(tmp_path):
    inwards = open_scene(edited(tmp_path, lambda data: None))
    scene = open_scene(edited(tmp_path, outwards))
    assert scene.domain.half_size[0] > 2 * inwards.domain.half_size[0]
    assert any(note.startswith("the cameras look outwards, so the box has half size") for note in scene.notes)


def test_points_beyond_the_cameras_decide_the_box(tmp_path):
    walls = 30 * np.sign(noise(500, 3, dtype=np.float32)) * np.linspace(0.5, 1, 500)[:, None]
    written(tmp_path / "sparse.ply", export(trimesh.PointCloud(walls), "ply"))

    def named(data):
        outwards(data)
        data["ply_file_path"] = "sparse.ply"

    scene = open_scene(edited(tmp_path, named))
    assert scene.domain.half_size[0] == pytest.approx(30 * 0.9, rel=0.05)
    assert any("point cloud lie beyond the cameras" in note for note in scene.notes)
    assert not any("not known" in note for note in scene.notes)
    # Points within the cameras' reach, as of an object, change nothing.
    written(tmp_path / "sparse.ply", export(trimesh.PointCloud(walls / 30), "ply"))
    near = open_scene(edited(tmp_path, lambda data: data.update(ply_file_path="sparse.ply")))
    assert near.domain == open_scene(edited(tmp_path, lambda data: None)).domain
    # Points that cannot be read are said, and the cameras decide.
    written(tmp_path / "sparse.ply", b"ply\n")
    bad = open_scene(edited(tmp_path, lambda data: data.update(ply_file_path="sparse.ply")))
    assert bad.domain == near.domain and any(
        "box is chosen from its cameras alone" in note for note in bad.notes
    )


def test_a_folder_of_slices_says_how_a_volume_is_read(tmp_path):
    for number in range(4):
        (tmp_path / f"slice{number}.tif").write_bytes(b"x")
    with pytest.raises(
        PolyfieldError, match="save slices of a volume as one multi-page TIFF or one .npy file"
    ):
        open_scene(tmp_path)
