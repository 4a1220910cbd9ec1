"""PictureTask: an image field of a picture, measured on all of its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.data.pictures import Picture
from polyfield.fields import SIGNALS, Domain, Field, Meaning
from polyfield.fields.context import FieldContext
from polyfield.fitting.metrics.images import ms_ssim, psnr_of, ssim, to_8_bits
from polyfield.fitting.points.picture_points import PicturePoints, contrast
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks.point_task import PointTask
from polyfield.fitting.tasks.task import Evaluation
from polyfield.progress import Progress
from polyfield.rendering.pictures.slices import as_rgb, pixel_centres

# Values over the picture's peak, picture and field clipped to [0, 1] and rounded to 8 bits; PSNR over all pixels and
# channels; SSIM 11 x 11, sigma 1.5; MS-SSIM over five scales.
PROTOCOL = "polyfield-picture-1"

UNIT_SQUARE = Domain("box", (0.5, 0.5), (0.5, 0.5))
_LARGEST_FIELD = 32 << 20  # bytes, of the default size
_ROWS_AT_ONCE = 1 << 18  # pixels
_LARGEST_SSIM = 1 << 23  # pixels: beyond, similarities would take more memory than the fit
_SHOWN = 1024  # pixels along the longest side of the pictures that are shown


class PictureTask(PointTask):
    """The task of a picture: points are ((column + 0.5) / width, (row + 0.5) / height)."""

    def __init__(self, picture: Picture, downscale: int) -> None:
        self.picture, self._downscale = picture, downscale
        self.name = picture.name
        height, width, channels = picture.values.shape
        self.resolution = max(height, width)
        self.source_bytes = picture.values.nbytes
        self.default_bytes = min(picture.values.size, _LARGEST_FIELD)
        # Floats keep their unit; whole numbers become 0 to 1.
        self._unit = picture.peak if picture.values.dtype == np.float32 else 1.0
        transform = replace(SIGNALS["image"].transform, scale=self._unit)
        self.meaning = Meaning.of("image", UNIT_SQUARE, channels=channels, transform=transform)

    def summary(self) -> dict[str, Any]:
        return {
            "kind": "picture",
            "sha256": self.picture.sha256,
            "shape": list(self.picture.values.shape),
            "premultiplied": self.picture.premultiplied,
            "downscale": self._downscale,
        }

    def points(self, config: FitConfig, device: str, progress: Progress) -> PicturePoints:
        return PicturePoints(self.picture, device)

    def importance(self, config: FitConfig, device: str, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return the contrast."""
        return partial(contrast, self.picture.values, self.picture.peak)

    def measure(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        height, width, channels = self.picture.values.shape
        whole = height * width <= _LARGEST_SSIM
        every = max(-(-max(height, width) // _SHOWN), 1)
        step = 1 if whole else every
        # Taken once: pieces by the thousand between strips would keep the heap from being used again.
        kept = torch.empty(2, -(-height // step), -(-width // step), channels)
        squared = 0.0
        rows = max(_ROWS_AT_ONCE // width, 1)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            pixel = torch.arange(top * width, bottom * width)
            x = pixel_centres(pixel, width, height).to(field.device)
            colours = field.colour_at(x).cpu().reshape(bottom - top, width, channels)
            found = to_8_bits(colours / self._unit)
            wanted = torch.from_numpy(self.picture.values[top:bottom].copy()).float() / self.picture.peak
            wanted = to_8_bits(wanted)
            squared += float((found - wanted).double().square().sum())
            first, lines = -top % step, slice(-(-top // step), -(-bottom // step))
            kept[0, lines], kept[1, lines] = wanted[first::step, ::step], found[first::step, ::step]
            progress(bottom / height, "evaluating")
        mse = squared / (height * width * channels)
        wanted, found = kept
        figures = {
            "protocol": PROTOCOL,
            "psnr": psnr_of(mse),
            "ssim": ssim(found, wanted) if whole else None,
            "ms_ssim": ms_ssim(found, wanted) if whole else None,
        }
        if whole:
            wanted, found = wanted[::every, ::every], found[::every, ::every]
        error = ((found - wanted).abs().mean(-1, keepdim=True) * 8).clamp(max=1)
        sheet = [
            [
                *(as_rgb(p, premultiplied=self.picture.premultiplied) for p in (wanted, found)),
                as_rgb(1 - error),
            ]
        ]
        summary = f"PSNR {figures['psnr']:.2f} dB over {height * width:,} pixels ({PROTOCOL})"
        return Evaluation(
            figures, summary, sheet, "the picture, the field, and their difference times eight", "picture.png"
        )
