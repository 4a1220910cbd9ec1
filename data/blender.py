"""Blender scenes: transforms_train.json and its siblings, RGBA pictures of an object around zero.

A scene may have times.
"""

from __future__ import annotations

from pathlib import Path

from polyfield.data import placement
from polyfield.data.assembly import assemble, every_eighth
from polyfield.data.frames import FOCAL, Frame, read_frames
from polyfield.data.photographs import exist, locate
from polyfield.data.placement import Box
from polyfield.data.scene import Scene
from polyfield.progress import Progress

TRAIN, VAL, TEST = "transforms_train.json", "transforms_val.json", "transforms_test.json"
WHITE = (1.0, 1.0, 1.0)


def sniff(path: Path) -> str | None:
    """Return why this is a Blender scene, or None. `path` is the folder or one of its three JSON files."""
    if path.is_file() and path.name not in (TRAIN, VAL, TEST):
        return None
    folder = _folder(path)
    names = [name for name in (TRAIN, VAL, TEST) if (folder / name).is_file()]
    return f"the folder holds {', '.join(names)}" if TRAIN in names else None


def read(path: Path, found: str, downscale: int, box: Box | None, progress: Progress | None) -> Scene:
    """Return the scene.

    Its test split is the file that was given, if that is not transforms_train.json; else transforms_test.json, or
    transforms_val.json, or every 8th of train.
    """
    root = _folder(path)
    train = read_frames(root / TRAIN)
    notes = []
    test: list[Frame] = []
    for name in (VAL, TEST) if path.name == VAL else (TEST, VAL):
        if not test and (root / name).is_file():
            test = read_frames(root / name)
            if not exist(test, root):  # exporters list views that were never rendered
                notes.append(f"{name}: none of its {len(test)} photographs exists; it is left out")
                test = []
    located = locate(train + test, root)
    pictures = located.photographs
    if test:
        tested = {picture.name for picture in pictures if picture.frame.shared is test[0].shared}
    else:
        tested = every_eighth([picture.name for picture in pictures])
    pixels, *_ = FOCAL["x"]
    if train[0].holder(pixels) is not None:
        notes.append(_looks_captured(pixels))
    return assemble(
        pictures,
        tested,
        root=root,
        format="blender",
        found=found,
        background=WHITE,
        place=placement.of_object,
        skipped=located.missing,
        notes=[*notes, *located.notes],
        box=box,
        downscale=downscale,
        progress=progress,
    )


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _looks_captured(key: str) -> str:
    return (
        f"{TRAIN} has the key {key}, which Blender scenes do not have, but is read as a Blender scene: an object on a white "
        "background; if the photographs show a real place, put all frames into one transforms.json"
    )
