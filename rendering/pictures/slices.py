"""Slices: flat pictures of fields, which are images and sections through three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import Signal
from polyfield.rendering.pictures.emission import windowed

_AT_ONCE = 1 << 18  # points
# Colours outside and inside, each at the surface and far from it, in sRGB.
_BLUE = ((0.78, 0.88, 0.97), (0.13, 0.32, 0.60))
_ORANGE = ((0.99, 0.87, 0.70), (0.80, 0.36, 0.06))
_SURFACE = (0.05, 0.05, 0.07)
_BANDS = 16  # contour bands along the picture's longer side
_GROOVE = 0.18  # how much darker the line between two bands is


def picture(
    values: Callable[[Tensor], Tensor],
    width: int,
    height: int,
    tile: int = _AT_ONCE,
    *,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the picture (height, width, C) of a function (N, 2) -> (N, C) on the unit square, y down.

    At pixel (column, row) the function is evaluated at ((column + 0.5) / width, (row + 0.5) / height). `tile`
    points are evaluated at once, row by row.
    """

    def part(start: int) -> Tensor:
        pixel = torch.arange(start, min(start + tile, width * height), device=device)
        return values(pixel_centres(pixel, width, height))

    return _filled(part, width * height, tile).view(height, width, -1)


def pixel_centres(pixel: Tensor, width: int, height: int) -> Tensor:
    """Return points (N, 2) of the unit square at the centres of pixels (N,), numbered row by row."""
    return torch.stack(((pixel % width + 0.5) / width, (pixel // width + 0.5) / height), 1)


def as_rgb(picture: Tensor, *, premultiplied: bool = False) -> Tensor:
    """Return (..., C) as (..., 3) in [0, 1]: grey or colour, on white if a second or fourth channel is alpha.

    Colours may be premultiplied by alpha. For any other C, the first channel or the first three are shown.
    """
    picture = picture.clamp(0, 1)
    if picture.shape[-1] in (2, 4):
        colour, alpha = picture[..., :-1], picture[..., -1:]
        picture = ((colour if premultiplied else colour * alpha) + 1 - alpha).clamp(max=1)
    return picture[..., :3] if picture.shape[-1] >= 3 else picture[..., :1].expand(*picture.shape[:-1], 3)


def slice_points(
    low: Sequence[float], high: Sequence[float], axis: int, position: float, size: int
) -> Tensor:
    """Return the points (H, W, 3) of the pixels of a section through the box low .. high.

    The section is across `axis` (0, 1, 2) at `position`. Pixels are square, `size` of them along the longer
    side. x points to the right, or y if x is the axis. z points upwards, or y if z is the axis. Raises
    PolyfieldError if the axis or the position is outside of its range.
    """
    if axis not in (0, 1, 2):
        raise PolyfieldError(f"slice: axis is {axis}; expected 0, 1 or 2")
    if not low[axis] <= position <= high[axis]:
        raise PolyfieldError(
            f"slice: position is {position:g} along {'xyz'[axis]}; expected {low[axis]:g} to {high[axis]:g}"
        )
    right, up = ((1, 2), (0, 2), (0, 1))[axis]
    sides = high[right] - low[right], high[up] - low[up]
    width, height = (max(round(size * side / max(sides)), 1) for side in sides)
    points = torch.empty(height, width, 3)
    points[..., axis] = position
    points[..., right] = low[right] + (torch.arange(width) + 0.5) / width * sides[0]
    points[..., up] = (high[up] - (torch.arange(height) + 0.5) / height * sides[1])[:, None]
    return points


def slice_picture(
    kind: Signal,
    values: Callable[[Tensor], Tensor],
    points: Tensor,
    *,
    window: tuple[float, float] = (0.0, 1.0),
) -> Tensor:
    """Return the picture (H, W, 3) in [0, 1] of a function of a signal at the points (H, W, 3) of a section.

    Distances (N, 3) -> (N,) are shown as contour bands, blue outside and orange inside, with the surface as a
    dark line. Occupancy logits (N, 3) -> (N,) are shown as probabilities in grey. Colours (N, 3) -> (N, C)
    are shown as grey or RGB, on white if there is an alpha; the values of `window` become 0 and 1.
    """
    height, width, _ = points.shape
    flat = points.reshape(-1, 3)
    found = _filled(lambda start: values(flat[start : start + _AT_ONCE]), len(flat), _AT_ONCE)
    match kind.output:
        case "distance":
            shown = _bands(found, _spacing(points), max(height, width))
        case "occupancy":
            shown = found.sigmoid()[:, None].expand(-1, 3)
        case _:
            shown = as_rgb(windowed(found, window))
    return shown.reshape(height, width, 3)


def _filled(part: Callable[[int], Tensor], count: int, tile: int) -> Tensor:
    """Return one tensor (count, ...) of parts (tile, ...) that begin at 0, tile, and so on.

    The parts are not held twice.
    """
    whole: Tensor | None = None
    with torch.no_grad():
        for start in range(0, count, tile):
            values = part(start)
            if whole is None:
                whole = values.new_empty(count, *values.shape[1:])
            whole[start : start + tile] = values
    assert whole is not None
    return whole


def _spacing(points: Tensor) -> float:
    """Return the width of the square pixels of a section (H, W, 3), or 1 for a single pixel."""
    height, width, _ = points.shape
    along = points[0] if width >= height else points[:, 0]
    return float((along[-1] - along[0]).norm()) / (len(along) - 1) if len(along) > 1 else 1.0


def _bands(distance: Tensor, pixel: float, longest: int) -> Tensor:
    """Return colours (N, 3) of distances (N,).

    Pixels are `pixel` wide, and `longest` of them make the longer side.
    """
    shares = (2 * distance.abs() / (pixel * longest)).clamp(0, 1)[:, None]
    outside, inside = (
        torch.lerp(distance.new_tensor(near), distance.new_tensor(far), shares.sqrt())
        for near, far in (_BLUE, _ORANGE)
    )
    colours = torch.where(distance[:, None] < 0, inside, outside)
    band = pixel * longest / _BANDS
    # Pixels to the nearest border between two bands.
    away = (distance / band - (distance / band).round()).abs() * band / pixel
    colours = colours * (1 - _GROOVE * (1.5 - away).clamp(0, 1))[:, None]
    return torch.lerp(
        colours, colours.new_tensor(_SURFACE), (2 - distance.abs() / pixel).clamp(0, 1)[:, None]
    )
