"""Scenes that cannot be read: each is refused in one line that names file, key and frame."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from polyfield.data import open_scene, photographs, read_camera_path
from polyfield.errors import PolyfieldError

POSE = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 4.0], [0.0, 0.0, 0.0, 1.0]]
LENS = {"fl_x": 10.0, "cx": 4.0, "cy": 3.0, "w": 8, "h": 6}


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten photographs of 8 x 6 pixels and a mask."""
    (tmp_path / "images").mkdir()
    for i in range(10):
        Image.fromarray(np.full((6, 8, 3), i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
    Image.fromarray(np.full((3, 4), 255, np.uint8)).save(tmp_path / "small_mask.png")
    return tmp_path


def good() -> dict:
    frames = [{"file_path": f"images/{i}.png", "transform_matrix": copy.deepcopy(POSE)} for i in range(10)]
    return {**LENS, "frames": frames}


def refusal(folder: Path, data: object, name: str = "transforms.json", **options) -> str:
    """The one line that refuses this JSON, without the path of the folder."""
    (folder / name).write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(PolyfieldError) as caught:
        open_scene(folder, **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400 and text.startswith(str(folder))
    return text.removeprefix(str(folder)).lstrip("/:").strip().replace(str(folder), "FOLDER")


def matrix(change) -> list:
    return np.asarray(change(np.array(POSE))).tolist()


def with_entry(row: int, column: int, value: object) -> list:
    pose = copy.deepcopy(POSE)
    pose[row][column] = value
    return pose


def scaled(pose: np.ndarray) -> np.ndarray:
    pose[:3, :3] *= 2.5
    return pose


# What a frame says -> the refusal after "transforms.json: frames[3]: ".
BAD_FRAMES = {
    "no pose": ({"transform_matrix": None}, "transform_matrix is missing"),
    "pose is text": ({"transform_matrix": "I"}, "transform_matrix is 'I'; expected a list of rows"),
    "3 x 3": ({"transform_matrix": matrix(lambda m: m[:3, :3])}, "transform_matrix has 3 x 3 numbers; expected 4 x 4"),
    "ragged": ({"transform_matrix": [[1, 0], [0]]}, "transform_matrix has rows of 2, 1 numbers; expected equal lengths"),
    "word inside": ({"transform_matrix": with_entry(1, 2, "x")}, "transform_matrix[1][2] is 'x'; expected a number"),
    "bool inside": ({"transform_matrix": with_entry(1, 2, True)}, "transform_matrix[1][2] is True; expected a number"),
    "huge": ({"transform_matrix": with_entry(0, 3, 10**40)}, "transform_matrix[0][3] is 1" + "0" * 40 + "; expected a magnitude of at most 1e+18"),
    "scaled": ({"transform_matrix": matrix(scaled)}, "transform_matrix is a rotation scaled by 2.5; "),
    "left-handed": (
        {"transform_matrix": matrix(lambda m: m @ np.diag([1.0, 1, -1, 1]))},
        "transform_matrix is left-handed (determinant -1)",
    ),
    "sheared": ({"transform_matrix": with_entry(0, 1, 0.1)}, "transform_matrix is not a rotation: R^T R differs from the identity by 0.1"),
    "zero": ({"transform_matrix": matrix(lambda m: m * [[0, 0, 0, 1]])}, "transform_matrix is not a rotation"),
    "transposed": ({"transform_matrix": matrix(np.transpose)}, "transform_matrix has the last row 0 0 4 1; expected"),
    "no path": ({"file_path": None}, "file_path is missing"),
    "path is a number": ({"file_path": 7}, "file_path is 7; expected text"),
    "absolute": ({"file_path": "/etc/x.png"}, "file_path '/etc/x.png' is absolute"),
    "windows absolute": ({"file_path": "C:\\x.png"}, "file_path 'C:\\\\x.png' is absolute"),
    "parent": ({"file_path": "images/../../x.png"}, "file_path 'images/../../x.png' leaves the scene's folder"),
    "twice": ({"file_path": "./images/2.png"}, "file_path 'images/2.png' is in FOLDER/transforms.json: frames[2] too"),
    "mask is missing": ({"mask_path": "none.png"}, "mask_path 'none.png' does not exist"),
    "mask outside": ({"mask_path": "../m.png"}, "mask_path '../m.png' leaves the scene's folder"),
    "mask of another size": ({"mask_path": "small_mask.png"}, "mask 'small_mask.png' has 4 x 3 pixels; expected 8 x 6"),
    "width": ({"w": 16}, "w is 16, but photograph 'images/3.png' has 8 x 6 pixels;"),
    "turned": ({"w": 6, "h": 8}, "w is 6, but photograph 'images/3.png' has 8 x 6 pixels;"),
    "half a pixel": ({"w": 8.5}, "w is 8.5; expected a whole number of at least 1"),
    "focal is text": ({"fl_x": "10"}, "fl_x is '10'; expected a number"),
    "focal below 0": ({"fl_x": -1}, "fl_x gives a focal length of -1 pixels along a side of 8 pixels; expected 0.008 to"),
    "focal of next to nothing": ({"fl_x": 1e-9}, "fl_x gives a focal length of 1e-09 pixels"),
    "focal without end": ({"fl_x": 1e12}, "fl_x gives a focal length of 1e+12 pixels along a side of 8 pixels; expected"),
    "focal of height": ({"fl_y": 1e12}, "fl_y gives a focal length of 1e+12 pixels along a side of 6 pixels; expected"),
    "angle of next to nothing": ({"camera_angle_x": 1e-9}, "camera_angle_x gives a focal length of 8e+09 pixels"),
    "fov of next to all": ({"x_fov": 179.9999}, "x_fov gives a focal length of"),
    "centre far away": ({"cy": -1e12}, "cy gives a principal point at -1e+12 along a side of 6 pixels; expected -600 to 600"),
    "degrees": ({"camera_angle_x": 40}, "camera_angle_x is 40, which looks like degrees; expected radians"),
    "angle 0": ({"camera_angle_x": 0}, "camera_angle_x is 0; expected radians between 0 and pi"),
    "fov": ({"x_fov": 180}, "x_fov is 180; expected degrees between 0 and 180"),
    "some with time": ({"time": 0.5}, None),
    "camera model": ({"camera_model": "EQUIRECTANGULAR"}, "camera_model is 'EQUIRECTANGULAR'; expected one of SIMPLE_P"),
    "fisheye and pinhole": ({"camera_model": "PINHOLE", "is_fisheye": True}, "is_fisheye is true, but camera_model is"),
    "fisheye with p1": ({"is_fisheye": True, "p1": 0.1}, "p1, p2 are 0.1, 0; a fisheye lens has k1 to k4 only"),
    "only k4": ({"k4": 0.1}, "k4 is 0.1; expected 0 for a lens that is not a fisheye"),
    "other lens": ({"latlong": True}, "latlong states a lens that polyfield cannot read"),
    "five numbers": ({"distortion_params": [0] * 5}, "distortion_params is a list of length 5; expected a list of 6 numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FRAMES)
def test_bad_frame(folder, name):
    change, expected = BAD_FRAMES[name]
    data = good()
    data["frames"][3] |= change
    if expected is None:  # the frames that lack it are at fault
        assert refusal(folder, data).startswith(
            "transforms.json: frames[0]: time is missing, though other frames"
        )
    else:
        assert refusal(folder, data).startswith(f"transforms.json: frames[3]: {expected}")


def test_time_outside_0_to_1(folder):
    data = good()
    for i, frame in enumerate(data["frames"]):
        frame["time"] = i / 8
    assert refusal(folder, data) == "transforms.json: frames[9]: time is 1.125; expected 0 to 1"


# What stands at the top -> the refusal after "transforms.json: ".
BAD_TOPS = {
    "no intrinsics": ({"fl_x": None}, "frames[0]: fl_x is missing, and so are camera_angle_x and x_fov"),
    "which size": (
        {"cx": None, "w": None},
        "fl_x is given without w and cx, so its image size is unknown; add one of them",
    ),
    "size of others": (
        {"w": 16, "h": 12},
        "frames[0]: w is 16, but photograph 'images/0.png' has 8 x 6 pixels;",
    ),
    "frames is an object": (
        {"frames": {}},
        "frames is an object of length 0; expected a list of at least one object",
    ),
    "no frames": ({"frames": []}, "frames is a list of length 0; expected a list"),
    "frames is absent": ({"frames": None}, "frames is missing; expected a list of at least one object"),
    "frames of numbers": ({"frames": [{}, 3]}, "frames[1] is 3; expected an object"),
    "unknown in split": (
        {"test_filenames": ["images/0.png", "x"]},
        "test_filenames[1] is 'x'; no frame has this",
    ),
    "split is text": ({"train_filenames": "all"}, "train_filenames is 'all'; expected a list of file names"),
    "overlapping split": (
        {"train_filenames": ["images/1.png", "images/0.png"], "test_filenames": ["images/0.png"]},
        "train_filenames and the test split share 1 files; list each in one of them (the first: 'images/0.png')",
    ),
}


@pytest.mark.parametrize("name", BAD_TOPS)
def test_bad_top(folder, name):
    change, expected = BAD_TOPS[name]
    assert refusal(folder, good() | change).startswith(f"transforms.json: {expected}")


def test_only_some_frames_have_intrinsics(folder):
    data = good()
    for frame in data["frames"][:5]:
        frame["fl_x"] = 10
    del data["fl_x"]
    assert refusal(folder, data).startswith("transforms.json: frames[5]: fl_x is missing")


@pytest.mark.parametrize("top", [{"camera_angle_x": 0.7}, {"fl_x": 10, "cx": 4, "cy": 3}])
def test_mixed_sizes_under_one_set_of_intrinsics(folder, top):
    Image.fromarray(np.zeros((8, 6, 3), np.uint8)).save(folder / "images" / "4.png")
    assert refusal(folder, {**top, "frames": good()["frames"]}).startswith(
        "transforms.json: frames[4]: photograph 'images/4.png' has 6 x 8 pixels, but the first one has 8 x 6; "
    )


def test_nothing_left_to_train_on(folder):
    data = good()
    data["frames"] = data["frames"][:1]
    assert "none is left for training" in refusal(folder, data)


BAD_FILES = {
    "empty": (b"", "is empty (0 bytes); expected a picture"),
    "text": (b"no picture at all", "is not a picture: it starts with b'no picture at al'"),
    "truncated": (None, "is truncated or damaged"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_photograph(folder, name):
    data, expected = BAD_FILES[name]
    path = folder / "images" / "6.png"
    path.write_bytes(path.read_bytes()[:-20] if data is None else data)
    assert refusal(folder, good()).startswith(
        f"transforms.json: frames[6]: file_path 'images/6.png' {expected}"
    )


def test_more_than_a_tenth_missing(folder):
    for i in (2, 5, 7, 8):
        (folder / "images" / f"{i}.png").unlink()
    assert refusal(folder, good()) == (
        "transforms.json: file_path: 4 of 10 photographs do not exist in FOLDER, with or without .png, .jpg, .jpeg"
        " (the first: 'images/2.png', 'images/5.png', 'images/7.png'); restore them or remove their frames: at most a"
        " tenth may be missing"
    )


def test_a_link_out_of_the_folder(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.png"
    (folder / "images" / "1.png").rename(outside)
    os.symlink(outside, folder / "images" / "1.png")
    assert refusal(folder, good()).startswith(
        "transforms.json: frames[1]: file_path 'images/1.png' is a link to a file outside the scene's folder"
    )


def test_a_dynamic_mask_that_is_a_link_out_of_the_folder(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.png"
    (folder / "small_mask.png").rename(outside)
    os.symlink(outside, folder / "images" / "dynamic_mask_1.png")
    assert refusal(folder, good()).startswith(
        "transforms.json: frames[1]: file_path 'images/dynamic_mask_1.png' is a link to a file outside the scene's folder"
    )


@pytest.mark.parametrize("name", ["a\0b.png", "n" * 300, "\ud800.png", "images/2.png/3.png"])
def test_names_that_no_file_can_have_count_as_missing(folder, name):
    data = good()
    data["frames"][4]["file_path"] = name
    (folder / "transforms.json").write_text(json.dumps(data))
    assert len(open_scene(folder).skipped) == 1


@pytest.mark.parametrize("downscale", [7, 10**9])
def test_downscale_beyond_the_picture(folder, downscale):
    assert refusal(folder, good(), downscale=downscale) == (
        f"transforms.json: frames[0]: file_path 'images/0.png' has 8 x 6 pixels; --downscale {downscale} is larger than one side"
    )


@pytest.mark.parametrize("downscale", [0, -1, 1.5, True, "2"])
def test_downscale_is_a_whole_number(folder, downscale):
    with pytest.raises(PolyfieldError, match="^--downscale is .*; expected a whole number of at least 1$"):
        open_scene(folder, downscale=downscale)


def test_photographs_larger_than_memory_are_refused_before_decoding(folder, monkeypatch):
    monkeypatch.setattr(photographs, "_memory", lambda: 1000.0)
    said = refusal(folder, good())
    assert "10 photographs need 0.0 GB of memory" in said
    assert said.endswith("resize the photographs, or use `polyfield fit` with --downscale 2 or more")


BAD_JSON = {
    "empty": ("", ": line 1: not valid JSON"),
    "third line": ('{\n"a": 1,\n}', ": line 3: not valid JSON"),
    "a list": ("[1, 2]", " holds a list of length 2; expected a JSON object at the top level"),
    "NaN": ('{"frames":\n[{"transform_matrix": [[1, NaN]]}]}', ": line 2: found NaN at frames[0].transform_matrix[0][1]; expected"),
    "too large": ('{"w": 1e999}', ": line 1: found 1e999 at w; expected a finite number"),
    "key twice": ('{"w": 1, "h": 2,\n"w": 1}', ': line 2: the key "w" occurs twice in one object'),
    "depth": ("[" * 100_000 + "]" * 100_000, ": JSON nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_JSON)
def test_bad_json(folder, name):
    text, expected = BAD_JSON[name]
    assert refusal(folder, text).startswith(f"transforms.json{expected}")


def test_blender_errors_name_their_own_file(folder):
    (folder / "transforms_train.json").write_text(
        json.dumps({"camera_angle_x": 0.7, "frames": good()["frames"]})
    )
    test = {"camera_angle_x": 40.0, "frames": [{"file_path": "small_mask", "transform_matrix": POSE}]}
    assert refusal(folder, test, "transforms_test.json").startswith(
        "transforms_test.json: camera_angle_x is 40, which looks like degrees"
    )
    test["frames"][0]["file_path"] = "images/3"
    assert refusal(folder, test, "transforms_test.json").startswith(
        "transforms_test.json: frames[0]: file_path 'images/3.png' is in FOLDER/transforms_train.json: frames[3] too"
    )


def test_unknown_folder_says_what_was_looked_for_and_what_is_there(tmp_path):
    for name in "bcadefg":
        (tmp_path / name).mkdir()
    with pytest.raises(PolyfieldError) as caught:
        open_scene(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no scene found; looked for transforms_train.json (blender), transforms.json (transforms);"
        " the folder holds 'a/', 'b/', 'c/', 'd/', 'e/' and 2 more"
    )


@pytest.mark.parametrize("name", ["none", "n" * 300])
def test_paths_that_are_not_there(tmp_path, name):
    with pytest.raises(PolyfieldError, match="no such file or folder|cannot be read"):
        open_scene(tmp_path / name)


def test_a_folder_with_a_line_break_in_its_name_still_gives_one_line(tmp_path):
    (tmp_path / "two\nlines").mkdir()
    for name in ("two\nlines", "two\nlines/none"):
        with pytest.raises(PolyfieldError) as caught:
            open_scene(tmp_path / name)
        assert "\n" not in str(caught.value)


STOP = {"camera_to_world": np.array(POSE).ravel().tolist(), "fov": 50, "aspect": 1}
BAD_PATHS = {
    "lens": ({"camera_type": "fisheye"}, "camera_type is 'fisheye'; expected perspective"),
    "no width": ({"render_width": None}, "render_width is missing"),
    "huge": ({"render_width": 10**6}, "render_width is 1000000; expected at most 32768"),
    "fps": ({"fps": 0}, "fps is 0; expected a number above 0"),
    "no cameras": ({"camera_path": []}, "camera_path is a list of length 0"),
    "twelve": ({"camera_path": [{**STOP, "camera_to_world": [0] * 12}]}, "camera_path[0]: camera_to_world is a list of length 12"),
    "columns": (
        {"camera_path": [STOP, {**STOP, "camera_to_world": np.array(POSE).T.ravel().tolist()}]},
        "camera_path[1]: camera_to_world has the last row 0 0 4 1",
    ),
    "fov": ({"camera_path": [{**STOP, "fov": 180}]}, "camera_path[0]: fov is 180; expected a vertical angle below"),
    "no fov to speak of": ({"camera_path": [{**STOP, "fov": 1e-9}]}, "camera_path[0]: fov gives a focal length of"),
    "some times": ({"camera_path": [{**STOP, "render_time": 0}, STOP]}, "camera_path[1]: render_time is missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_PATHS)
def test_bad_camera_path(tmp_path, name):
    change, expected = BAD_PATHS[name]
    file = tmp_path / "camera_path.json"
    file.write_text(
        json.dumps({"render_width": 8, "render_height": 6, "fps": 24, "camera_path": [STOP]} | change)
    )
    with pytest.raises(PolyfieldError) as caught:
        read_camera_path(file)
    assert str(caught.value).startswith(f"{file}: {expected}")
