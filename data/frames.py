"""Frames: the pose, lens, intrinsics and time of each photograph in a scene's JSON, checked.

A key in a frame has priority over the same key at the top of the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from polyfield.cameras.cameras import Cameras
from polyfield.data.records import Record, brief, read_record
from polyfield.errors import PolyfieldError

FOCAL = {"x": ("fl_x", "camera_angle_x", "x_fov"), "y": ("fl_y", "camera_angle_y", "y_fov")}
PERSPECTIVE_MODELS = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
FISHEYE_MODEL = "OPENCV_FISHEYE"
OTHER_LENSES = ("equirectangular", "latlong", "orthographic", "ftheta_p0")  # instant-ngp's
# Focal lengths, in widths or heights of the photograph: views of 179.9 degrees and of 2 arc seconds.
SHORTEST, LONGEST = 1e-3, 1e5
FARTHEST = 100  # widths or heights of the photograph; a principal point beyond is a mistake
TOLERANCE = 1e-3  # of R^T R = I; files written with few digits still pass


@dataclass(frozen=True)
class Frame:
    """One entry of `frames`, and the top of its file."""

    own: Record
    shared: Record

    def holder(self, *keys: str) -> Record | None:
        """Return the frame if it has any of these keys, else the top of the file if it has any, else None."""
        return next(
            (record for record in (self.own, self.shared) if any(key in record for key in keys)), None
        )

    def number(self, key: str) -> float | None:
        """Return the frame's number, else the file's, else None."""
        holder = self.holder(key)
        return None if holder is None else holder.number(key)

    def integer(self, key: str) -> int | None:
        """Return the frame's whole number, else the file's, else None."""
        holder = self.holder(key)
        return None if holder is None else holder.integer(key)


def read_frames(path: Path) -> list[Frame]:
    """Return the frames of one JSON file, in its order."""
    return frames_of(read_record(path), "frames")


def frames_of(shared: Record, key: str) -> list[Frame]:
    """Return the frames that a file lists under a key."""
    return [Frame(own, shared) for own in shared.records(key)]


def cameras(
    frames: Sequence[Frame], names: Sequence[str], sizes: Sequence[tuple[int, int]], downscale: int
) -> Cameras:
    """Return the cameras of frames at 1 / downscale.

    Their photographs have these names and full sizes (width, height). Scaling is about the corner of the
    image: focal length and principal point are divided. Cropping pixels at the right and bottom changes
    neither.
    """
    _check_sizes(frames, names, sizes)
    lenses = [_lens(frame) for frame in frames]
    intrinsics = np.array([_intrinsics(frame, size) for frame, size in zip(frames, sizes)])
    return Cameras(
        c2w=torch.tensor(np.array([pose(frame.own) for frame in frames]), dtype=torch.float32),
        intrinsics=torch.tensor(intrinsics / downscale, dtype=torch.float32),
        sizes=torch.tensor(sizes, dtype=torch.int64) // downscale,
        lens=tuple(lens for lens, _ in lenses),
        distortion=torch.tensor([numbers for _, numbers in lenses], dtype=torch.float32),
        times=times([frame.own for frame in frames], "time"),
    )


def pose(record: Record) -> np.ndarray:
    """Return `transform_matrix`, 4 x 4 or 3 x 4, as (3, 4) float64 camera to world in OpenGL axes."""
    rows = record.matrix("transform_matrix")
    if rows is None:
        raise record.fail("transform_matrix", "is missing; expected a 4 x 4 camera-to-world matrix")
    matrix = np.array(rows)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise record.fail(
            "transform_matrix", f"has {matrix.shape[0]} x {matrix.shape[1]} numbers; expected 4 x 4 or 3 x 4"
        )
    return check_pose(record, "transform_matrix", matrix)


def check_pose(record: Record, key: str, matrix: np.ndarray) -> np.ndarray:
    """Return a rigid motion (4, 4) or (3, 4) as (3, 4). Raises PolyfieldError for any other matrix."""
    if len(matrix) == 4:
        if np.abs(matrix[3, :3]).max() > TOLERANCE or not matrix[3, 3] > 0:
            found = " ".join(f"{value:g}" for value in matrix[3])
            raise record.fail(key, f"has the last row {found}; expected 0 0 0 1 (is the matrix transposed?)")
        if abs(matrix[3, 3] - 1) > TOLERANCE:
            matrix = matrix / matrix[3, 3]
    rotation = matrix[:3, :3]
    gram = rotation.T @ rotation
    scale = math.sqrt(np.trace(gram) / 3)
    if np.abs(gram - np.eye(3)).max() > TOLERANCE:
        if scale > 0 and np.abs(gram / scale**2 - np.eye(3)).max() <= TOLERANCE:
            raise record.fail(
                key,
                f"is a rotation scaled by {scale:.6g}; divide its first three columns by this scale",
            )
        raise record.fail(
            key,
            f"is not a rotation: R^T R differs from the identity by {np.abs(gram - np.eye(3)).max():.3g}; export the poses again",
        )
    if np.linalg.det(rotation) < 0:
        raise record.fail(key, "is left-handed (determinant -1); expected camera-to-world in OpenGL axes")
    return matrix[:3]


def scale_of(record: Record) -> float:
    """Return the homogeneous scale that divides a frame's `transform_matrix`: the end of its last row, mostly 1."""
    rows = record.matrix("transform_matrix") or []
    return rows[3][3] if len(rows) == 4 and abs(rows[3][3] - 1) > TOLERANCE else 1.0


