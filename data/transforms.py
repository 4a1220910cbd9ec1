"""transforms.json: photographs with poses, as nerfstudio, instant-ngp and their converters write them.

Poses stay in the file's own world. `applied_transform`, `scale` and `offset` state how other programs moved
it; they are not used.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from polyfield.data import placement
from polyfield.data.assembly import assemble, every_eighth
from polyfield.data.clouds import open_cloud
from polyfield.data.frames import FOCAL, Frame, frames_of, read_frames
from polyfield.data.lookup import SUFFIXES, Folder
from polyfield.data.photographs import exist, locate
from polyfield.data.placement import Box
from polyfield.data.records import Record
from polyfield.data.scene import Scene
from polyfield.errors import PolyfieldError
from polyfield.progress import Progress

NAME = "transforms.json"
BLACK = (0.0, 0.0, 0.0)

CAMERA_KEYS = {
    *FOCAL["x"], *FOCAL["y"], "w", "h", "cx", "cy", "k1", "k2", "k3", "k4", "p1", "p2", "distortion_params",
    "camera_model", "is_fisheye", "equirectangular", "latlong", "orthographic", "ftheta_p0", "rolling_shutter",
}  # fmt: skip
# Known and not used: how other programs place the scene, train on it or made it.
HINTS = {
    "aabb_scale", "scale", "offset", "aabb", "render_aabb", "up", "from_na", "n_extra_learnable_dims", "sharpen",
    "importance_sampling", "white_transparent", "black_transparent", "envmap", "enable_depth_loading",
    "integer_depth_scale", "depth_unit_scale_factor", "n_frames", "applied_transform", "applied_scale",
    "orientation_override", "auto_scale_poses_override", "fisheye_crop_radius", "mask",
}  # fmt: skip
FRAME_HINTS = {
    "sharpness",
    "rotation",
    "depth_file_path",
    "depth_path",
    "colmap_im_id",
    "camera_id",
    "timestamp",
}
SPLITS = ("train_filenames", "val_filenames", "test_filenames")
TEST_FRAMES = "test_frames"  # ScanNet++: frames of the test split, beside those of training
IS_BAD = "is_bad"  # ScanNet++: a frame that is too blurred to be used
POINTS = "ply_file_path"  # nerfstudio: points that structure from motion found, in the world of the poses
TOP_KEYS = CAMERA_KEYS | HINTS | {"frames", TEST_FRAMES, POINTS, *SPLITS}
FRAME_KEYS = CAMERA_KEYS | FRAME_HINTS | {"file_path", "transform_matrix", "mask_path", "time", IS_BAD}


def sniff(path: Path) -> str | None:
    """Return why this is a transforms.json scene, or None.

    `path` is the folder, or the JSON file of any name.
    """
    if path.is_dir():
        return f"the folder holds {NAME}" if (path / NAME).is_file() else None
    return f"{path.name} is a JSON file" if path.suffix.lower() == ".json" else None


def read(path: Path, found: str, downscale: int, box: Box | None, progress: Progress | None) -> Scene:
    """Return the scene, placed by its cameras.

    The file's own lists give the split. Without them, every 8th photograph by sorted name is in the test
    split.
    """
    file = path / NAME if path.is_dir() else path
    listed = read_frames(file)
    shared = listed[0].shared
    held = frames_of(shared, TEST_FRAMES) if shared.values.get(TEST_FRAMES) else []
    bad = [frame for frame in [*listed, *held] if frame.own.flag(IS_BAD)]
    listed, held = ([frame for frame in part if not frame.own.flag(IS_BAD)] for part in (listed, held))
    if not listed:
        raise shared.fail("frames", f"are all marked {IS_BAD}; expected at least one that is not marked")
    notes = [f"{len(bad)} frames are marked {IS_BAD} and were left out"] if bad else []
    if held and not exist(held, file.parent):
        notes.append(f"{TEST_FRAMES}: none of its {len(held)} photographs exists; it is left out")
        held = []
    frames = [*listed, *held]
    located = locate(frames, file.parent)
    pictures, skipped = located.photographs, located.missing
    notes += [*located.notes, *_remarks(frames, shared)]
    points, remarks = _points(shared, file.parent)
    notes += remarks
    if held:
        if both := [key for key in SPLITS if key in shared]:
            raise shared.fail(TEST_FRAMES, f"and {both[0]} both give a split; keep one")
        used = pictures
        of_test = set(map(id, held))
        tested = {picture.name for picture in pictures if id(picture.frame) in of_test}
    elif any(key in shared for key in SPLITS):
        known = [*(picture.name for picture in pictures), *skipped]
        train, tested = _listed(shared, [*known, *map(_name, bad)])
        used = [picture for picture in pictures if picture.name in train or picture.name in tested]
        if len(used) < len(pictures):
            notes.append(f"{len(pictures) - len(used)} photographs are in neither split and were left out")
    else:
        used, tested = pictures, every_eighth([picture.name for picture in pictures])
    return assemble(
        used,
        tested,
        root=file.parent,
        format="transforms",
        found=found,
        background=BLACK,
        place=lambda views: placement.of_capture(views, points),
        skipped=skipped,
        notes=notes,
        box=box,
        downscale=downscale,
        progress=progress,
    )


def _points(shared: Record, root: Path) -> tuple[np.ndarray | None, list[str]]:
    """Return the points (P, 3) of the scene if the file names a readable cloud, and what there is to say of it."""
    if POINTS not in shared:
        return None, []
    try:
        name, path = Folder(root).find(shared, POINTS)
        if path is not None:
            return open_cloud(path).points, []
        reason = f"{name!r:.80} does not exist"
    except PolyfieldError as error:
        reason = f"{error!s:.200}"
    return None, [f"{POINTS}: {reason}; the scene's box is chosen from its cameras alone"]


def _name(frame: Frame) -> str:
    """Return the name of a frame's photograph, whether it exists or not."""
    return posixpath.normpath((frame.own.text("file_path") or "").replace("\\", "/"))


