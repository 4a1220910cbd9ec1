"""A volume field to be fitted to a scanned or simulated volume, and measured on all of its voxels."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.data.volumes import Volume
from polyfield.fields import SIGNALS, Domain, Field
from polyfield.fit.task import Evaluation, Progress
from polyfield.fit.value_task import ValueTask
from polyfield.kernels import random_bits
from polyfield.render.emission import TransferFunction
from polyfield.render.slices import as_rgb
from polyfield.render.turntable import turntable
from polyfield.render.volume_pictures import emission_picture

# Of all voxels and channels, with the volume's own range as the peak; nothing is clipped or rounded.
PROTOCOL = "polyfield-volume-1"

_LARGEST_FIELD = 64 << 20  # bytes, of the default size
_AT_ONCE = 1 << 18  # voxels
_SIDE = 256  # pixels of a view


class VolumeSamples:
    """Voxels drawn alike, with replacement; raw values are 0 to 1 over the volume's range."""

    def __init__(self, volume: Volume, low: float, scale: float, device: str) -> None:
        self._values, self._low, self._scale, self._device = volume.values, low, scale, device
        self._domain = _grid(volume)

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
        sizes = self._values.shape[:3]
        bits = random_bits((count,), seed=seed, stream="voxels", step=step)
        row = bits * math.prod(sizes) >> 32
        raw = (_values_of(self._values, row) - self._low) / self._scale
        return voxel_centres(row, sizes, self._domain).to(self._device), raw.to(self._device)


class VolumeTask(ValueTask):
    """The task of a volume, over the box that its voxels fill."""

    signal = "volume"

    def __init__(self, volume: Volume) -> None:
        self.volume, self.name = volume, volume.name
        self.channels = volume.values.shape[3]
        self.resolution = max(volume.values.shape[:3])
        self.domain = _grid(volume)
        self.bytes = volume.values.nbytes
        self.default_size = min(4 * volume.values.size, _LARGEST_FIELD)
        low, high = float(volume.values.min()), float(volume.values.max())
        self._low, self._scale = low, high - low or 1.0
        self.transform = replace(SIGNALS["volume"].transform, scale=self._scale, offset=low)

    def summary(self) -> dict[str, Any]:
        return {"kind": "volume", "sha256": self.volume.sha256, "shape": list(self.volume.values.shape)}

    def samples(self, seed: int, device: str, progress: Progress) -> VolumeSamples:
        return VolumeSamples(self.volume, self._low, self._scale, device)

    def measure(self, field: Field, progress: Progress) -> Evaluation:
        values, device = self.volume.values, next(field.parameters()).device
        count, squared = math.prod(values.shape[:3]), 0.0
        for start in range(0, count, _AT_ONCE):
            row = torch.arange(start, min(start + _AT_ONCE, count))
            wanted = _values_of(values, row)
            found = field.colour_at(voxel_centres(row, values.shape[:3], self.domain).to(device))
            squared += float((found.cpu() - wanted).double().square().sum())
            progress("evaluating", (start + len(row)) / count)
        mse = squared / values.size / self._scale**2
        psnr = -10 * math.log10(mse) if mse else math.inf
        figures = {"protocol": PROTOCOL, "psnr": psnr}
        said = f"PSNR {psnr:.2f} dB over {count:,} voxels ({PROTOCOL})"
        sheet = [list(row) for row in zip(*(self._slices(field, axis) for axis in range(3)))]
        if self.channels in (1, 3, 4):
            sheet.append(self._views(field))
        caption = "middle slices of the volume and of the field, and the field from three sides"
        return Evaluation(figures, said, sheet, caption, "volume.png")

    def _views(self, field: Field) -> list[Tensor]:
        """The field from three sides."""
        cameras = turntable(self.domain, 3, (_SIDE, _SIDE)).to(next(field.parameters()).device)
        transfer = TransferFunction(field.spec.transform.range)
        return [
            emission_picture(field.colour_at, self.domain, cameras, view, transfer).cpu() for view in range(3)
        ]

    def _slices(self, field: Field, axis: int) -> tuple[Tensor, Tensor]:
        """The middle slice across an axis, of the volume and of the field."""
        sizes = self.volume.values.shape[:3]
        index = np.arange(math.prod(sizes)).reshape(sizes).take(sizes[axis] // 2, axis).T
        row = torch.from_numpy(index.reshape(-1).copy())
        wanted = _values_of(self.volume.values, row)
        x = voxel_centres(row, sizes, self.domain).to(next(field.parameters()).device)
        found = field.colour_at(x)

        times = max(_SIDE // max(sizes), 1)  # small ones are shown larger

        def shown(values: Tensor) -> Tensor:
            picture = (values.cpu() - self._low).div(self._scale).reshape(*index.shape, -1)
            return as_rgb(picture.repeat_interleave(times, 0).repeat_interleave(times, 1))

        return shown(wanted), shown(found)


def _values_of(values: np.ndarray, row: Tensor) -> Tensor:
    """Values (N, C) float32 of an array (X, Y, Z, C) at rows (N,) of its voxels; it may be a view that is not in order."""
    _, y, z = values.shape[:3]
    index = ((row // (y * z)).numpy(), (row // z % y).numpy(), (row % z).numpy())
    return torch.from_numpy(values[index].astype(np.float32))


def voxel_centres(row: Tensor, sizes: tuple[int, ...], domain: Domain) -> Tensor:
    """World points (N, 3) of voxels by their row (N,) in an array (X, Y, Z)."""
    _, y, z = sizes
    index = torch.stack((row // (y * z), row // z % y, row % z), 1)
    return domain.from_unit((index + 0.5) / torch.tensor(sizes))


def _grid(volume: Volume) -> Domain:
    """The box that the voxels fill."""
    sizes = [n * spacing for n, spacing in zip(volume.values.shape, volume.spacing)]
    centre = tuple(low + size / 2 for low, size in zip(volume.origin, sizes))
    return Domain("box", centre, tuple(size / 2 for size in sizes))
