"""Keyframes: a smooth path of cameras through a few of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.cameras import Cameras
from polyfield.cameras.orbit import film_size
from polyfield.errors import PolyfieldError

_HERMITE = ((2.0, -3.0, 0.0, 1.0), (1.0, -2.0, 1.0, 0.0), (-2.0, 3.0, 0.0, 0.0), (1.0, -1.0, 0.0, 0.0))


def through(values: Tensor, frames: int, *, loop: bool = False) -> Tensor:
    """Return `frames` values (F, ...) of a curve through keyframes (K, ...), at equal steps from the first to the last.

    The curve is a cubic Hermite spline with the tangents of Catmull and Rom 1974. With `loop`, it goes on to the first one
    and the frames end before it. Raises PolyfieldError without keyframes or frames.
    """
    count = len(values)
    if count < 1 or frames < 1:
        raise PolyfieldError(f"path: {count} keyframes and {frames} frames; expected 1 or more of each")
    spans = count if loop else count - 1
    place = torch.arange(frames, dtype=torch.float64) * (spans / max(frames if loop else frames - 1, 1))
    span = place.long().clamp(max=max(spans - 1, 0))
    share = (place - span).clamp(0, 1)

    def at(offset: int) -> Tensor:
        index = span + offset
        index = index % count if loop else index.clamp(0, count - 1)
        return values[index.to(values.device)].double()

    powers = torch.stack([share**3, share**2, share, torch.ones_like(share)])
    start, leave, end, arrive = (torch.tensor(_HERMITE, dtype=torch.float64) @ powers).to(values.device)
    slopes = (at(1) - at(-1)) / 2, (at(2) - at(0)) / 2
    parts = zip((start, leave, end, arrive), (at(0), slopes[0], at(1), slopes[1]), strict=True)
    shape = (-1,) + (1,) * (values.dim() - 1)
    return sum((weight.view(shape) * value for weight, value in parts), torch.tensor(0.0)).to(values)


def path_through(c2w: Tensor, frames: int, *, loop: bool = False) -> Tensor:
    """Return `frames` poses c2w (F, 3, 4) of a smooth path through poses (K, 3, 4).

    Positions and axes follow `through`; axes are made orthonormal again, the view first.

    >>> poses = torch.eye(4)[None, :3].repeat(2, 1, 1)
    >>> poses[1, 0, 3] = 1.0
    >>> path_through(poses, 3)[:, 0, 3].tolist()
    [0.0, 0.5, 1.0]
    """
    curve = through(c2w, frames, loop=loop)
    backward = normalize(curve[:, :, 2], dim=1)
    right = normalize(torch.linalg.cross(curve[:, :, 1], backward), dim=1)
    up = torch.linalg.cross(backward, right)
    return torch.stack((right, up, backward, curve[:, :, 3]), 2)


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
    times = None if cameras.times is None else torch.linspace(0, 1, frames, device=poses.device)
    return Cameras.perspective(poses, focal=focal, size=size, times=times)