def _listed(shared: Record, names: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the names to train on and to test on, by the file's lists.

    An absent list holds all other names.
    """
    lists = {key: _names(shared, key, names) for key in SPLITS if key in shared}
    validation = lists.get("val_filenames", set())
    test = lists.get("test_filenames") or validation
    train = lists.get("train_filenames")
    if train is None:
        train = set(names) - test - validation
    if "test_filenames" not in lists and "val_filenames" not in lists:
        test = set(names) - train
    if both := sorted(train & test):
        raise shared.fail(
            "train_filenames",
            f"and the test split share {len(both)} files; list each in one of them (the first: {both[0]!r})",
        )
    return train, test


def _names(shared: Record, key: str, names: Sequence[str]) -> set[str]:
    known = set(names)
    result = set()
    for i, text in enumerate(shared.texts(key) or []):
        name = posixpath.normpath(text.replace("\\", "/"))
        match = next((name + suffix for suffix in SUFFIXES if name + suffix in known), None)
        if match is None:
            raise shared.fail(
                f"{key}[{i}]", f"is {text!r}; no frame has this file_path; correct or remove it"
            )
        result.add(match)
    return result


def _remarks(frames: Sequence[Frame], shared: Record) -> list[str]:
    """Return warnings about unknown keys, and about lenses that are modelled only in part."""
    unknown = sorted(set(shared.values) - TOP_KEYS)
    unknown += sorted({f"frames[].{key}" for frame in frames for key in set(frame.own.values) - FRAME_KEYS})
    notes = [f"unknown keys were ignored: {', '.join(map(repr, unknown[:8]))}"] if unknown else []
    shutter = shared.values.get("rolling_shutter")
    if shutter and any(shutter if isinstance(shutter, list) else [shutter]):
        notes.append("rolling_shutter is not modelled; every photograph counts as taken at one instant")
    return notes
