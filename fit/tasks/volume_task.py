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
from polyfield.fit.metrics.images import psnr_of
from polyfield.fit.tasks.task import Evaluation, Progress
from polyfield.fit.tasks.value_task import ValueTask
from polyfield.kernels import random_bits
from polyfield.render.pictures.emission import TransferFunction
from polyfield.render.pictures.slices import as_rgb
from polyfield.render.pictures.volume_pictures import emission_picture
from polyfield.render.turntable import turntable

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
        bits = random_bits((3, count), seed=seed, stream="voxels", step=step)
        voxel = bits * torch.tensor(sizes)[:, None] >> 32  # scaled, not taken modulo: none is favoured
        raw = (_values_of(self._values, voxel) - self._low) / self._scale
        return voxel_centres(voxel, sizes, self._domain).to(self._device), raw.to(self._device)


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
            voxel = torch.stack(torch.unravel_index(row, values.shape[:3]))
            wanted = _values_of(values, voxel)
            found = field.colour_at(voxel_centres(voxel, values.shape[:3], self.domain).to(device))
            squared += float((found.cpu() - wanted).double().square().sum())
            progress("evaluating", (start + len(row)) / count)
        mse = squared / values.size / self._scale**2
        psnr = psnr_of(mse)
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
        first, second = (torch.arange(n) for other, n in enumerate(sizes) if other != axis)
        # To the right the first of the other axes, upwards the second.
        up, right = torch.meshgrid(second.flip(0), first, indexing="ij")
        places = [right.flatten(), up.flatten()]
        places.insert(axis, torch.full_like(places[0], sizes[axis] // 2))
        voxel = torch.stack(places)
        wanted = _values_of(self.volume.values, voxel)
        found = field.colour_at(voxel_centres(voxel, sizes, self.domain).to(next(field.parameters()).device))
        times = max(_SIDE // max(sizes), 1)  # small ones are shown larger

        def shown(values: Tensor) -> Tensor:
            picture = (values.cpu() - self._low).div(self._scale).reshape(*up.shape, -1)
            return as_rgb(picture.repeat_interleave(times, 0).repeat_interleave(times, 1))

        return shown(wanted), shown(found)


def _values_of(values: np.ndarray, voxel: Tensor) -> Tensor:
    """Values (N, C) float32 of an array (X, Y, Z, C), which may be a view that is not in order, at voxels (3, N)."""
    x, y, z = voxel.numpy()
    return torch.from_numpy(values[x, y, z].astype(np.float32))


def voxel_centres(voxel: Tensor, sizes: tuple[int, ...], domain: Domain) -> Tensor:
    """World points (N, 3) of voxels (3, N) of so many along x, y and z."""
    return domain.from_unit((voxel.T + 0.5) / torch.tensor(sizes))


def _grid(volume: Volume) -> Domain:
    """The box that the voxels fill."""
    sizes = [n * spacing for n, spacing in zip(volume.values.shape, volume.spacing)]
    centre = tuple(low + size / 2 for low, size in zip(volume.origin, sizes))
    return Domain("box", centre, tuple(size / 2 for size in sizes))
