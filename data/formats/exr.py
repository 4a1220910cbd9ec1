"""OpenEXR pictures of one part: premultiplied colour or luminance, over the display window.

Pixels are stored for the data window alone. Around it the picture is 0; beyond the display window it is cropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyfield.data.decoding import Malformed, unheard


@dataclass(frozen=True)
class Exr:
    """A picture, its values still in the file's type."""

    shape: tuple[int, int, int]  # (H, W, C) of the display window
    bits: int  # of a float
    rows: Callable[[int, int], np.ndarray]  # top, bottom -> (bottom - top, W, C) float32
    left_out: str  # channels that are not read
    window: str  # the data window, where it is another than the display window


def read(path: Path, most_pixels: int) -> Exr:
    """Return the picture in an EXR file of at most `most_pixels`. Raises Malformed."""
    import OpenEXR

    with unheard():
        head = OpenEXR.File(str(path), header_only=True)
        if len(head.parts) != 1:
            raise Malformed(f"it has {len(head.parts)} parts; expected one: export a single part")
        (left, top), (width, height) = _window(head.header()["dataWindow"])
        (shown_left, shown_top), shown = _window(head.header()["displayWindow"])
        for wide, high in ((width, height), shown):
            if wide * high > most_pixels:
                raise Malformed(
                    f"it has {wide} x {high} pixels; the limit is {most_pixels // 10**6} million; shrink it first"
                )
        file = OpenEXR.File(str(path))
        if not file.parts:
            raise ValueError("no pixels were read")
        channels = {name: channel.pixels for name, channel in file.channels().items()}
    taken = _taken(channels)
    pixels = [values.reshape(height, width, -1) for values in taken.values()]
    count = sum(values.shape[-1] for values in pixels)
    # The data window within the display window, in pixels of the latter.
    first, beside = top - shown_top, left - shown_left
    begin, end = max(beside, 0), min(beside + width, shown[0])
    if begin >= end or max(first, 0) >= min(first + height, shown[1]):
        raise Malformed("its data window lies wholly outside its display window; expected the two to overlap")

    def rows(start: int, stop: int) -> np.ndarray:
        strip = np.zeros((stop - start, shown[0], count), np.float32)
        low, high = max(start, first), min(stop, first + height)
        if low < high:
            inner = [values[low - first : high - first, begin - beside : end - beside] for values in pixels]
            np.concatenate(
                inner, axis=-1, out=strip[low - start : high - start, begin:end], casting="same_kind"
            )
        return strip

    differ = (left, top, width, height) != (shown_left, shown_top, *shown)
    window = f"data window {width} x {height} at ({beside}, {first})" if differ else ""
    left_out = ", ".join(sorted(set(channels) - set(taken)))
    return Exr((shown[1], shown[0], count), 8 * pixels[0].itemsize, rows, left_out, window)


def _window(box: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the left and top corner, and the width and height, of a window that includes both its corners."""
    (left, top), (right, bottom) = ((int(corner[0]), int(corner[1])) for corner in box)
    if right < left or bottom < top:
        raise Malformed(
            f"a window in its header goes from ({left}, {top}) to ({right}, {bottom}); expected at least one pixel"
        )
    return (left, top), (right - left + 1, bottom - top + 1)


def _taken(channels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the channels of the picture: colour, or luminance if there is no other channel but alpha."""
    colour = next((name for name in ("RGBA", "RGB") if name in channels), None)
    names = [colour] if colour else ["Y", "A"] if set(channels) == {"Y", "A"} else ["Y"]
    if not set(names) <= set(channels) or (not colour and not set(channels) <= {"Y", "A"}):
        found = ", ".join(sorted(channels)) or "none"
        raise Malformed(
            f"its channels are {found:.200}; expected R, G and B, or Y alone, each with or without A"
        )
    for name in names:
        if channels[name].dtype not in (np.float16, np.float32):
            raise Malformed(f"channel {name} is of type {channels[name].dtype}; expected floats")
    return {name: channels[name] for name in names}
