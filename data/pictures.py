"""Pictures as sources, with a file's own channels and depth. Large ones are kept in a temporary file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from polyfield.data import images
from polyfield.data.decoding import decoding
from polyfield.data.formats import exr
from polyfield.data.kept import kept
from polyfield.data.kinds import fingerprint
from polyfield.data.records import brief
from polyfield.errors import PolyfieldError, shown
from polyfield.progress import Progress

STRIP = 16 << 20  # bytes of a file's rows that are copied at once
EXR = b"v/1\x01"

# FFmpeg's formats of deep PNG -> channels.
DEEP = {"gray16be": 1, "ya16be": 2, "rgb48be": 3, "rgba64be": 4}


@dataclass(frozen=True)
class Picture:
    """A picture with its file's own channels and depth, upright."""

    name: str  # the file's, without suffix
    values: np.ndarray  # (H, W, C) uint8 | uint16 | float32; C: grey 1, grey and alpha 2, RGB 3, RGBA 4
    premultiplied: bool  # whether colours are multiplied by alpha: those of EXR are, others are straight
    peak: float  # full scale: 255, 65535; of floats 1, or the largest value if that is more
    found: str  # one sentence: what was detected
    sha256: str  # of the file


@dataclass(frozen=True)
class _Decoded:
    """A decoded picture, with the orientation that it has in its file."""

    shape: tuple[int, int, int]  # (H, W, C)
    dtype: np.dtype
    depth: str  # for people: "8 bits"
    rows: Callable[[int, int], np.ndarray]  # top, bottom -> (bottom - top, W, C)
    turns: int = 0  # quarter turns anticlockwise that set it upright
    mirrored: bool = False  # whether it is then mirrored left to right
    premultiplied: bool = False
    left_out: str = ""  # channels that are not read


def open_picture(path: str | Path, *, downscale: int = 1, progress: Progress | None = None) -> Picture:
    """Return the picture in a PNG, JPEG, WebP, BMP, GIF or EXR file, or the first frame of an animation.

    The file's first bytes decide its format. `downscale` K takes K x K box means, weighted by alpha, cropped
    at the right and bottom. `progress` is called with the share of the rows that are copied. Large
    values are `kept` in a temporary file. Raises PolyfieldError, one line with the file's name, if the file cannot be read.
    """
    if isinstance(downscale, bool) or not isinstance(downscale, int) or downscale < 1:
        raise PolyfieldError(f"--downscale is {brief(downscale)}; expected a whole number of at least 1")
    path = Path(path)
    label = shown(path)
    digest = fingerprint(path)
    with decoding(label), path.open("rb") as file:
        start = file.read(32)
        decoded = _exr(path) if start.startswith(EXR) else _image(file, start, label)
    values, largest = _collect(decoded, downscale, label, progress)
    values = np.rot90(values, decoded.turns)
    peak = max(1.0, largest) if decoded.dtype == np.float32 else float(np.iinfo(decoded.dtype).max)
    return Picture(
        path.stem,
        values[:, ::-1] if decoded.mirrored else values,
        decoded.premultiplied,
        peak,
        _found(path, decoded, downscale),
        digest,
    )


def _found(path: Path, decoded: _Decoded, downscale: int) -> str:
    height, width, channels = decoded.shape
    if decoded.turns % 2:
        width, height = height, width
    text = f"{shown(path.name)} is a picture: {width} x {height}, {channels} channel{'s' * (channels > 1)} of {decoded.depth}"
    text += f" (without {decoded.left_out})" if decoded.left_out else ""
    return text + (f", downscaled to {width // downscale} x {height // downscale}." if downscale > 1 else ".")


def _image(file: IO[bytes], start: bytes, label: str) -> _Decoded:
    """Return a picture that Pillow reads, or a PNG of 16 bits a channel."""
    if start.startswith(images.PNG):
        images.open_image(file, start, label).verify()  # every chunk's checksum, to the very end
    image = images.open_image(file, start, label, "PNG, JPEG, WebP, GIF, BMP or EXR")
    turns, mirrored = images.turn_of(image)
    if images.is_deep(start):
        return _deep(file, image.size, turns, mirrored, label)
    alpha = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA")
    grey = image.mode in ("1", "L", "LA")
    mode = ("LA" if alpha else "L") if grey else ("RGBA" if alpha else "RGB")
    image.load()

    def rows(top: int, bottom: int) -> np.ndarray:
        strip = image.crop((0, top, image.width, bottom))
        strip = strip if strip.mode == mode else strip.convert(mode)
        return np.asarray(strip).reshape(bottom - top, image.width, len(mode))

    shape = (image.height, image.width, len(mode))
    return _Decoded(shape, np.dtype(np.uint8), "8 bits", rows, turns, mirrored)


