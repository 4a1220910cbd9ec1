"""Image metrics, as in published tables. Images are (H, W, C) in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of MS-SSIM, from the finest scale on
_WINDOW = 11
_SIGMA = 1.5
_BAND_ROWS = 256  # rows of windows that are taken at a time, which bounds the memory


def to_8_bits(image: Tensor) -> Tensor:
    """Return an image clipped to [0, 1] and rounded to the values of an 8-bit file."""
    return (image.clamp(0, 1) * 255).round() / 255


def psnr(found: Tensor, wanted: Tensor, peak: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB: -10 log10 of the mean squared error over peak^2.

    It is infinite for equal images.
    """
    mse = float((found.double() - wanted.double()).square().mean())
    return -10 * math.log10(mse / peak**2) if mse else math.inf


def psnr_of(mse: float) -> float:
    """Return the PSNR in dB of a mean squared error, for values with a peak of 1."""
    return -10 * math.log10(mse) if mse else math.inf


def ssim(found: Tensor, wanted: Tensor) -> float:
    """Return the structural similarity (Wang et al. 2004).

    The window is a Gaussian of 11 x 11 and sigma 1.5, the data range is 1, and borders are left out. The
    result is nan for images that are smaller than the window.
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


def ms_ssim(found: Tensor, wanted: Tensor) -> float:
    """Return the multi-scale structural similarity of images (H, W, C) with data range 1.

    As in Wang, Simoncelli, Bovik 2003, equation 7. For each channel it is prod_j mean(contrast-structure)_j ^
    w_j over five scales, with the whole SSIM at the coarsest. The result is the mean over channels. Windows
    are as in `ssim`. Each next scale is the mean of 2 x 2 pixels, without an odd last row or column. Negative
    means count as 0. The result is nan if the smaller side is below 11 * 2^4 = 176 pixels.
    """
    if min(found.shape[:2]) < _WINDOW << (len(_SCALE_WEIGHTS) - 1):
        return math.nan
    channels = [
        _ms_ssim_of_planes(a.double(), b.double()) for a, b in zip(found.unbind(-1), wanted.unbind(-1))
    ]
    return math.fsum(channels) / len(channels)


def _ms_ssim_of_planes(a: Tensor, b: Tensor) -> float:
    product, coarsest = 1.0, len(_SCALE_WEIGHTS) - 1
    for scale, weight in enumerate(_SCALE_WEIGHTS):
        similarity, contrast_structure = mean_similarities(a, b)
        product *= max(similarity if scale == coarsest else contrast_structure, 0.0) ** weight
        a, b = avg_pool2d(a[None], 2)[0], avg_pool2d(b[None], 2)[0]
    return product


def mean_similarities(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Return the mean SSIM of two planes (H, W) in [0, 1], and the mean of its contrast-structure factor.

    Means are over all whole windows.
    """
    c1, c2 = 0.01**2, 0.03**2
    rows = len(a) - _WINDOW + 1
    similarity = contrast_structure = 0.0
    for top in range(0, rows, _BAND_ROWS):
        band = slice(top, min(top + _BAND_ROWS, rows) + _WINDOW - 1)
        x, y = a[band], b[band]
        mean_x, mean_y = _window_means(x), _window_means(y)
        variances = _window_means(x * x + y * y) - mean_x**2 - mean_y**2
        covariance = _window_means(x * y) - mean_x * mean_y
        factor = (2 * covariance + c2) / (variances + c2)
        contrast_structure += float(factor.sum())
        similarity += float((factor * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)).sum())
    windows = rows * (a.shape[1] - _WINDOW + 1)
    return similarity / windows, contrast_structure / windows


def _window_means(plane: Tensor) -> Tensor:
    """Return the means (H - 10, W - 10) of a plane (H, W) under the Gaussian window."""
    line = torch.exp(-((torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2) ** 2) / (2 * _SIGMA**2))
    for axis in (0, 1):
        size = plane.shape[axis] - _WINDOW + 1
        total = torch.zeros_like(plane.narrow(axis, 0, size))
        for shift, weight in enumerate((line / line.sum()).tolist()):
            total.add_(plane.narrow(axis, shift, size), alpha=weight)
        plane = total
    return plane


def mean(values: list[float]) -> float:
    """Return the mean of the values that are not nan, infinity included, or nan if there are none."""
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan
