"""VolumeTask: a volume field of a scanned or simulated volume, measured on all of its voxels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from polyfield.data.volumes import Volume
from polyfield.fields import SIGNALS, Field, Meaning, Points
from polyfield.fields.context import FieldContext
from polyfield.fitting.metrics.images import psnr_of
from polyfield.fitting.points.volume_points import VolumePoints, box_of, voxel_centres, voxel_values
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks.point_task import PointTask
from polyfield.fitting.tasks.task import Evaluation
from polyfield.progress import Progress
from polyfield.rendering.pictures.slices import as_rgb
from polyfield.rendering.renderers import renderer_of
from polyfield.rendering.turntable import turntable

# Of all voxels and channels, with the volume's own range as the peak; nothing is clipped or rounded.
PROTOCOL = "polyfield-volume-1"

_LARGEST_FIELD = 64 << 20  # bytes, of the default size
_AT_ONCE = 1 << 18  # voxels
_SIDE = 256  # pixels of a view


class VolumeTask(PointTask):
    """The task of a volume, over the box that its voxels fill."""

    def __init__(self, volume: Volume) -> None:
        self.volume, self.name = volume, volume.name
        self.resolution = max(volume.values.shape[:3])
        self.source_bytes = volume.values.nbytes
        self.default_bytes = min(4 * volume.values.size, _LARGEST_FIELD)
        low, high = float(volume.values.min()), float(volume.values.max())
        self._low, self._scale = low, high - low or 1.0
        transform = replace(SIGNALS["volume"].transform, scale=self._scale, offset=low)
        channels = volume.values.shape[3]
        self.meaning = Meaning.of("volume", box_of(volume), channels=channels, transform=transform)

    def summary(self) -> dict[str, Any]:
        return {"kind": "volume", "sha256": self.volume.sha256, "shape": list(self.volume.values.shape)}

    def points(self, config: FitConfig, device: str, progress: Progress) -> VolumePoints:
        return VolumePoints(self.volume, self._low, self._scale, device)

    def importance(self, config: FitConfig, device: str, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return the contrast: the largest difference between a voxel and its next neighbours along the axes."""
        values, sizes = self.volume.values, torch.tensor(self.volume.values.shape[:3])

        def contrast(x: Tensor) -> Tensor:
            unit = self.meaning.domain.to_unit(x.cpu())
            voxel = (unit.T * sizes[:, None]).long().clamp(min=0).minimum(sizes[:, None] - 1)
            here, most = voxel_values(values, voxel), torch.zeros(voxel.shape[1])
            for axis in torch.eye(3, dtype=torch.int64):
                beyond = (voxel + axis[:, None]).minimum(sizes[:, None] - 1)
                most = most.maximum((voxel_values(values, beyond) - here).abs().amax(1))
            return (most / self._scale).to(x.device)

        return contrast

    def measure(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        values = self.volume.values
        count, squared = math.prod(values.shape[:3]), 0.0
        for start in range(0, count, _AT_ONCE):
            row = torch.arange(start, min(start + _AT_ONCE, count))
            voxel = torch.stack(torch.unravel_index(row, values.shape[:3]))
            wanted = voxel_values(values, voxel)
            found = self._at(field, voxel)
            squared += float((found.cpu() - wanted).double().square().sum())
            progress((start + len(row)) / count, "evaluating")
        mse = squared / values.size / self._scale**2
        psnr = psnr_of(mse)
        figures = {"protocol": PROTOCOL, "psnr": psnr}
        summary = f"PSNR {psnr:.2f} dB over {count:,} voxels ({PROTOCOL})"
        sheet = [list(row) for row in zip(*(self._slices(field, axis) for axis in range(3)))]
        if self.meaning.channels in (1, 3, 4):
            sheet.append(self._views(field, context))
        caption = "middle slices of the volume and of the field, and the field from three sides"
        return Evaluation(figures, summary, sheet, caption, "volume.png")

    def _at(self, field: Field, voxel: Tensor) -> Tensor:
        """Return the field's values (N, C) at voxels (3, N)."""
        x = voxel_centres(voxel, self.volume.values.shape[:3], self.meaning.domain)
        return field.colour_in_chunks(Points(x.to(field.device)))

    def _views(self, field: Field, context: FieldContext) -> list[Tensor]:
        """Return the field from three sides."""
        cameras = turntable(self.meaning.domain, 3, (_SIDE, _SIDE)).to(field.device)
        renderer = renderer_of(field, context)
        return [renderer.picture(cameras, view).cpu() for view in range(3)]

    def _slices(self, field: Field, axis: int) -> tuple[Tensor, Tensor]:
        """Return the middle slice across an axis, of the volume and of the field."""
        sizes = self.volume.values.shape[:3]
        first, second = (torch.arange(n) for other, n in enumerate(sizes) if other != axis)
        # To the right the first of the other axes, upwards the second.
        up, right = torch.meshgrid(second.flip(0), first, indexing="ij")
        places = [right.flatten(), up.flatten()]
        places.insert(axis, torch.full_like(places[0], sizes[axis] // 2))
        voxel = torch.stack(places)
        wanted = voxel_values(self.volume.values, voxel)
        found = self._at(field, voxel)
        times = max(_SIDE // max(sizes), 1)  # small ones are shown larger

        def shown(values: Tensor) -> Tensor:
            picture = (values.cpu() - self._low).div(self._scale).reshape(*up.shape, -1)
            return as_rgb(picture.repeat_interleave(times, 0).repeat_interleave(times, 1))

        return shown(wanted), shown(found)