def _deep(file: IO[bytes], size: tuple[int, int], turns: int, mirrored: bool, label: str) -> _Decoded:
    width, height = size
    if (width + 128) * (height + 128) >= 2**28:  # FFmpeg's own limit, at 8 bytes a pixel
        raise PolyfieldError(
            f"{label} has {width} x {height} pixels of 16 bits; the limit is 260 million; shrink it first"
        )
    file.seek(0)
    frame = images.deep_frame(file.read())
    if (channels := DEEP.get(frame.format.name)) is None:
        raise ValueError(f"pixels of format {frame.format.name} are not read")
    plane = frame.planes[0]
    lines = np.frombuffer(plane, ">u2").reshape(height, plane.line_size // 2)  # type: ignore[call-overload]
    pixels = lines[:, : width * channels].reshape(height, width, channels)

    def rows(top: int, bottom: int) -> np.ndarray:
        return pixels[top:bottom].astype(np.uint16)

    return _Decoded((height, width, channels), np.dtype(np.uint16), "16 bits", rows, turns, mirrored)


def _exr(path: Path) -> _Decoded:
    picture = exr.read(path, images.LARGEST)
    depth = f"{picture.bits}-bit floats" + (f", {picture.window}" if picture.window else "")
    return _Decoded(
        picture.shape,
        np.dtype(np.float32),
        depth,
        picture.rows,
        premultiplied=True,
        left_out=picture.left_out,
    )


def _collect(decoded: _Decoded, k: int, label: str, progress: Progress | None) -> tuple[np.ndarray, float]:
    """Return the values at 1 / K, not yet upright, and the largest of them."""
    height, width, channels = decoded.shape
    if k > min(height, width):
        raise PolyfieldError(
            f"{label} has {width} x {height} pixels; --downscale {k} is larger than one side"
        )
    largest = 0.0

    def strips() -> Iterator[np.ndarray]:
        nonlocal largest
        for strip in _strips(decoded, k, label, progress):
            largest = max(largest, float(strip.max()))
            yield strip

    expected = (height // k) * (width // k) * channels * decoded.dtype.itemsize
    with decoding(label):
        values = kept(strips(), label, expected)
    return values, largest


def _strips(decoded: _Decoded, k: int, label: str, progress: Progress | None) -> Iterator[np.ndarray]:
    """Yield the picture at 1 / K, some rows at a time from the top."""
    height, width, channels = decoded.shape
    top, left = _cropped(decoded, k)
    bottom, right = top + height // k * k, left + width // k * k
    step = max(1, STRIP // (width * channels * decoded.dtype.itemsize * k)) * k
    bad = 0
    for first in range(top, bottom, step):
        last = min(first + step, bottom)
        strip = decoded.rows(first, last)[:, left:right]
        if decoded.dtype == np.float32:
            bad += strip.size - int(np.isfinite(strip).sum())
        yield strip if k == 1 else box_mean(strip, k, decoded.premultiplied)
        if progress is not None:
            progress((last - top) / (bottom - top))
    if bad:
        raise PolyfieldError(f"{label}: {bad} values are NaN or infinite; export it again")


def _cropped(decoded: _Decoded, k: int) -> tuple[int, int]:
    """Return the rows and columns to drop first, so that the upright picture is cropped right and bottom."""
    corners = np.rot90(np.arange(4).reshape(2, 2), decoded.turns)
    # Where the upright picture's top left corner is.
    low, right = divmod(int(corners[0, -1 if decoded.mirrored else 0]), 2)
    return low * (decoded.shape[0] % k), right * (decoded.shape[1] % k)


def box_mean(values: np.ndarray, k: int, premultiplied: bool) -> np.ndarray:
    """Return the K x K box mean of (H, W, C), rounded to nearest. Straight colours are weighted by alpha."""
    alpha = not premultiplied and values.shape[2] in (2, 4)
    total = np.zeros((values.shape[0] // k, values.shape[1] // k, values.shape[2]))
    for i in range(k):
        for j in range(k):
            part = values[i::k, j::k].astype(np.float64)
            if alpha:
                part[..., :-1] *= part[..., -1:]
            total += part
    if alpha:
        total[..., :-1] /= np.maximum(total[..., -1:], 1)
        total[..., -1:] /= k * k
    else:
        total /= k * k
    return (
        total.astype(values.dtype)
        if values.dtype == np.float32
        else np.floor(total + 0.5).astype(values.dtype)
    )