def check_focal(record: Record, key: str, focal: float, length: int) -> float:
    """Return a focal length in pixels along an axis on which the photograph has `length` pixels.

    Raises PolyfieldError if it makes no sense.
    """
    if not SHORTEST <= focal / length <= LONGEST:
        raise record.fail(
            key,
            f"gives a focal length of {focal:g} pixels along a side of {length} pixels; "
            f"expected {SHORTEST * length:g} to {LONGEST * length:g}",
        )
    return focal


def check_centre(record: Record, key: str, centre: float, length: int) -> float:
    """Return a coordinate of a principal point on an axis of `length` pixels.

    It may be outside a photograph that was cropped from a larger one. Raises PolyfieldError if it is far
    away.
    """
    if not -FARTHEST * length <= centre <= FARTHEST * length:
        raise record.fail(
            key,
            f"gives a principal point at {centre:g} along a side of {length} pixels; "
            f"expected {-FARTHEST * length:g} to {FARTHEST * length:g}",
        )
    return centre


def times(records: Sequence[Record], key: str) -> torch.Tensor | None:
    """Return every record's time in [0, 1], (V,), or None if no record has one."""
    values = [record.number(key) for record in records]
    if all(value is None for value in values):
        return None
    for record, value in zip(records, values):
        if value is None:
            raise record.fail(
                key, "is missing, though other frames have one; give a time to all frames or to no frame"
            )
        if not 0 <= value <= 1:
            raise record.fail(key, f"is {value:g}; expected 0 to 1")
    return torch.tensor(values, dtype=torch.float32)


