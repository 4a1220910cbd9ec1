"""A turntable round what a set of cameras looks at."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.render.cameras import Cameras, look_at

# A wider gap than this between the cameras' azimuths is a side that nobody photographed.
_GAP = math.radians(120)
_SNAP = math.cos(math.radians(20))


def orbit(cameras: Cameras, *, frames: int, size: tuple[int, int] | None = None) -> Cameras:
    """`frames` perspective views on a circle round the focus of the given cameras, at their median distance.

    Where the given cameras leave a side unseen the views swing to and fro over the seen part. size is (width, height)
    in pixels, by default the first camera's; both are made even, as video needs. The times of a moving scene run
    from 0 to 1.
    """
    focus, up = cameras.focus(), _up(cameras)
    arms = cameras.c2w[:, :, 3] - focus
    heights = arms @ up
    flat = arms - heights[:, None] * up
    first = normalize(flat[0], dim=0)
    second = torch.linalg.cross(up, first)
    azimuths = torch.atan2(flat @ second, flat @ first)
    angle = _sweep(azimuths, frames)
    circle = angle.cos()[:, None] * first + angle.sin()[:, None] * second
    eye = focus + flat.norm(dim=-1).median() * circle + heights.median() * up
    old_width, old_height = (int(n) for n in cameras.sizes[0])
    width, height = size or (old_width, old_height)
    focal = float(cameras.intrinsics[0, 1]) * height / old_height
    times = None if cameras.times is None else torch.linspace(0, 1, frames)
    return Cameras.perspective(
        look_at(eye, focus, up), focal=focal, size=(width - width % 2, height - height % 2), times=times
    )


def _up(cameras: Cameras) -> Tensor:
    """The cameras' mean up axis (3,), or the world axis within 20 degrees of it."""
    up = normalize(cameras.c2w[:, :, 1].mean(0), dim=0)
    axis = int(up.abs().argmax())
    if up[axis].abs() > _SNAP:
        up = torch.zeros(3).index_fill(0, torch.tensor(axis), float(up[axis].sign()))
    return up


def _sweep(azimuths: Tensor, frames: int) -> Tensor:
    """Angles (frames,): a full turn, or to and fro over the part of the circle that azimuths (V,) cover."""
    ordered = azimuths.sort().values
    gaps = torch.cat((ordered.diff(), ordered[:1] + 2 * math.pi - ordered[-1:]))
    turn = torch.arange(frames) * (2 * math.pi / frames)
    if gaps.max() < _GAP:
        return turn
    widest = int(gaps.argmax())
    start = float(ordered[(widest + 1) % len(ordered)])
    middle, half = start + (2 * math.pi - float(gaps.max())) / 2, (2 * math.pi - float(gaps.max())) / 2
    return middle + half * turn.sin()
