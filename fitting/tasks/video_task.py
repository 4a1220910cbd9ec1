"""VideoTask: a video field of a video, measured on all of its frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from polyfield.data.videos import Video
from polyfield.fields import Field, Meaning
from polyfield.fields.context import FieldContext
from polyfield.fitting.metrics.images import mean, psnr, ssim, to_8_bits
from polyfield.fitting.points.picture_points import contrast
from polyfield.fitting.points.video_points import VideoPoints, frame_times
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks.picture_task import UNIT_SQUARE
from polyfield.fitting.tasks.point_task import PointTask
from polyfield.fitting.tasks.task import Evaluation
from polyfield.progress import Progress
from polyfield.rendering.pictures.slices import as_rgb, pixel_centres

# Frames and field clipped to [0, 1] and rounded to 8 bits; PSNR of each frame, over its pixels and channels, then the mean;
# SSIM 11 x 11, sigma 1.5, of at most 32 frames at equal distances, then the mean.
PROTOCOL = "polyfield-video-1"

_LARGEST_FIELD = 16 << 20  # bytes, of the default size
_VALUES_A_BYTE = 4  # channels of pixels for each byte of the default size
_COMPARED = 32  # frames
_SHEET_FRAMES = 4
_SHOWN = 480  # pixels along the longest side of the frames that are shown


class VideoTask(PointTask):
    """The task of a video: points are ((column + 0.5) / width, (row + 0.5) / height) at times (frame + 0.5) / frames."""

    architecture = "kplanes"  # measured: 2 dB more than a hash grid of as many bytes, after as many seconds

    def __init__(self, video: Video, downscale: int) -> None:
        self.video, self._downscale = video, downscale
        self.name = video.name
        self.times, height, width, channels = video.values.shape
        self.resolution = max(height, width)
        self.source_bytes = video.values.nbytes
        self.default_bytes = min(video.values.size // _VALUES_A_BYTE, _LARGEST_FIELD)
        self.meaning = Meaning.of("video", UNIT_SQUARE, channels=channels)

    def summary(self) -> dict[str, Any]:
        return {
            "kind": "video",
            "sha256": self.video.sha256,
            "shape": list(self.video.values.shape),
            "fps": self.video.fps,
            "downscale": self._downscale,
        }

    def points(self, config: FitConfig, device: str, progress: Progress) -> VideoPoints:
        return VideoPoints(self.video, device)

    def importance(self, config: FitConfig, device: str, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return the contrast of the middle frame."""
        return partial(contrast, self.video.values[len(self.video.values) // 2], 255.0)

    def measure(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        count, height, width, _ = self.video.values.shape
        compared, shown = _spread(count, _COMPARED), _spread(count, _SHEET_FRAMES)
        every = max(-(-max(height, width) // _SHOWN), 1)
        x = pixel_centres(torch.arange(height * width), width, height).to(field.device)
        psnrs, ssims, columns = [], [], []
        for frame in range(count):
            wanted = torch.from_numpy(self.video.values[frame].copy()).float() / 255
            times = frame_times(torch.tensor(frame), count).to(x.device).expand(len(x))
            found = to_8_bits(field.colour_at(x, times).cpu().reshape(wanted.shape))
            psnrs.append(psnr(found, wanted))
            if frame in compared:
                ssims.append(ssim(found, wanted))
            if frame in shown:
                error = ((found - wanted).abs().mean(-1, keepdim=True) * 8).clamp(max=1)
                columns.append([p[::every, ::every] for p in (wanted, found, as_rgb(1 - error))])
            progress((frame + 1) / count, "evaluating")
        figures = {
            "protocol": PROTOCOL,
            "psnr": mean(psnrs),
            "ssim": mean(ssims),
            "frames": count,
            "psnr_of_frames": psnrs,
        }
        summary = f"PSNR {figures['psnr']:.2f} dB, mean of {count} frames ({PROTOCOL})"
        sheet = [list(row) for row in zip(*columns, strict=True)]
        caption = "frames of the video, of the field, and their difference times eight"
        return Evaluation(figures, summary, sheet, caption, "frames.png")


def _spread(count: int, most: int) -> set[int]:
    """Return at most `most` of `count` frames, at equal distances, the first and the last among them."""
    return {round(i * (count - 1) / max(most - 1, 1)) for i in range(most)}
