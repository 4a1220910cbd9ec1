"""An image field to be fitted to a picture, and measured on all of its pixels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from polyfield.data.pictures import Picture
from polyfield.fields import Domain, Field
from polyfield.fit.metrics import ms_ssim, ssim, to_8_bits
from polyfield.fit.task import Evaluation, Progress
from polyfield.fit.value_task import ValueTask
from polyfield.kernels import random_bits

# Values over the picture's peak, picture and field clipped to [0, 1] and rounded to 8 bits; PSNR over all pixels and
# channels; SSIM 11 x 11, sigma 1.5; MS-SSIM over five scales.
PROTOCOL = "polyfield-picture-1"

_LARGEST_FIELD = 64 << 20  # bytes, of the default size
_ROWS_AT_ONCE = 1 << 18  # pixels
_LARGEST_SSIM = 1 << 24  # pixels: beyond, similarities would take more memory than the fit
_SHOWN = 1024  # pixels along the longest side of the pictures that are shown


class PictureSamples:
    """Pixels drawn alike, with replacement, wherever the picture lies: in memory, or in a file mapped there."""

    def __init__(self, picture: Picture, device: str) -> None:
        self._picture, self._device = picture, device

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
        height, width, channels = self._picture.values.shape
        bits = random_bits((count,), seed=seed, stream="pixels", step=step)
        row = bits * (height * width) >> 32
        values = self._picture.values.reshape(-1, channels)[row.numpy()]
        x = torch.stack(((row % width + 0.5) / width, (row // width + 0.5) / height), 1)
        return x.to(self._device), torch.from_numpy(values).float().to(self._device) / self._picture.peak


class PictureTask(ValueTask):
    """The task of a picture: points are ((column + 0.5) / width, (row + 0.5) / height)."""

    signal = "image"
    domain = Domain("box", (0.5, 0.5), (0.5, 0.5))

    def __init__(self, picture: Picture, downscale: int) -> None:
        self.picture, self._downscale = picture, downscale
        self.name = picture.name
        height, width, self.channels = picture.values.shape
        self.resolution = max(height, width)
        self.bytes = picture.values.nbytes
        self.default_size = min(picture.values.size, _LARGEST_FIELD)

    def summary(self) -> dict[str, Any]:
        return {
            "kind": "picture",
            "sha256": self.picture.sha256,
            "shape": list(self.picture.values.shape),
            "downscale": self._downscale,
        }

    def samples(self, seed: int, device: str, progress: Progress) -> PictureSamples:
        return PictureSamples(self.picture, device)

    def measure(self, field: Field, progress: Progress) -> Evaluation:
        height, width, channels = self.picture.values.shape
        whole = height * width <= _LARGEST_SSIM
        every = max(-(-max(height, width) // _SHOWN), 1)
        kept: list[tuple[Tensor, Tensor]] = []
        squared = 0.0
        rows = max(_ROWS_AT_ONCE // width, 1)
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            found = to_8_bits(render_rows(field, width, height, top, bottom).cpu())
            wanted = torch.from_numpy(self.picture.values[top:bottom].copy()).float() / self.picture.peak
            wanted = to_8_bits(wanted)
            squared += float((found - wanted).double().square().sum())
            step = 1 if whole else every
            first = -top % step
            kept.append((wanted[first::step, ::step], found[first::step, ::step]))
            progress("evaluating", bottom / height)
        mse = squared / (height * width * channels)
        wanted, found = (torch.cat(parts) for parts in zip(*kept))
        figures = {
            "protocol": PROTOCOL,
            "psnr": -10 * math.log10(mse) if mse else math.inf,
            "ssim": ssim(found, wanted) if whole else None,
            "ms_ssim": ms_ssim(found, wanted) if whole else None,
        }
        if whole:
            wanted, found = wanted[::every, ::every], found[::every, ::every]
        error = ((found - wanted).abs().mean(-1, keepdim=True) * 8).clamp(max=1)
        sheet = [[as_rgb(wanted), as_rgb(found), as_rgb(1 - error)]]
        said = f"PSNR {figures['psnr']:.2f} dB over {height * width:,} pixels ({PROTOCOL})"
        return Evaluation(
            figures, said, sheet, "the picture, the field, and their difference times eight", "picture.png"
        )


def render_rows(field: Field, width: int, height: int, top: int, bottom: int) -> Tensor:
    """Rows top to bottom of the field as a picture of that size: (bottom - top, width, C)."""
    device = next(field.parameters()).device
    y, x = torch.meshgrid(
        torch.arange(top, bottom, device=device), torch.arange(width, device=device), indexing="ij"
    )
    points = torch.stack(((x + 0.5) / width, (y + 0.5) / height), -1).reshape(-1, 2)
    colour = field.query(points).colour
    assert colour is not None
    return colour.reshape(bottom - top, width, -1)


def as_rgb(picture: Tensor) -> Tensor:
    """(H, W, C) as (H, W, 3) in [0, 1]: grey, colour, or the first three channels on white by a fourth."""
    picture = picture.clamp(0, 1)
    channels = picture.shape[-1]
    if channels in (2, 4):
        alpha = picture[..., -1:]
        picture = picture[..., :-1] * alpha + 1 - alpha
    return picture[..., :3] if picture.shape[-1] >= 3 else picture[..., :1].expand(-1, -1, 3)
