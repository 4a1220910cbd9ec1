"""VideoPoints: the pixels of a video's frames as points with times and values."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.data.videos import Video
from polyfield.fields import Points
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.kernels import random_bits
from polyfield.rendering.pictures.slices import pixel_centres


class VideoPoints(PointSource):
    """Pixels of all frames, drawn uniformly, with replacement, from memory or from a file that is mapped."""

    def __init__(self, video: Video, device: str) -> None:
        self._video, self._device = video, device

    def draw(self, count: int, *, seed: int, step: int) -> Targets:
        frames, height, width, _ = self._video.values.shape
        bits = random_bits((2, count), seed=seed, stream="video", step=step)
        # Scaled, not modulo, so that none is favoured.
        frame, pixel = bits * torch.tensor([[frames], [height * width]]) >> 32
        values = self._video.values[frame.numpy(), (pixel // width).numpy(), (pixel % width).numpy()]
        raw = torch.from_numpy(values).to(self._device).float() / 255
        x, times = pixel_centres(pixel, width, height), frame_times(frame, frames)
        return Targets(Points(x.to(self._device), times=times.to(self._device)), raw=raw)


def frame_times(frame: Tensor, frames: int) -> Tensor:
    """Return the times (N,) of frames (N,) of a video: frame k of F is at (k + 0.5) / F, as pixels are."""
    return (frame + 0.5) / frames
