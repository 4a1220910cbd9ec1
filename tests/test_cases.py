"""Inputs that other people's bug reports are about, made small."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyfield.api.fit import fit
from polyfield.apps import command
from polyfield.cameras.cameras import look_at
from polyfield.data.readers import open_scene
from polyfield.demo.scenes import make_scene
from polyfield.errors import PolyfieldError


@pytest.fixture
def blender(tmp_path) -> Path:
    """A scene in Blender's layout: 16 training and 2 test views."""
    make_scene(tmp_path / "scene", views=16, test_views=2, size=8)
    return tmp_path / "scene"


def renamed(folder: Path, split: str, count: int) -> None:
    """Let a split's file name pictures that were never rendered, in its first frames."""
    path = folder / f"transforms_{split}.json"
    data = json.loads(path.read_text())
    for number, frame in enumerate(data["frames"][:count]):
        frame["file_path"] = f"./never/{split}{number:04d}"
    path.write_text(json.dumps(data))


def test_a_test_split_that_was_never_rendered_is_left_out_with_a_warning(blender):
    renamed(blender, "test", 2)
    scene = open_scene(blender)
    assert "transforms_test.json: none of its 2 photographs exists; it is left out" in scene.notes
    assert len(scene.test) == 2 and len(scene.train) == 14
    assert all(name.startswith("train/") for name in scene.names)


def test_the_validation_split_takes_its_place(blender):
    data = json.loads((blender / "transforms_test.json").read_text())
    (blender / "transforms_val.json").write_text(json.dumps(data))
    renamed(blender, "test", 2)
    scene = open_scene(blender)
    assert [scene.names[i].split("/")[0] for i in scene.test] == ["test", "test"]


@pytest.mark.parametrize("split, others", [("train", 0), ("test", 2)])
def test_the_file_that_names_most_of_the_missing_photographs_is_named(blender, split, others):
    count, of = (5, 16) if split == "train" else (3, 4)
    if split == "test":
        make_scene(blender.parent / "more", views=8, test_views=4, size=8)
        (blender.parent / "more" / "test").rename(blender / "test2")
        data = json.loads((blender.parent / "more" / "transforms_test.json").read_text())
        for frame in data["frames"]:
            frame["file_path"] = frame["file_path"].replace("test/", "test2/")
        (blender / "transforms_test.json").write_text(json.dumps(data))
    renamed(blender, split, count)
    renamed(blender, {"train": "test", "test": "train"}[split], others)
    with pytest.raises(PolyfieldError) as error:
        open_scene(blender)
    assert f"transforms_{split}.json: file_path: {count} of {of} photographs do not exist" in str(error.value)


def scaled(folder: Path, scale: float, move: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
    for split in ("train", "test"):
        path = folder / f"transforms_{split}.json"
        data = json.loads(path.read_text())
        for frame in data["frames"]:
            for row, shift in zip(frame["transform_matrix"][:3], move):
                row[3] = row[3] * scale + shift
        path.write_text(json.dumps(data))


@pytest.mark.parametrize("scale, half", [(1.0, 1.5), (3.0, 4.5), (0.1, 0.15)])
def test_the_box_of_a_blender_scene_has_the_scale_of_its_cameras(blender, scale, half):
    scaled(blender, scale)
    scene = open_scene(blender)
    assert scene.domain.half_size == pytest.approx((half,) * 3, rel=0.02)
    found = [note for note in scene.notes if "as in standard Blender scenes" in note]
    assert len(found) == (scale != 1)


def test_it_is_where_the_cameras_look(blender):
    scaled(blender, 1.0, (50.0, -20.0, 3.0))
    scene = open_scene(blender)
    assert scene.domain.centre == pytest.approx((50.0, -20.0, 2.9), abs=0.2)
    assert any(note.startswith("the cameras look at (50, -20, 2.") for note in scene.notes)


@pytest.mark.parametrize("kind", ["same pose", "parallel", "turned on the spot"])
def test_cameras_that_look_at_no_one_point_have_the_standard_box(blender, kind):
    first = json.loads((blender / "transforms_train.json").read_text())["frames"][0]["transform_matrix"]
    for split in ("train", "test"):
        path = blender / f"transforms_{split}.json"
        data = json.loads(path.read_text())
        for number, frame in enumerate(data["frames"]):
            pose = frame["transform_matrix"]
            for row in range(3):
                pose[row][3] = first[row][3] + (0.3 * number * first[row][0] if kind == "parallel" else 0)
                if kind != "turned on the spot":
                    pose[row][:3] = first[row][:3]
        path.write_text(json.dumps(data))
    domain = open_scene(blender).domain
    assert domain.half_size == (1.5,) * 3 and domain.centre == (0.0,) * 3


QUARTER, UPSIDE_DOWN = 6, 3  # EXIF orientations


def photographed(folder: Path, orientation: int, size: tuple[int, int], **top) -> np.ndarray:
    """A scene of ten photographs with an EXIF orientation; returns the stored pixels of the first."""
    first = None
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        first = pixels if first is None else first
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(folder / f"{number}.png", exif=exif)
    angles = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    eyes = torch.tensor(np.stack([4 * np.cos(angles), 4 * np.sin(angles), 0 * angles + 1], 1)).float()
    poses = look_at(eyes, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])).tolist()
    frames = [
        {"file_path": f"{number}.png", "transform_matrix": [*pose, [0, 0, 0, 1]]}
        for number, pose in enumerate(poses)
    ]
    (folder / "transforms.json").write_text(json.dumps({"fl_x": 20.0, **top, "frames": frames}))
    return first


