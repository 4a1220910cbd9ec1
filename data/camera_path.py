"""Camera paths: the camera_path.json that nerfstudio's viewer writes.

Its cameras are taken to be in the scene's own world. If the viewer had moved the scene, the path stays moved.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyfield.cameras.cameras import Cameras
from polyfield.data.frames import check_focal, check_pose, times
from polyfield.data.records import Record, brief, read_record

LENS = "perspective"  # the one camera_type that is read
LARGEST = 32768  # pixels along a side


def read_camera_path(path: str | Path) -> tuple[Cameras, float]:
    """Return the cameras (V,) of a path, in order, and its frames per second.

    `camera_to_world` holds 16 numbers, row after row, in OpenGL axes; `fov` is vertical, in degrees.
    Raises PolyfieldError with file, key and camera.
    """
    record = read_record(Path(path))
    if (kind := record.text("camera_type") or LENS) != LENS:
        raise record.fail("camera_type", f"is {brief(kind)}; expected {LENS}")
    width, height = _side(record, "render_width"), _side(record, "render_height")
    fps = _positive(record, "fps")
    stops = record.records("camera_path")
    cameras = Cameras(
        c2w=torch.tensor(np.array([_pose(stop) for stop in stops]), dtype=torch.float32),
        intrinsics=torch.tensor([_intrinsics(stop, width, height) for stop in stops], dtype=torch.float32),
        sizes=torch.tensor([[width, height]] * len(stops)),
        lens=(LENS,) * len(stops),
        distortion=torch.zeros(len(stops), 8),
        times=times(stops, "render_time"),
    )
    return cameras, fps


def _side(record: Record, key: str) -> int:
    value = record.integer(key)
    if value is None:
        raise record.fail(key, "is missing; expected a number of pixels")
    if value > LARGEST:
        raise record.fail(key, f"is {value}; expected at most {LARGEST} pixels")
    return value


def _positive(record: Record, key: str) -> float:
    value = record.number(key)
    if value is None or value <= 0:
        found = "is missing" if value is None else f"is {value:g}"
        raise record.fail(key, f"{found}; expected a number above 0")
    return value


def _pose(stop: Record) -> np.ndarray:
    numbers = stop.numbers("camera_to_world", 16)
    if numbers is None:
        raise stop.fail("camera_to_world", "is missing; expected 16 numbers, row after row")
    return check_pose(stop, "camera_to_world", np.array(numbers).reshape(4, 4))


def _intrinsics(stop: Record, width: int, height: int) -> tuple[float, float, float, float]:
    fov = _positive(stop, "fov")
    if fov >= 180:
        raise stop.fail("fov", f"is {fov:g}; expected a vertical angle below 180 degrees")
    focal = check_focal(stop, "fov", height / 2 / math.tan(math.radians(fov) / 2), height)
    return focal, focal, width / 2, height / 2


def camera_path(cameras: Cameras, fps: float, *, loop: bool = False) -> dict[str, Any]:
    """Return the data of a camera_path.json of perspective cameras (F,) of one size, as nerfstudio's viewer writes it."""
    width, height = cameras.sizes[0].tolist()
    stops = []
    for index in range(len(cameras)):
        pose = torch.cat((cameras.c2w[index].cpu(), torch.tensor([[0.0, 0.0, 0.0, 1.0]])))
        fov = 2 * math.degrees(math.atan(height / 2 / float(cameras.intrinsics[index, 1])))
        stop = {"camera_to_world": pose.flatten().tolist(), "fov": fov, "aspect": width / height}
        if cameras.times is not None:
            stop["render_time"] = float(cameras.times[index])
        stops.append(stop)
    return {
        "camera_type": LENS,
        "render_width": width,
        "render_height": height,
        "fps": fps,
        "seconds": len(cameras) / fps,
        "is_cycle": loop,
        "camera_path": stops,
    }
