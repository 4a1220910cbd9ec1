"""Evaluation on held-out views, by one named protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.fitting.metrics.images import mean, psnr, ssim, to_8_bits
from polyfield.progress import Progress, silent
from polyfield.rendering.radiance.rendering import Rendering
from polyfield.rendering.renderers import RadianceRenderer

# Truth and picture are on the declared background, clipped and rounded to 8 bits. PSNR is of each image over
# the pixels that count, then the mean. SSIM is 11 x 11, sigma 1.5, with pixels that do not count taken from
# the truth.
PROTOCOL = "polyfield-views-1"

# A function of a view's index, truth (H, W, 3), picture (H, W, 3) and rendering.
Show = Callable[[int, Tensor, Tensor, Rendering], None]


def evaluate(
    renderer: RadianceRenderer,
    cameras: Cameras,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray | None],
    *,
    show: Show | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Return PSNR and SSIM of V views: the means and every view's own.

    images (H, W, 4) are uint16 premultiplied RGBA. show is called with every view.
    """
    background = renderer.background
    psnrs, ssims = [], []
    for view, (image, mask) in enumerate(zip(images, masks, strict=True)):
        rendering = renderer.render(cameras, view)
        truth = torch.from_numpy(image.astype(np.float32) / 65535).to(background.device)
        wanted = to_8_bits(truth[..., :3] + (1 - truth[..., 3:]) * background)
        found = to_8_bits(rendering.over(background))
        if mask is not None:
            counts = torch.from_numpy(mask).to(background.device)
            found = torch.where(counts[..., None], found, wanted)
            psnrs.append(psnr(found[counts], wanted[counts]))
        else:
            psnrs.append(psnr(found, wanted))
        ssims.append(ssim(found, wanted) if mask is None or mask.any() else math.nan)
        if show:
            show(view, wanted, found, rendering)
        progress((view + 1) / len(images))
    return {
        "protocol": PROTOCOL,
        "psnr": mean(psnrs),
        "ssim": mean(ssims),
        "views": sum(not math.isnan(value) for value in psnrs),  # views with pixels that count
        "psnr_of_views": psnrs,
    }
