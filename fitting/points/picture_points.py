"""PicturePoints: the pixels of a picture as points with values."""

from __future__ import annotations

import torch

from polyfield.data.pictures import Picture
from polyfield.fields import Points
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.kernels import random_bits
from polyfield.rendering.pictures.slices import pixel_centres


class PicturePoints(PointSource):
    """Pixels drawn uniformly, with replacement, from memory or from a file that is mapped."""

    def __init__(self, picture: Picture, device: str) -> None:
        self._picture, self._device = picture, device

    def draw(self, count: int, *, seed: int, step: int) -> Targets:
        height, width, _ = self._picture.values.shape
        bits = random_bits((count,), seed=seed, stream="pixels", step=step)
        pixel = bits * (height * width) >> 32  # scaled, not modulo, so that no pixel is favoured
        values = self._picture.values[(pixel // width).numpy(), (pixel % width).numpy()]
        x = pixel_centres(pixel, width, height).to(self._device)
        raw = torch.from_numpy(values).float().to(self._device) / self._picture.peak
        return Targets(Points(x), raw=raw)
