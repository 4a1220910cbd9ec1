"""Orbit: a full turn round what cameras look at, or a swing to and fro if they are all on one side of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.errors import PolyfieldError

_SNAP = math.cos(math.radians(20))  # an up axis nearer than this to a world axis is replaced by it
_WIDEST_GAP = math.radians(120)  # a wider sector without cameras was not photographed, so the path swings
_LEAST_SWING = math.radians(10)  # a smaller swing shows no depth


def orbit(
    cameras: Cameras, *, frames: int, size: tuple[int, int] | None = None, spiral: bool = False
) -> Cameras:
    """Return a closed path of `frames` perspective views round the focus of the given (training) cameras.

    It starts near the first camera's azimuth, at the median height and radius about the cameras' common up
    axis. Views have the first camera's focal length and its size. With another `size` (width, height) the
    focal length is scaled so that the whole first view fits in. Odd sizes lose one pixel, for video. Times,
    if the cameras have any, run from their first to their last. With `spiral`, two turns go up and down between the 10th and the 90th percentile
    of the cameras' heights. Raises PolyfieldError if there are no cameras or frames, or all
    cameras are on the orbit's axis.
    """
    if frames < 1 or len(cameras) == 0:
        raise PolyfieldError(
            f"orbit: found {len(cameras)} cameras and {frames} frames; expected 1 or more of each"
        )
    focus, up = cameras.focus(), up_of(cameras)
    offsets = cameras.c2w[:, :, 3] - focus
    heights = offsets @ up
    level = offsets - heights[:, None] * up
    radius = level.norm(dim=1).median()
    if radius <= 1e-5 * (1 + focus.norm()):
        raise PolyfieldError(
            "orbit: the training cameras are on the orbit's axis, so the orbit has no radius; use --path test for the test "
            "views of a run, or --path with a camera path file"
        )
    ahead = look_at(torch.zeros_like(up)[None], up, up)[0, :, 0]
    beside = torch.linalg.cross(up, ahead)
    azimuths = torch.atan2(level @ beside, level @ ahead)
    angle, height = _angles(azimuths, frames, 2 if spiral else 1)[:, None], heights.median()
    if spiral:
        low, high = heights.quantile(0.1), heights.quantile(0.9)
        once = torch.arange(frames, device=up.device) * (math.tau / frames)
        height = ((low + high) / 2 - (high - low) / 2 * once.cos())[:, None]
    eyes = focus + height * up + radius * (angle.cos() * ahead + angle.sin() * beside)
    size, focal = film_size(cameras, size)
    return Cameras.perspective(
        look_at(eyes, focus, up), focal=focal, size=size, times=film_times(cameras, frames)
    )


def up_of(cameras: Cameras) -> Tensor:
    """Return the cameras' mean up axis (3,), or the world axis within 20 degrees of it."""
    up = cameras.c2w[:, :, 1].mean(dim=0)
    if up.norm() < 0.2:  # cameras that look down, turned in all directions: up is where they are
        up = cameras.c2w[:, :, 2].mean(dim=0)
    if up.norm() < 0.2:
        up = up.new_tensor([0.0, 0.0, 1.0])
    up = normalize(up, dim=0)
    axis = int(up.abs().argmax())
    snapped = torch.zeros_like(up)
    snapped[axis] = up[axis].sign()
    return snapped if up[axis].abs() > _SNAP else up


def _angles(azimuths: Tensor, frames: int, turns: int) -> Tensor:
    """Return the path's azimuths (frames,): full turns, or swings over the range of azimuths (V,)."""
    turn = torch.arange(frames, device=azimuths.device) * (turns * math.tau / frames)
    ordered = azimuths.sort().values
    gaps = torch.cat([ordered, ordered[:1] + math.tau]).diff()
    widest = int(gaps.argmax())
    if gaps[widest] <= _WIDEST_GAP:
        return azimuths[0] + turn
    start, half = ordered[(widest + 1) % len(ordered)], (math.tau - gaps[widest]) / 2
    swing = half.clamp(min=_LEAST_SWING / 2)
    phase = (((azimuths[0] - start) % math.tau - half) / swing).clamp(-1, 1).asin()
    return start + half + swing * (turn + phase).sin()


def film_size(cameras: Cameras, size: tuple[int, int] | None) -> tuple[tuple[int, int], float]:
    """Return even width and height, and the focal length with which the first camera's whole view fits in."""
    first_width, first_height = cameras.sizes[0].tolist()
    width, height = size or (first_width, first_height)
    focal = float(cameras.intrinsics[0, :2].mean()) * min(width / first_width, height / first_height)
    return (max(width // 2, 1) * 2, max(height // 2, 1) * 2), focal


def film_times(cameras: Cameras, frames: int) -> Tensor | None:
    """Return times (F,) from the cameras' first to their last, or None if they have none."""
    if cameras.times is None:
        return None
    first, last = cameras.times.aminmax()
    return first + (last - first) * torch.linspace(0, 1, frames, device=first.device)
