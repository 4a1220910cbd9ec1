"""Scenes of photographs with poses: the two formats, splits, downscaling, masks, placement and camera paths."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyfield.cameras.cameras import Cameras
from polyfield.data import open_scene, placement, read_camera_path
from polyfield.fields.domain import Domain

DATA = Path(__file__).parents[2] / "shared" / "data"
GLOBAL = {"fl_x": 20.0, "fl_y": 21.0, "cx": 6.5, "cy": 4.5, "w": 12, "h": 9}


def look_at(position, target) -> np.ndarray:
    """A camera-to-world matrix (4, 4) in OpenGL axes."""
    back = np.subtract(position, target)
    back = back / np.linalg.norm(back)
    right = np.cross([0.1, 0.2, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return pose


def ring(count: int, target=(0.0, 0.0, 0.0), radius: float = 4.0) -> list[np.ndarray]:
    angles = 2 * np.pi * np.arange(count) / count
    offsets = radius * np.stack([np.cos(angles), np.sin(angles), 0.3 * np.sin(3 * angles)], axis=1)
    return [look_at(target + offset, np.array(target)) for offset in offsets]


def picture(path: Path, size=(12, 9), mode="RGB", seed=0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def frames(names, poses=None) -> list[dict]:
    poses = ring(len(names)) if poses is None else poses
    return [{"file_path": name, "transform_matrix": pose.tolist()} for name, pose in zip(names, poses)]


def write_transforms(folder: Path, names, top=GLOBAL, **more) -> Path:
    """A transforms.json scene; pictures are made for names that have an ending and no file."""
    for i, name in enumerate(names):
        picture(folder / name, seed=i)
    (folder / "transforms.json").write_text(json.dumps({**top, "frames": frames(names), **more}))
    return folder


def write_blender(folder: Path, times=False, **counts: int) -> Path:
    for split, count in counts.items():
        entries = frames([f"./{split}/r_{i}" for i in range(count)])
        for i, entry in enumerate(entries):
            picture(folder / split / f"r_{i}.png", size=(10, 10), mode="RGBA", seed=i)
            if times:
                entry["time"] = i / count
        top = {"camera_angle_x": 0.7, "frames": entries}
        (folder / f"transforms_{split}.json").write_text(json.dumps(top))
    return folder


TEN = [f"images/{i:02d}.png" for i in range(10)]


def test_transforms_scene_is_read_as_it_stands(tmp_path):
    scene = open_scene(write_transforms(tmp_path / "fox", TEN))
    assert (scene.name, scene.format, scene.names) == ("fox", "transforms", tuple(TEN))
    assert scene.found.endswith("fox is a transforms scene: the folder holds transforms.json.")
    assert scene.cameras.intrinsics.tolist() == [[20.0, 21.0, 6.5, 4.5]] * 10
    assert scene.cameras.sizes.tolist() == [[12, 9]] * 10 and scene.cameras.lens == ("perspective",) * 10
    assert np.allclose(scene.cameras.c2w.numpy(), np.array(ring(10))[:, :3], atol=1e-6)
    assert scene.cameras.times is None and scene.background == (0.0, 0.0, 0.0)
    for name, image in zip(scene.names, scene.images):
        pixels = np.asarray(Image.open(scene.root / name)).astype(np.uint16) * 257
        assert np.array_equal(image[..., :3], pixels) and (image[..., 3] == 65535).all()
        assert scene.hashes[name] == hashlib.sha256((scene.root / name).read_bytes()).hexdigest()
    assert scene.masks == (None,) * 10 and scene.skipped == () and scene.notes == ()
    assert scene.bytes == 10 * 12 * 9 * 8


def test_every_eighth_by_sorted_name_is_test(tmp_path):
    names = TEN[::-1]
    scene = open_scene(write_transforms(tmp_path, names))
    assert [scene.names[i] for i in scene.test] == ["images/08.png", "images/00.png"]
    assert sorted(scene.train + scene.test) == list(range(10))


def test_the_json_file_may_be_named_itself(tmp_path):
    write_transforms(tmp_path, TEN)
    (tmp_path / "transforms.json").rename(tmp_path / "base_cam.json")
    scene = open_scene(str(tmp_path / "base_cam.json"))
    assert scene.root == tmp_path and len(scene.names) == 10


def test_blender_scene(tmp_path):
    scene = open_scene(write_blender(tmp_path, train=4, val=2, test=3))
    assert scene.format == "blender" and scene.background == (1.0, 1.0, 1.0) and scene.near == 0.0
    assert scene.train == (0, 1, 2, 3) and scene.test == (4, 5, 6) and scene.names[4] == "test/r_0.png"
    assert scene.domain == Domain("box", (0.0, 0.0, 0.0), (1.5, 1.5, 1.5))
    focal = 5 / math.tan(0.35)
    assert scene.cameras.intrinsics[0].tolist() == pytest.approx([focal, focal, 5.0, 5.0])
    assert (scene.images[0][..., :3] <= scene.images[0][..., 3:]).all()


@pytest.mark.parametrize(
    ("counts", "train", "test"),
    [({"train": 4, "val": 2}, (0, 1, 2, 3), (4, 5)), ({"train": 10}, (1, 2, 3, 4, 5, 6, 7, 9), (0, 8))],
)
def test_blender_without_a_test_file(tmp_path, counts, train, test):
    scene = open_scene(write_blender(tmp_path, **counts))
    assert (scene.train, scene.test) == (train, test)


def test_blender_with_time(tmp_path):
    scene = open_scene(write_blender(tmp_path, times=True, train=4, test=2))
    assert scene.cameras.times.tolist() == [0.0, 0.25, 0.5, 0.75, 0.0, 0.5]


def test_the_split_of_the_file_that_is_given_is_tested(tmp_path):
    folder = write_blender(tmp_path, train=3, test=2, val=1)
    for name, tested in (("", "test"), ("transforms_train.json", "test"), ("transforms_test.json", "test"),
                         ("transforms_val.json", "val")):  # fmt: skip
        scene = open_scene(folder / name)
        assert {scene.names[i].split("/")[0] for i in scene.test} == {tested} and len(scene.train) == 3


def test_one_scene_in_two_formats_gives_the_same_cameras(tmp_path):
    blender = open_scene(write_blender(tmp_path / "a", train=4, test=1))
    top = {"camera_angle_x": 0.7, "frames": frames([f"r_{i}" for i in range(4)])}
    for i in range(4):
        picture(tmp_path / "b" / f"r_{i}.png", size=(10, 10), seed=i)
    (tmp_path / "b" / "transforms.json").write_text(json.dumps(top))
    transforms = open_scene(tmp_path / "b")
    for key in ("c2w", "intrinsics", "sizes"):
        assert torch.equal(getattr(blender.cameras, key)[:4], getattr(transforms.cameras, key))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_downscale_divides_pixels_sizes_and_intrinsics(tmp_path, k):
    write_transforms(tmp_path, TEN)
    full, small = open_scene(tmp_path), open_scene(tmp_path, downscale=k)
    assert small.images[0].shape == (9 // k, 12 // k, 4) and small.downscale == k
    assert small.cameras.sizes.tolist() == [[12 // k, 9 // k]] * 10
    assert torch.allclose(small.cameras.intrinsics * k, full.cameras.intrinsics)
    box = full.images[3][:k, k : 2 * k].reshape(-1, 4).astype(np.float64)
    assert np.abs(small.images[3][0, 1] - box.mean(axis=0)).max() <= 0.5


LENSES = [
    ({}, "perspective", [0.0] * 8),
    ({"camera_model": "PINHOLE"}, "perspective", [0.0] * 8),
    ({"camera_model": "OPENCV", "k1": 0}, "perspective", [0.0] * 8),
    ({"k1": 0.125, "k2": 0.25, "p1": 0.5, "p2": 1.0, "k3": 2.0}, "opencv", [0.125, 0.25, 0.5, 1, 2, 0, 0, 0]),
    ({"camera_model": "SIMPLE_RADIAL", "k1": 0.5}, "opencv", [0.5] + [0.0] * 7),
    ({"camera_model": "OPENCV_FISHEYE", "k1": 1, "k4": 4}, "fisheye", [1.0, 0, 0, 4, 0, 0, 0, 0]),
    ({"is_fisheye": True, "k2": 0.5}, "fisheye", [0.0, 0.5, 0, 0, 0, 0, 0, 0]),
    ({"distortion_params": [1, 2, 3, 0, 5, 6]}, "opencv", [1.0, 2, 5, 6, 3, 0, 0, 0]),
]


@pytest.mark.parametrize(("keys", "lens", "distortion"), LENSES)
def test_lenses_and_their_numbers(tmp_path, keys, lens, distortion):
    cameras = open_scene(write_transforms(tmp_path, TEN, {**GLOBAL, **keys})).cameras
    assert set(cameras.lens) == {lens} and cameras.distortion[0].tolist() == distortion


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        ({"camera_angle_x": 1.0}, [6 / math.tan(0.5), 6 / math.tan(0.5), 6, 4.5]),
        ({"camera_angle_x": 1.0, "camera_angle_y": 0.8}, [6 / math.tan(0.5), 4.5 / math.tan(0.4), 6, 4.5]),
        ({"x_fov": 90}, [6, 6, 6, 4.5]),
        ({"y_fov": 90}, [4.5, 4.5, 6, 4.5]),
        ({"fl_x": 20, "camera_angle_x": 1.0, "w": 12.0, "h": 9.0}, [20, 20, 6, 4.5]),
        ({"fl_x": 20, "cx": 5}, [20, 20, 5, 4.5]),
    ],
)
def test_intrinsics_from_pixels_radians_and_degrees(tmp_path, top, expected):
    scene = open_scene(write_transforms(tmp_path, TEN, top))
    assert scene.cameras.intrinsics[0].tolist() == pytest.approx(expected)


def test_a_frame_goes_before_the_top_of_the_file_and_may_have_its_own_size(tmp_path):
    write_transforms(tmp_path, TEN)
    data = json.loads((tmp_path / "transforms.json").read_text())
    data["frames"][3] |= {"fl_x": 30, "fl_y": 31, "cx": 10, "cy": 5, "w": 20, "h": 10, "k1": 0.5}
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    picture(tmp_path / TEN[3], size=(20, 10))
    cameras = open_scene(tmp_path).cameras
    assert cameras.intrinsics[3].tolist() == [30, 31, 10, 5] and cameras.intrinsics[4].tolist() == [
        20,
        21,
        6.5,
        4.5,
    ]
    assert cameras.sizes[3].tolist() == [20, 10] and cameras.lens[2:5] == (
        "perspective",
        "opencv",
        "perspective",
    )


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        ({"train_filenames": TEN[:6], "test_filenames": TEN[6:8]}, TEN[:6], TEN[6:8]),
        ({"train_filenames": TEN[:6]}, TEN[:6], TEN[6:]),
        ({"test_filenames": TEN[:2]}, TEN[2:], TEN[:2]),
        ({"train_filenames": TEN[:6], "val_filenames": TEN[8:]}, TEN[:6], TEN[8:]),
        ({"val_filenames": TEN[:2], "test_filenames": TEN[4:6]}, TEN[2:4] + TEN[6:], TEN[4:6]),
        ({"train_filenames": TEN[:6], "val_filenames": TEN[8:], "test_filenames": []}, TEN[:6], TEN[8:]),
    ],
)
def test_the_files_own_split(tmp_path, lists, train, test):
    scene = open_scene(write_transforms(tmp_path, TEN, **lists))
    assert [scene.names[i] for i in scene.train] == train and [scene.names[i] for i in scene.test] == test
    assert len(scene.names) == len(train) + len(test)


def test_awkward_file_names(tmp_path):
    names = [
        "images/a b.png",
        "images/ü'\";$(x).png",
        "images/line\nbreak.png",
        "images/" + "n" * 250 + ".png",
    ]
    scene = open_scene(write_transforms(tmp_path / "a scene", names))
    assert scene.names == tuple(names)


def test_backslashes_dots_and_missing_endings(tmp_path):
    for name in ("images/a.JPG", "images/b.jpeg", "images/c.png"):
        picture(tmp_path / name)
    data = {**GLOBAL, "frames": frames(["images\\a", "./images/b", "images/../images/c.png"])}
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    assert open_scene(tmp_path).names == ("images/a.JPG", "images/b.jpeg", "images/c.png")


def test_masks_of_both_kinds(tmp_path):
    write_transforms(tmp_path, TEN)
    left = np.zeros((9, 12), np.uint8)
    left[:, :6] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    top = np.zeros((9, 12), np.uint8)
    top[:3] = 255
    Image.fromarray(top).save(tmp_path / "images" / "dynamic_mask_01.png")
    data = json.loads((tmp_path / "transforms.json").read_text())
    for i in (0, 1):
        data["frames"][i]["mask_path"] = "left.png"
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    scene = open_scene(tmp_path)
    assert np.array_equal(scene.masks[0], left > 0)
    assert np.array_equal(scene.masks[1], (left > 0) & (top == 0))
    assert scene.masks[2] is None
    assert open_scene(tmp_path, downscale=4).masks[0].tolist() == [[True, False, False]] * 2


def test_a_tenth_of_the_photographs_may_be_missing(tmp_path):
    write_transforms(tmp_path, TEN)
    (tmp_path / TEN[4]).unlink()
    scene = open_scene(tmp_path)
    assert scene.skipped == (TEN[4],) and len(scene.names) == 9 and TEN[4] not in scene.names
    assert scene.notes == (f"1 photographs do not exist and were left out, the first: {TEN[4]!r}",)


def test_unknown_keys_are_noted_and_known_hints_are_not(tmp_path):
    more = {"aabb_scale": 16, "applied_transform": [[1, 0, 0, 0]], "fl_X": 3}
    assert open_scene(write_transforms(tmp_path, TEN, **more)).notes == ("unknown keys were ignored: 'fl_X'",)


def test_a_byte_order_mark_is_read_over(tmp_path):
    file = write_transforms(tmp_path, TEN) / "transforms.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(open_scene(tmp_path).names) == 10


def test_progress_and_summary(tmp_path):
    calls = []
    write_transforms(tmp_path, TEN)
    scene = open_scene(tmp_path, downscale=2, progress=lambda share, doing="": calls.append(share))
    assert calls == [(i + 1) / 10 for i in range(10)]
    summary = scene.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (
        summary["name"] == scene.name
        and summary["frames"][8]["split"] == "test"
        and summary["frames"][8]["hash"] == scene.hashes[TEN[8]]
    )
    assert summary["frames"][0]["size"] == [6, 4] and summary["downscale"] == 2


def made(poses) -> Cameras:
    count = len(poses)
    return Cameras(
        c2w=torch.tensor(np.array(poses)[:, :3], dtype=torch.float32),
        intrinsics=torch.ones(count, 4),
        sizes=torch.ones(count, 2, dtype=torch.int64),
        lens=("perspective",) * count,
        distortion=torch.zeros(count, 8),
    )


@pytest.mark.parametrize("target", [(0.0, 0.0, 0.0), (3.0, -2.0, 5.0), (100.0, 200.0, -50.0)])
def test_the_domain_is_centred_where_the_cameras_look_and_reaches_the_farthest(target):
    cameras = made(ring(12, target))
    domain = placement.from_cameras(cameras)
    assert domain.kind == "contraction" and domain.centre == pytest.approx(target, abs=1e-3)
    assert len(set(domain.half_size)) == 1 and placement.notes(cameras, domain) == []
    assert domain.to_local(cameras.c2w[:, :, 3]).abs().max().item() == pytest.approx(1.0, abs=1e-4)
    distances = np.linalg.norm(np.array(ring(12, target))[:, :3, 3] - target, axis=1)
    assert placement.near(cameras, domain) == pytest.approx(0.05 * np.sort(distances)[5], rel=1e-3)


def test_parallel_cameras_are_placed_in_front_of_them():
    poses = [np.eye(4) for _ in range(3)]
    for i, pose in enumerate(poses):
        pose[0, 3] = i - 1.0
    domain = placement.from_cameras(made(poses))
    assert domain.centre == pytest.approx((0.0, 0.0, -1.0)) and domain.half_size == pytest.approx((1.0,) * 3)


@pytest.mark.parametrize(
    "poses", [[np.eye(4)], [look_at((0, 0, 0), p) for p in np.vstack([np.eye(3), -np.eye(3)])]]
)
def test_one_camera_and_turning_on_the_spot_still_have_a_place(poses):
    cameras = made(poses)
    domain = placement.from_cameras(cameras)
    assert domain.half_size == pytest.approx((1.0,) * 3) and placement.near(cameras, domain) > 0


def test_poses_with_opencv_axes_are_noted():
    cameras = made([pose @ np.diag([1.0, -1.0, -1.0, 1.0]) for pose in ring(12)])
    notes = placement.notes(cameras, placement.from_cameras(cameras))
    assert len(notes) == 1 and "look away from their common centre" in notes[0]


CAMERA_PATH = {
    "camera_type": "perspective",
    "render_height": 100,
    "render_width": 160,
    "fps": 24,
    "seconds": 4,
    "camera_path": [
        {"camera_to_world": pose.ravel().tolist(), "fov": 90, "aspect": 1.6, "render_time": i / 4}
        for i, pose in enumerate(ring(3))
    ],
}


def test_camera_path(tmp_path):
    (tmp_path / "camera_path.json").write_text(json.dumps(CAMERA_PATH))
    cameras, fps = read_camera_path(tmp_path / "camera_path.json")
    assert fps == 24.0 and cameras.lens == ("perspective",) * 3 and cameras.times.tolist() == [0.0, 0.25, 0.5]
    assert np.allclose(cameras.c2w.numpy(), np.array(ring(3))[:, :3], atol=1e-6)
    assert (
        np.allclose(cameras.intrinsics.numpy(), [50, 50, 80, 50])
        and cameras.sizes.tolist() == [[160, 100]] * 3
    )


@pytest.mark.parametrize(
    ("name", "k", "train", "test", "size", "lens", "kind"),
    [
        ("lego", 8, 100, 25, (100, 100), "perspective", "box"),
        ("fox", 4, 43, 7, (135, 240), "opencv", "contraction"),
        ("plush", 4, 84, 13, (252, 189), "opencv", "contraction"),
        ("dnerf_lego", 4, 34, 18, (100, 100), "perspective", "box"),
    ],
)
def test_real_scenes(name, k, train, test, size, lens, kind):
    if not (DATA / name).is_dir():
        pytest.skip(f"evaluation data ../shared/data/{name} is not here")
    scene = open_scene(DATA / name, downscale=k)
    assert (len(scene.train), len(scene.test)) == (train, test) and scene.domain.kind == kind
    assert scene.cameras.sizes.tolist() == [list(size)] * (train + test) and set(scene.cameras.lens) == {lens}
    assert (scene.cameras.times is not None) == (name == "dnerf_lego") and scene.notes == ()
    if name == "lego":
        assert [scene.names[i] for i in scene.test[:2]] == ["test/r_0.png", "test/r_8.png"]