@pytest.mark.parametrize(
    "orientation, size, top, turned",
    [
        (QUARTER, (12, 9), {"w": 9, "h": 12, "cx": 4.5, "cy": 6.0}, True),
        (QUARTER, (12, 9), {"w": 12, "h": 9, "cx": 6.0, "cy": 4.5}, False),
        (QUARTER, (12, 9), {"fl_x": None, "camera_angle_x": 0.7}, False),
        (QUARTER, (9, 9), {"w": 9, "h": 9, "cx": 4.5, "cy": 4.5}, False),
        (UPSIDE_DOWN, (12, 9), {"w": 12, "h": 9, "cx": 6.0, "cy": 4.5}, False),
    ],
)
def test_photographs_are_turned_by_exif_only_where_their_poses_say_so(
    tmp_path, orientation, size, top, turned
):
    stored = photographed(tmp_path, orientation, size, **top)
    scene = open_scene(tmp_path)
    expected = np.rot90(stored, -1) if turned else stored
    assert np.array_equal(scene.images[0][..., :3] // 257, expected)
    assert scene.cameras.sizes[0].tolist() == [expected.shape[1], expected.shape[0]]
    words = (
        "10 photographs are turned by their EXIF"
        if turned
        else "10 photographs have an EXIF orientation that is not"
    )
    assert any(note.startswith(words) for note in scene.notes)


def edited(folder: Path, change) -> Path:
    """The scene with its JSON changed."""
    photographed(folder, 1, (12, 9), w=12, h=9)
    data = json.loads((folder / "transforms.json").read_text())
    change(data)
    (folder / "transforms.json").write_text(json.dumps(data))
    return folder


def test_frames_that_are_marked_bad_are_left_out(tmp_path):
    def change(data):
        data["frames"][3]["is_bad"] = data["frames"][7]["is_bad"] = True
        data["frames"][5]["is_bad"] = False

    scene = open_scene(edited(tmp_path, change))
    assert len(scene.names) == 8 and not {"3.png", "7.png"} & set(scene.names)
    assert "2 frames are marked is_bad and were left out" in scene.notes and len(scene.notes) == 1


def test_test_frames_are_the_test_split(tmp_path):
    def change(data):
        data["test_frames"] = data["frames"][6:]
        data["frames"] = data["frames"][:6]
        data["test_frames"][0]["is_bad"] = True

    scene = open_scene(edited(tmp_path, change))
    assert [scene.names[i] for i in scene.test] == ["7.png", "8.png", "9.png"] and len(scene.train) == 6


def test_test_frames_that_do_not_exist_are_left_out(tmp_path):
    def change(data):
        data["test_frames"] = [
            {**frame, "file_path": f"never{i}.png"} for i, frame in enumerate(data["frames"][:4])
        ]

    scene = open_scene(edited(tmp_path, change))
    assert "test_frames: none of its 4 photographs exists; it is left out" in scene.notes
    assert len(scene.test) == 2 and len(scene.train) == 8


def test_test_frames_that_are_all_bad_leave_every_eighth(tmp_path):
    def change(data):
        data["test_frames"] = [{**data["frames"].pop(), "is_bad": True}]

    scene = open_scene(edited(tmp_path, change))
    assert len(scene.test) == 2 and len(scene.train) == 7


def test_a_split_may_name_a_bad_frame(tmp_path):
    def change(data):
        data["frames"][3]["is_bad"] = True
        data["train_filenames"] = ["1.png", "2.png", "3.png"]
        data["test_filenames"] = ["4.png"]

    scene = open_scene(edited(tmp_path, change))
    assert [scene.names[i] for i in scene.train] == ["1.png", "2.png"]
    assert [scene.names[i] for i in scene.test] == ["4.png"]


@pytest.mark.parametrize(
    "change, words",
    [
        (
            lambda data: [frame.update(is_bad=True) for frame in data["frames"]],
            "frames are all marked is_bad",
        ),
        (
            lambda data: data["frames"][2].update(is_bad="yes"),
            "frames[2]: is_bad is 'yes'; expected true or false",
        ),
        (
            lambda data: data.update(test_frames=[data["frames"].pop()], test_filenames=["1.png"]),
            "test_frames and test_filenames both give a split",
        ),
    ],
)
def test_marks_that_make_no_sense_are_refused(tmp_path, change, words):
    with pytest.raises(PolyfieldError) as error:
        open_scene(edited(tmp_path, change))
    assert words in str(error.value)


def test_an_error_is_one_line_of_at_most_500_characters(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["eval", "x" * 5000 + "\n" + "y" * 5000])
    out, err = capsys.readouterr()
    assert stopped.value.code == 1 and out == ""
    assert err.count("\n") == 1 and 400 < len(err) <= 501 and err.endswith("...\n")


@pytest.mark.slow
def test_other_scales_are_fitted_as_well_as_the_usual_one(tmp_path):
    """The same scene with cameras at radius 12 and at radius 4: it had 12.3 dB and 28.8 dB."""
    cases = Path(__file__).parents[2] / "shared" / "cases"
    if not cases.exists():
        pytest.skip("../shared/cases is not here")
    found = [
        fit(cases / name, steps=300, out=tmp_path / name).figures["psnr"]
        for name in ("00-control-blender", "01-blender-other-scale")
    ]
    assert found[0] > 28 and abs(found[0] - found[1]) < 0.5


def test_a_scene_whose_test_views_were_never_rendered_is_read():
    case = Path(__file__).parents[2] / "shared" / "cases" / "02-blendernerf-default"
    if not case.exists():
        pytest.skip("../shared/cases is not here")
    scene = open_scene(case)
    assert len(scene.test) == 3 and len(scene.train) == 21
    assert any(note.startswith("transforms_test.json: none of its") for note in scene.notes)
