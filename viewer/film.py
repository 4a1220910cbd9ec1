"""Film: the keyframes of a camera path, the cameras through them, and its pictures in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.cameras.keyframes import path_through, through
from polyfield.errors import PolyfieldError
from polyfield.viewer.look import Look
from polyfield.viewer.painter import Order, Painter

FPS = 30.0


@dataclass
class Film:
    """A path through looks."""

    keyframes: list[Look] = field(default_factory=list)
    seconds: float = 2.0  # from a keyframe to the next
    loop: bool = False

    @property
    def frames(self) -> int:
        spans = len(self.keyframes) - (not self.loop)
        return max(round(spans * self.seconds * FPS), 1)

    def looks(self, frames: int) -> list[Look]:
        """Return the looks of `frames` frames, from the first keyframe to the last. Needs at least one keyframe."""
        keys = self.keyframes
        poses = path_through(torch.stack([key.c2w for key in keys]), frames, loop=self.loop)
        # Tangents are multiplied, so that no field of view is below 0 or above 180 degrees.
        rest = torch.tensor([[math.log(math.tan(key.fov / 2)), key.time] for key in keys])
        return [
            replace(keys[0], c2w=pose, fov=2 * math.atan(math.exp(zoom)), time=min(max(time, 0.0), 1.0))
            for pose, (zoom, time) in zip(poses, through(rest, frames, loop=self.loop).tolist(), strict=True)
        ]

    def cameras(self, height: int, moving: bool) -> Cameras:
        """Return the cameras (F,) of the path, of so many rows, rounded to an even size."""
        looks = self.looks(self.frames)
        width, height = (side // 2 * 2 for side in looks[0].size(height))
        focal = torch.tensor([height / 2 / math.tan(look.fov / 2) for look in looks])
        times = torch.tensor([look.time for look in looks]) if moving else None
        one = Cameras.perspective(
            torch.stack([look.c2w for look in looks]), focal=1.0, size=(width, height), times=times
        )
        intrinsics = one.intrinsics.clone()
        intrinsics[:, 0] = intrinsics[:, 1] = focal
        return replace(one, intrinsics=intrinsics)


def pictures(
    painter: Painter, looks: list[Look], height: int, gone: Callable[[], bool] = lambda: False
) -> Iterator[Tensor]:
    """Yield the pictures of looks, as the painter gets to them.

    Raises PolyfieldError where a field cannot be drawn, and when whoever wants them has gone.
    """
    for look in looks:
        if gone():
            raise PolyfieldError("the browser has disconnected")
        order = Order(look, height)
        painter.order(order)
        order.done.wait()
        if order.error is not None:
            raise order.error
        assert order.picture is not None
        yield order.picture
