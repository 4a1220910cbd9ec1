"""VolumePoints: the voxels of a volume as points with values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from polyfield.data.volumes import Volume
from polyfield.fields import Domain, Points
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.kernels import random_bits


class VolumePoints(PointSource):
    """Voxels drawn uniformly, with replacement. Raw values are 0 to 1 over the volume's range."""

    def __init__(self, volume: Volume, low: float, scale: float, device: str) -> None:
        self._values, self._low, self._scale, self._device = volume.values, low, scale, device
        self._domain = box_of(volume)

    def draw(self, count: int, *, seed: int, step: int) -> Targets:
        sizes = self._values.shape[:3]
        bits = random_bits((3, count), seed=seed, stream="voxels", step=step)
        voxel = bits * torch.tensor(sizes)[:, None] >> 32  # scaled, not modulo, so that no voxel is favoured
        raw = (voxel_values(self._values, voxel) - self._low) / self._scale
        x = voxel_centres(voxel, sizes, self._domain).to(self._device)
        return Targets(Points(x), raw=raw.to(self._device))


def voxel_values(values: np.ndarray, voxel: Tensor) -> Tensor:
    """Return values (N, C) float32 of an array (X, Y, Z, C) at voxels (3, N). The array may have any strides."""
    x, y, z = voxel.numpy()
    return torch.from_numpy(values[x, y, z].astype(np.float32))


def voxel_centres(voxel: Tensor, sizes: tuple[int, ...], domain: Domain) -> Tensor:
    """Return world points (N, 3) of voxels (3, N) of a grid of `sizes` along x, y and z."""
    return domain.from_unit((voxel.T + 0.5) / torch.tensor(sizes))


def box_of(volume: Volume) -> Domain:
    """Return the box that the voxels fill."""
    half = np.array([n * spacing / 2 for n, spacing in zip(volume.values.shape, volume.spacing)])
    middle = half if volume.rotation is None else np.array(volume.rotation) @ half
    return Domain.around((np.array(volume.origin) + middle).tolist(), half.tolist(), volume.rotation)
