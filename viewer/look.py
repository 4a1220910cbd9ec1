"""Look: what one browser asks to see, and the cameras of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.rendering.pictures.emission import TransferFunction
from polyfield.rendering.radiance.layers import OWN_SCALE, Scale

ALONE, FIELD, PHOTOGRAPH = "nothing", "the other field", "the photograph"
SPLIT, DIFFERENCE = "split", "difference"


@dataclass(frozen=True)
class Look:
    """A view of one or two fields. Positions are in world coordinates."""

    c2w: Tensor  # (3, 4), OpenGL axes
    fov: float  # vertical, in radians
    window: tuple[int, int]  # width and height of the browser's window, in pixels
    most: int = 800  # pixels of the picture's height
    layer: str = "colour"
    scale: Scale = OWN_SCALE
    background: tuple[float, float, float] | None = None  # the field's own if None
    transfer: TransferFunction | None = None  # of volumes; the field's own if None
    time: float = 0.0  # in [0, 1], of moving fields
    crop: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # centre and half sizes
    beside: str = ALONE
    how: str = SPLIT
    split: float = 0.5  # share of the width that the first field has
    photograph: int | None = None  # the index of the training camera that the browser is at

    @property
    def full(self) -> int:
        """The height of the finished picture, in pixels."""
        return max(min(self.window[1], self.most), 16)

    def size(self, height: int) -> tuple[int, int]:
        """Return the width and height of a picture of so many rows."""
        return max(round(height * self.window[0] / max(self.window[1], 1)), 1), height

    def camera(self, height: int, moving: bool = False) -> Cameras:
        """Return the camera of a picture of so many rows."""
        focal = height / 2 / math.tan(self.fov / 2)
        times = torch.tensor([self.time]) if moving else None
        return Cameras.perspective(self.c2w[None], focal=focal, size=self.size(height), times=times)


def columns(cameras: Cameras, first: int, last: int) -> Cameras:
    """Return one camera that sees the columns from `first` up to `last` of another."""
    intrinsics = cameras.intrinsics.clone()
    intrinsics[:, 2] -= first
    sizes = cameras.sizes.clone()
    sizes[:, 0] = last - first
    return Cameras(cameras.c2w, intrinsics, sizes, cameras.lens, cameras.distortion, cameras.times)


def from_viser(rotation: Tensor, position: Tensor) -> Tensor:
    """Return c2w (3, 4) in OpenGL axes of a rotation (3, 3) in viser's axes, +Y down and +Z ahead, and a position (3,)."""
    axes = rotation.float() * torch.tensor([1.0, -1.0, -1.0])
    return torch.cat((axes, position.float()[:, None]), 1)
