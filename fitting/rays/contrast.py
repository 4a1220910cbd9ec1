"""Contrast: how often each pixel of a photograph is drawn.

Edges and fine detail are a small part of a picture and have most of its error: in a fitted lego, a hundredth
of the pixels has half of the error. So rays are drawn by contrast, as Soft Mining (Kheradmand et al. 2024)
draws them by error. Contrast depends on the photographs alone and never needs an update.
"""

from __future__ import annotations

import numpy as np

_RADIUS = 2  # of the window of a pixel's contrast, in pixels
_FLOOR = 51  # added to contrasts of 0 to 255
_WEIGHTS = ((np.arange(256) + _FLOOR) * 255 // (255 + _FLOOR)).astype(np.uint8)


def contrast(image: np.ndarray) -> np.ndarray:
    """Return weights (H, W) uint8 from 42 to 255 with which to draw pixels of premultiplied RGBA.

    The image is (H, W, 4) uint16. A weight is the largest difference of any channel within five by five
    pixels, plus a fifth of full scale.
    """
    channels = np.ascontiguousarray((image >> 8).astype(np.uint8).transpose(2, 0, 1))
    edges = (_RADIUS, _RADIUS)
    padded = np.pad(channels, ((0, 0), edges, edges), mode="edge")
    spread = (_window(padded, np.maximum) - _window(padded, np.minimum)).max(0)
    return _WEIGHTS[spread]


def _window(padded: np.ndarray, of: np.ufunc) -> np.ndarray:
    """Return `of`, a minimum or maximum, over a window of the radius along the last two axes."""
    rows = padded[:, 2 * _RADIUS :]
    for shift in range(2 * _RADIUS):
        rows = of(rows, padded[:, shift : shift - 2 * _RADIUS])
    columns = rows[:, :, 2 * _RADIUS :]
    for shift in range(2 * _RADIUS):
        columns = of(columns, rows[:, :, shift : shift - 2 * _RADIUS])
    return columns
