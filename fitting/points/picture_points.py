"""PicturePoints: the pixels of a picture as points with values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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


def contrast(values: np.ndarray, peak: float, x: Tensor) -> Tensor:
    """Return the largest difference (N,) between the pixels of values (H, W, C) at x (N, 2) and their right and lower neighbours.

    It is a share of the peak.
    """
    height, width, _ = values.shape
    column = (x[:, 0].cpu() * width).long().clamp(0, width - 1).numpy()
    row = (x[:, 1].cpu() * height).long().clamp(0, height - 1).numpy()
    here = values[row, column].astype(np.float32)
    right = values[row, np.minimum(column + 1, width - 1)].astype(np.float32)
    below = values[np.minimum(row + 1, height - 1), column].astype(np.float32)
    most = np.maximum(np.abs(right - here), np.abs(below - here)).max(1)
    return torch.from_numpy(most / np.float32(peak)).to(x.device)
