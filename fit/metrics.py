"""Image metrics as the field's tables use them. Images are (H, W, 3) in [0, 1]."""

from __future__ import annotations

import math

from torch import Tensor


def to_8_bits(image: Tensor) -> Tensor:
    """Clip to [0, 1] and round to what an 8-bit file would hold."""
    return (image.clamp(0, 1) * 255).round() / 255


def psnr(found: Tensor, wanted: Tensor) -> float:
    """Peak signal-to-noise ratio in dB: -10 log10 of the mean squared error. Equal images have infinity."""
    mse = float((found.double() - wanted.double()).square().mean())
    return -10 * math.log10(mse) if mse else math.inf


def ssim(found: Tensor, wanted: Tensor) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 x 11 and sigma 1.5, data range 1, without borders.

    nan for images that are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if min(found.shape[:2]) < 11:
        return math.nan
    return float(
        structural_similarity(
            found.double().cpu().numpy(),
            wanted.double().cpu().numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=-1,
        )
    )


def mean(values: list[float]) -> float:
    """Of those that are numbers, infinity included; nan if there is none."""
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
