"""The views of a scene in a run's scene.json, read and checked: see `Scene.summary`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from polyfield.cameras.cameras import Cameras
from polyfield.cameras.lenses import LENSES
from polyfield.data.frames import check_centre, check_focal, check_pose, times
from polyfield.data.records import Record, brief, read_record

_LARGEST = 1 << 16  # pixels along a side


def read_views(path: Path, split: str) -> Cameras:
    """Return the cameras of one split.

    Raises PolyfieldError with file, frame and key, or if the split has no cameras.
    """
    record = read_record(path)
    frames = [frame for frame in record.records("frames") if frame.text("split") == split]
    if not frames:
        raise record.fail("frames", f"hold no {split} views, because none were held out; use --path orbit")
    sizes = [_size(frame) for frame in frames]
    return Cameras(
        c2w=torch.tensor(np.array([_pose(frame) for frame in frames]), dtype=torch.float32),
        intrinsics=torch.tensor([_intrinsics(frame, size) for frame, size in zip(frames, sizes)]),
        sizes=torch.tensor(sizes),
        lens=tuple(_lens(frame) for frame in frames),
        distortion=torch.tensor([_numbers(frame, "distortion", 8) for frame in frames]),
        times=times(frames, "time"),
    )


def _pose(frame: Record) -> np.ndarray:
    rows = np.array(frame.matrix("c2w") or [])
    if rows.shape != (3, 4):
        raise frame.fail("c2w", "is missing or has another shape; expected 3 x 4 numbers, camera to world")
    return check_pose(frame, "c2w", rows)


def _intrinsics(frame: Record, size: tuple[int, int]) -> Sequence[float]:
    numbers = _numbers(frame, "intrinsics", 4)
    for focal, centre, length in zip(numbers[:2], numbers[2:], size):
        check_focal(frame, "intrinsics", focal, length)
        check_centre(frame, "intrinsics", centre, length)
    return numbers


def _size(frame: Record) -> tuple[int, int]:
    width, height = _numbers(frame, "size", 2)
    if not all(side == int(side) and 1 <= side <= _LARGEST for side in (width, height)):
        raise frame.fail("size", f"is {width:g} x {height:g}; expected whole numbers from 1 to {_LARGEST}")
    return int(width), int(height)


def _lens(frame: Record) -> str:
    lens = frame.text("lens")
    if lens not in LENSES:
        raise frame.fail("lens", f"is {brief(lens)}; expected one of {', '.join(LENSES)}")
    return lens


def _numbers(frame: Record, key: str, count: int) -> Sequence[float]:
    numbers = frame.numbers(key, count)
    if numbers is None:
        raise frame.fail(key, f"is missing; expected {count} numbers")
    return numbers
