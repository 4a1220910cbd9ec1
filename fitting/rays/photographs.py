"""Photographs: a source of rays whose pixels are drawn at random by contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.fitting.rays.contrast import contrast
from polyfield.fitting.rays.source import Batch, RaySource, with_noise
from polyfield.kernels import gather, weighted


class Photographs(RaySource):
    """All pixels of V views, numbered one view after the other.

    images (H, W, 4) are uint16 premultiplied sRGB RGBA of full scale 65535. masks (H, W) bool are true for
    pixels that count; None means that all do.
    """

    def __init__(
        self,
        cameras: Cameras,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray | None],
        device: str = "cpu",
    ) -> None:
        self._cameras = cameras.to(device)
        # As int16 of the same bits, because torch cannot index uint16. On the CPU they are not copied.
        self._images = [
            torch.from_numpy(np.ascontiguousarray(image).reshape(-1, 4).view(np.int16)) for image in images
        ]
        if torch.device(device).type != "cpu":
            self._images = [_on(device, self._images)]
        with ThreadPoolExecutor() as pool:
            weights = [w.reshape(-1) for w in pool.map(contrast, images)]
        areas = cameras.sizes.prod(1)
        self._ends = areas.cumsum(0).to(device)
        self._widths = cameras.sizes[:, 0].to(device)
        self._counting: Tensor | None = None
        flat = np.concatenate(weights)
        if any(mask is not None for mask in masks):
            all_true = (np.ones(int(area), bool) for area in areas)
            rows = [
                full if mask is None else mask.reshape(-1) for full, mask in zip(all_true, masks, strict=True)
            ]
            counting = np.concatenate(rows).nonzero()[0]
            self._counting = torch.from_numpy(counting).to(device)
            flat = flat[counting]
        self._weights = torch.from_numpy(flat).to(device)  # of the pixels that count
        self._mean_weight = float(flat.mean()) if len(flat) else math.nan

    def __len__(self) -> int:
        return len(self._weights)

    @torch.no_grad()
    def draw(self, count: int, *, seed: int, step: int | Tensor) -> Batch:
        """Return the rays of `count` pixels, drawn with replacement in proportion to contrast."""
        row, weights = weighted(
            self._weights, count, mean=self._mean_weight, seed=seed, stream="pixels", step=step
        )
        if self._counting is not None:
            row = self._counting[row]
        odds = weights / self._mean_weight
        frame = torch.searchsorted(self._ends, row, right=True)
        starts = torch.cat((self._ends.new_zeros(1), self._ends[:-1]))
        pixel, width = row - starts[frame], self._widths[frame]
        uv = torch.stack((pixel % width, pixel // width), -1) + 0.5
        # One array needs no search for the array of a row.
        rows = self._images[0][row] if len(self._images) == 1 else gather(self._images, row)
        colours = (rows.int() & 0xFFFF).float() / 65535
        return with_noise(self._cameras.rays(frame, uv), colours, odds, seed=seed, step=step)


def _on(device: str, parts: Sequence[Tensor]) -> Tensor:
    """Return parts (N_k, 4) on another device, as views of one tensor there."""
    whole = parts[0].new_empty(sum(len(part) for part in parts), 4, device=device)
    for place, part in zip(whole.split([len(part) for part in parts]), parts, strict=True):
        place.copy_(part)
    return whole