def _check_sizes(frames: Sequence[Frame], names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> None:
    first: dict[str, tuple[int, int]] = {}  # by file: each has its own intrinsics
    for frame, name, size in zip(frames, names, sizes):
        for key, length in zip("wh", size):
            declared = frame.integer(key)
            if declared is not None and declared != length:
                raise frame.own.fail(
                    key,
                    f"is {declared}, but photograph {name!r} has {size[0]} x {size[1]} pixels;"
                    " give w, h, fl_x, fl_y, cx and cy for the photograph's own size",
                )
        width, height = first.setdefault(frame.shared.where, size)
        if size != (width, height) and frame.holder(*FOCAL["x"], *FOCAL["y"]) is frame.shared:
            raise PolyfieldError(
                f"{frame.own.where}: photograph {name!r} has {size[0]} x {size[1]} pixels, but the first one has"
                f" {width} x {height}; photographs of several sizes need fl_x, cx, cy, w, h in every frame"
            )


def _intrinsics(frame: Frame, size: tuple[int, int]) -> tuple[float, float, float, float]:
    fx, fy = _focal(frame, "x", size[0]), _focal(frame, "y", size[1])
    if fx is None and fy is None:
        raise frame.own.fail(
            "fl_x",
            "is missing, and so are camera_angle_x and x_fov, here and at the top of the file; add one of them",
        )
    fx, fy = fx or fy, fy or fx
    assert fx and fy
    cx, cy = frame.number("cx"), frame.number("cy")
    cx = size[0] / 2 if cx is None else check_centre(frame.holder("cx") or frame.own, "cx", cx, size[0])
    cy = size[1] / 2 if cy is None else check_centre(frame.holder("cy") or frame.own, "cy", cy, size[1])
    return fx, fy, cx, cy


def _focal(frame: Frame, axis: str, length: int) -> float | None:
    """Return the focal length in pixels along an axis, from pixels, radians or degrees, in this order."""
    pixels, radians, degrees = FOCAL[axis]
    holder = frame.holder(*FOCAL[axis])
    if holder is None:
        return None
    if (focal := holder.number(pixels)) is not None:
        size, centre = ("w", "cx") if axis == "x" else ("h", "cy")
        if frame.holder(size, centre) is None:
            raise holder.fail(
                pixels,
                f"is given without {size} and {centre}, so its image size is unknown; add one of them",
            )
        return check_focal(holder, pixels, focal, length)
    key = radians
    if (angle := holder.number(radians)) is not None:
        if not 0 < angle < math.pi:
            hint = ", which looks like degrees; expected radians" if angle > math.pi else "; expected radians"
            raise holder.fail(radians, f"is {angle:g}{hint} between 0 and pi")
    else:
        key = degrees
        angle = math.radians(holder.number(degrees) or 0)
        if not 0 < angle < math.pi:
            raise holder.fail(degrees, f"is {math.degrees(angle):g}; expected degrees between 0 and 180")
    return check_focal(holder, key, length / 2 / math.tan(angle / 2), length)


def _lens(frame: Frame) -> tuple[str, tuple[float, ...]]:
    """Return the lens and its eight numbers in the order of `Cameras.distortion`."""
    k1, k2, k3, k4, p1, p2 = _distortion(frame)
    if _is_fisheye(frame):
        if p1 or p2:
            raise (frame.holder("p1", "p2", "distortion_params") or frame.own).fail(
                "p1, p2", f"are {p1:g}, {p2:g}; a fisheye lens has k1 to k4 only; remove p1 and p2"
            )
        return "fisheye", (k1, k2, k3, k4, 0.0, 0.0, 0.0, 0.0)
    if k4:
        # Ambiguous: OpenCV divides by 1 + k4 r^2, nerfstudio multiplies by k4 r^8.
        raise (frame.holder("k4", "distortion_params") or frame.own).fail(
            "k4",
            f"is {k4:g}; expected 0 for a lens that is not a fisheye, because programs define its k4 differently",
        )
    bent = any((k1, k2, k3, p1, p2))
    return "opencv" if bent else "perspective", (k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)


def _distortion(frame: Frame) -> list[float]:
    """Return k1 k2 k3 k4 p1 p2. `distortion_params` is nerfstudio's list of the same numbers."""
    holder = frame.holder("distortion_params")
    if holder is not None:
        return holder.numbers("distortion_params", 6) or []
    return [frame.number(key) or 0.0 for key in ("k1", "k2", "k3", "k4", "p1", "p2")]


def _is_fisheye(frame: Frame) -> bool:
    for key in OTHER_LENSES:
        holder = frame.holder(key)
        if holder is not None and holder.values[key] is not False:
            raise holder.fail(
                key,
                "states a lens that polyfield cannot read; expected a perspective or an OpenCV fisheye lens",
            )
    holder = frame.holder("camera_model")
    model = holder.text("camera_model") if holder else None
    if model is not None and model not in (*PERSPECTIVE_MODELS, FISHEYE_MODEL):
        expected = ", ".join((*PERSPECTIVE_MODELS, FISHEYE_MODEL))
        raise (holder or frame.own).fail("camera_model", f"is {brief(model)}; expected one of {expected}")
    holder = frame.holder("is_fisheye")
    flag = holder.flag("is_fisheye") if holder else False
    if flag and model in PERSPECTIVE_MODELS:
        raise (holder or frame.own).fail(
            "is_fisheye", f"is true, but camera_model is {model}; remove one of them"
        )
    return flag or model == FISHEYE_MODEL
