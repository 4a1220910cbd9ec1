"""Keyframes: a smooth path of cameras through a few of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.cameras import Cameras
from polyfield.cameras.orbit import film_size, film_times
from polyfield.errors import PolyfieldError

_HERMITE = ((2.0, -3.0, 0.0, 1.0), (1.0, -2.0, 1.0, 0.0), (-2.0, 3.0, 0.0, 0.0), (1.0, -1.0, 0.0, 0.0))


def through(values: Tensor, frames: int, *, loop: bool = False) -> Tensor:
    """Return `frames` values (F, ...) of a curve through keyframes (K, ...), at equal steps from the first to the last.

    The curve is a cubic Hermite spline with the tangents of Catmull and Rom 1974. With `loop`, it goes on to the first one
    and the frames end before it. Raises PolyfieldError without keyframes or frames.
    """
    _check(len(values), frames)
    return _curve(_padded(values.double(), loop), frames, loop).to(values.dtype)


def path_through(c2w: Tensor, frames: int, *, loop: bool = False) -> Tensor:
    """Return `frames` poses c2w (F, 3, 4) of a smooth path through poses (K, 3, 4).

    Positions and unit quaternions follow `through`.

    >>> poses = torch.eye(4)[None, :3].repeat(2, 1, 1)
    >>> poses[1, 0, 3] = 1.0
    >>> path_through(poses, 3)[:, 0, 3].tolist()
    [0.0, 0.5, 1.0]
    """
    _check(len(c2w), frames)
    turns = _padded(_quaternions(c2w[:, :, :3].double()), loop)
    for index in range(1, len(turns)):  # the shorter way round
        if turns[index] @ turns[index - 1] < 0:
            turns[index] = -turns[index]
    rotation = _rotations(normalize(_curve(turns, frames, loop), dim=1))
    position = _curve(_padded(c2w[:, :, 3].double(), loop), frames, loop)
    return torch.cat((rotation, position[:, :, None]), 2).to(c2w.dtype)


def _check(count: int, frames: int) -> None:
    if count < 1 or frames < 1:
        raise PolyfieldError(f"path: {count} keyframes and {frames} frames; expected 1 or more of each")


def _padded(values: Tensor, loop: bool) -> Tensor:
    """Return keyframes (K, ...) with one more before and two more behind: repeated ends, or those of the next turn."""
    index = torch.arange(-1, len(values) + 2, device=values.device)
    return values[index % len(values) if loop else index.clamp(0, len(values) - 1)].clone()


def _curve(padded: Tensor, frames: int, loop: bool) -> Tensor:
    """Return `through` of keyframes that are padded."""
    count = len(padded) - 3
    spans = count if loop else count - 1
    steps = torch.arange(frames, dtype=padded.dtype, device=padded.device)
    place = steps * (spans / max(frames if loop else frames - 1, 1))
    span = place.long().clamp(max=max(spans - 1, 0))
    share = (place - span).clamp(0, 1)
    before, start, end, after = (padded[span + offset] for offset in range(4))
    powers = torch.stack((share**3, share**2, share, torch.ones_like(share)))
    weights = torch.tensor(_HERMITE, dtype=padded.dtype, device=padded.device) @ powers
    first, leave, last, arrive = weights.view(4, -1, *[1] * (padded.dim() - 1))
    return first * start + leave * (end - before) / 2 + last * end + arrive * (after - start) / 2


def _quaternions(rotation: Tensor) -> Tensor:
    """Return unit quaternions (K, 4), w first, of rotations (K, 3, 3): Bar-Itzhack 2000, equation 11."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(1) for row in rotation.unbind(1))
    rows = (
        (a + e + i, h - f, c - g, d - b),
        (h - f, a - e - i, b + d, c + g),
        (c - g, b + d, e - a - i, f + h),
        (d - b, c + g, f + h, i - a - e),
    )
    matrix = torch.stack([torch.stack(row, 1) for row in rows], 1)
    return torch.linalg.eigh(matrix).eigenvectors[:, :, -1]


def _rotations(quaternion: Tensor) -> Tensor:
    """Return rotations (F, 3, 3) of unit quaternions (F, 4), w first."""
    w, x, y, z = quaternion.unbind(1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def tour(cameras: Cameras, *, frames: int, size: tuple[int, int] | None = None) -> Cameras:
    """Return `frames` perspective views on a path through (training) cameras, each the nearest one not yet visited.

    At most one camera in eight frames is visited. Focal length and size are as in `orbit`, and so are times. Raises
    PolyfieldError if there are no cameras or frames.
    """
    if frames < 1 or len(cameras) == 0:
        raise PolyfieldError(
            f"cameras: found {len(cameras)} cameras and {frames} frames; expected 1 or more of each"
        )
    centres = cameras.c2w[:, :, 3]
    order, left = [0], set(range(1, len(cameras)))
    while left:
        nearest = min(left, key=lambda i: float((centres[i] - centres[order[-1]]).norm()))
        order.append(nearest)
        left.remove(nearest)
    visited = max(min(len(order), frames // 8), 2)
    places = torch.linspace(0, len(order) - 1, visited).round().long().tolist()
    poses = path_through(cameras.c2w[[order[i] for i in places]], frames)
    size, focal = film_size(cameras, size)
    return Cameras.perspective(poses, focal=focal, size=size, times=film_times(cameras, frames))
