"""A scene: photographs with poses, the source that radiance fields are fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyfield.cameras.cameras import Cameras
from polyfield.fields.domain import Domain


@dataclass(frozen=True)
class Scene:
    """V photographs and the cameras that took them, in the source's own world coordinates and units."""

    name: str
    root: Path  # the folder, as given
    format: str  # "blender" | "transforms"
    found: str  # one sentence: what was detected and why
    cameras: Cameras  # (V,); intrinsics and sizes are of the images below, after downscaling
    images: tuple[np.ndarray, ...]  # V of (H, W, 4) uint16 = round(65535 * premultiplied sRGB RGBA)
    masks: tuple[np.ndarray | None, ...]  # V of (H, W) bool, True = this pixel counts; None = all do
    names: tuple[str, ...]  # (V,) paths below root, separated by '/'
    train: tuple[int, ...]  # frame indices
    test: tuple[int, ...]  # frame indices, none of them in train
    background: tuple[float, float, float]  # sRGB that evaluation composites on
    domain: Domain
    near: float  # distance from the camera below which nothing is sampled
    downscale: int
    skipped: tuple[str, ...]  # photographs that the files name and that do not exist
    hashes: dict[str, str]  # name -> SHA-256 of the photograph's file
    notes: tuple[str, ...]  # warnings, a line each

    @property
    def bytes(self) -> int:
        """Memory of the images and masks, in bytes."""
        return sum(image.nbytes for image in self.images) + sum(m.nbytes for m in self.masks if m is not None)

    def summary(self) -> dict[str, Any]:
        """Return plain JSON data that tells which photographs, poses and split a run was fitted to."""
        return {
            "name": self.name,
            "format": self.format,
            "root": str(self.root),
            "frames": [self._frame(i) for i in range(len(self.names))],
            "background": list(self.background),
            "domain": self.domain.to_json(),
            "near": self.near,
            "downscale": self.downscale,
            "skipped": list(self.skipped),
        }

    def _frame(self, i: int) -> dict[str, Any]:
        cameras, name = self.cameras, self.names[i]
        return {
            "name": name,
            "split": "train" if i in self.train else "test",
            "size": cameras.sizes[i].tolist(),
            "hash": self.hashes[name],
            "c2w": cameras.c2w[i].tolist(),
            "intrinsics": cameras.intrinsics[i].tolist(),
            "lens": cameras.lens[i],
            "distortion": cameras.distortion[i].tolist(),
            "time": None if cameras.times is None else cameras.times[i].item(),
        }
