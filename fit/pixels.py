"""PixelStore: the pixels of the training photographs, drawn at random by contrast, with their rays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from polyfield.fit.contrast import contrast
from polyfield.kernels import gather, random_bits
from polyfield.render.cameras import Cameras
from polyfield.render.rays import Rays


class PixelStore:
    """All pixels of some views, numbered one view after the other. Images are (H, W, 4) uint16 premultiplied sRGB RGBA of full scale 65535.

    masks (H, W) bool say which pixels count, None that all of them do.
    """

    def __init__(
        self,
        cameras: Cameras,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray | None],
        device: str = "cpu",
    ) -> None:
        self._cameras = cameras.to(device)
        # torch indexes no uint16: the same bits travel as int16, and on the CPU they are not copied.
        self._images = [
            torch.from_numpy(np.ascontiguousarray(image).reshape(-1, 4).view(np.int16)).to(device)
            for image in images
        ]
        with ThreadPoolExecutor() as pool:
            weights = np.concatenate([w.reshape(-1) for w in pool.map(contrast, images)])
        self._weights = torch.from_numpy(weights).to(device)
        areas = cameras.sizes.prod(1)
        self._ends = areas.cumsum(0).to(device)
        self._widths = cameras.sizes[:, 0].to(device)
        self._counting: Tensor | None = None
        if any(mask is not None for mask in masks):
            all_true = (np.ones(int(area), bool) for area in areas)
            rows = [
                full if mask is None else mask.reshape(-1) for full, mask in zip(all_true, masks, strict=True)
            ]
            counting = np.concatenate(rows).nonzero()[0]
            self._counting = torch.from_numpy(counting).to(device)
            weights = weights[counting]
        self._mean_weight = float(weights.mean()) if len(weights) else math.nan

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._counting is None else len(self._counting)

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Rays, Tensor, Tensor]:
        """`count` pixels with replacement, as often as their contrast says.

        Their rays (R,), premultiplied colours RGBA (R, 4) in [0, 1], and odds (R,): how many times as likely each was as
        if all were drawn alike.
        """
        # By rejection: a tenth more than are needed on the average, which is ten times their deviation for a pool.
        tries = math.ceil((count * 1.1 + 64) * 256 / self._mean_weight)
        bits = random_bits((2, tries), seed=seed, stream="pixels", step=step, device=self._ends.device)
        row = bits[0] * len(self) >> 32  # scaled, not taken modulo: no pixel is favoured by more than 2^-32
        if self._counting is not None:
            row = self._counting[row]
        weights = gather([self._weights], row)
        kept = bits[1] >> 24 < weights
        row, weights = row[kept], weights[kept]
        again = torch.arange(count, device=row.device) % len(row)
        row, odds = row[again], weights[again] / self._mean_weight
        frame = torch.searchsorted(self._ends, row, right=True)
        starts = torch.cat((self._ends.new_zeros(1), self._ends[:-1]))
        pixel, width = row - starts[frame], self._widths[frame]
        uv = torch.stack((pixel % width, pixel // width), -1) + 0.5
        colours = (gather(self._images, row).int() & 0xFFFF).float() / 65535
        return self._cameras.rays(frame, uv), colours, odds
