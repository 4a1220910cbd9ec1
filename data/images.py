"""Pictures from files: premultiplied sRGB with alpha at 16 bits a channel, whatever the file's own format.

Pillow decodes every kind but PNG of 16 bits a channel, which it would cut to 8. PyAV decodes those.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from polyfield.data.decoding import decoding
from polyfield.errors import PolyfieldError, shown

if TYPE_CHECKING:
    from av import VideoFrame
    from PIL.ImageFile import ImageFile

LARGEST = 400_000_000  # pixels: 3.2 GB once decoded
PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112  # the EXIF tag; 1 is upright

# EXIF orientation -> (quarter turns anticlockwise, then mirrored left to right)
TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
UPRIGHT = (0, False)
FORMATS = "PNG, JPEG, WebP, GIF or BMP"  # for messages


def read_image(path: Path) -> np.ndarray:
    """Return a picture as (H, W, 4) uint16 = round(65535 * premultiplied sRGB RGBA).

    It is turned upright by its EXIF orientation.
    Reads PNG, JPEG, WebP, GIF and BMP, and the first frame of an animation. Raises PolyfieldError with the
    file's name.
    """
    return decode(read_bytes(path, shown(path)), shown(path))


def read_mask(path: Path) -> np.ndarray:
    """Return a mask as (H, W) bool: True where the picture is not black."""
    return read_image(path)[..., :3].max(axis=-1) > 0


def read_size(path: Path, label: str) -> tuple[int, int]:
    """Return the upright picture's width and height, from the file's header alone.

    `label` names it in errors.
    """
    (width, height), turns, _ = read_header(path, label)
    return (height, width) if turns % 2 else (width, height)


def read_header(path: Path, label: str) -> tuple[tuple[int, int], int, bool]:
    """Return the stored width and height, and the quarter turns and the mirroring that set the picture upright."""
    with decoding(label), path.open("rb") as file:
        image = open_image(file, file.read(16), label)
        return image.size, *turn_of(image)


def read_bytes(path: Path, label: str) -> bytes:
    """Return a file's bytes. `label` names it in errors."""
    with decoding(label):
        return path.read_bytes()


def decode(data: bytes, label: str, *, upright: bool = True) -> np.ndarray:
    """Return the picture in a file's bytes, as `read_image` does, or as it is stored. `label` names it in errors."""
    with decoding(label):
        image = open_image(io.BytesIO(data), data[:16], label)
        turns, mirrored = turn_of(image) if upright else UPRIGHT
        if data.startswith(PNG):
            open_image(io.BytesIO(data), data[:16], label).verify()  # every chunk's checksum, to the very end
        if is_deep(data):
            pixels = _premultiply_16(deep_frame(data).to_ndarray(format="rgba64le"))
        else:
            pixels = _premultiply_8(image)
    pixels = np.rot90(pixels, turns)
    return np.ascontiguousarray(pixels[:, ::-1] if mirrored else pixels)


def downscale(image: np.ndarray, k: int) -> np.ndarray:
    """Return the K x K box mean of a picture (H, W, C) uint16.

    The picture is cropped at the right and bottom to a multiple of K.
    """
    if k == 1:
        return image
    height, width = image.shape[0] // k, image.shape[1] // k
    kind: type[np.unsignedinteger] = np.uint32 if k <= 256 else np.uint64  # 65535 * 256^2 fits into 32 bits
    rows = np.zeros((height, width * k, image.shape[2]), kind)
    for i in range(k):
        rows += image[i : height * k : k, : width * k]
    total = np.zeros((height, width, image.shape[2]), kind)
    for i in range(k):
        total += rows[:, i::k]
    total += k * k // 2
    total //= k * k
    return total.astype(np.uint16)


def downscale_mask(mask: np.ndarray, k: int) -> np.ndarray:
    """Return a mask (H, W) bool at 1 / K: a pixel counts if all K x K of its source pixels count."""
    height, width = mask.shape[0] // k, mask.shape[1] // k
    return mask[: height * k, : width * k].reshape(height, k, width, k).min(axis=(1, 3))


def open_image(file: IO[bytes], start: bytes, label: str, formats: str = FORMATS) -> ImageFile:
    """Return the picture, not yet decoded. `start` holds the file's first bytes.

    `formats` are those that the caller reads, for errors.
    Pillow's classes are called directly because `Image.open` refuses more than 179 megapixels.
    """
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
    from PIL.Image import DecompressionBombError

    if not start:
        raise PolyfieldError(f"{label} is empty (0 bytes); expected a picture")
    file.seek(0)
    kind: type[ImageFile]
    if start.startswith(PNG):
        kind = PngImagePlugin.PngImageFile
    elif start.startswith(b"\xff\xd8"):
        kind = JpegImagePlugin.JpegImageFile
    elif start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        kind = WebPImagePlugin.WebPImageFile
    elif start.startswith((b"GIF87a", b"GIF89a")):
        kind = GifImagePlugin.GifImageFile
    elif start.startswith(b"BM"):
        kind = BmpImagePlugin.BmpImageFile
    else:
        raise PolyfieldError(f"{label} is not a picture: it starts with {start!r}; expected {formats}")
    try:
        image = kind(file)
    except DecompressionBombError:
        raise PolyfieldError(f"{label} has too many pixels in one frame; shrink it first") from None
    width, height = image.size
    if width * height > LARGEST:
        raise PolyfieldError(
            f"{label} has {width} x {height} pixels; the limit is {LARGEST // 10**6} million; shrink it first"
        )
    return image


def turn_of(image: ImageFile) -> tuple[int, bool]:
    """Return the quarter turns, and then the mirroring, that set a picture upright, by its EXIF orientation.

    Only metadata before the pixels is read, because Pillow would decode a PNG to read the rest.
    """
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & set(image.info):
        return UPRIGHT
    return TURNS.get(image.getexif().get(ORIENTATION, 1), UPRIGHT)


def is_deep(start: bytes) -> bool:
    """Return whether a file with these first bytes (25 or more) is a PNG of 16 bits a channel."""
    return start.startswith(PNG) and start[24] == 16


def deep_frame(data: bytes) -> VideoFrame:
    """Return a PNG of 16 bits a channel, decoded, in FFmpeg's own format.

    Grey images and colour keys are supported.
    """
    import av

    try:
        with av.open(io.BytesIO(data), "r") as container:
            return next(container.decode(video=0))
    except (av.FFmpegError, StopIteration) as error:
        raise ValueError(str(error) or "no pixels") from None


def _premultiply_8(image: ImageFile) -> np.ndarray:
    """Return premultiplied 16 bits of straight alpha of 8 bits: round(65535 * c/255 * a/255), exact."""
    transparent = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA")
    mode = "RGBA" if transparent else "RGB"
    colours = np.asarray(image if image.mode == mode else image.convert(mode))
    result = np.empty((*colours.shape[:2], 4), np.uint16)
    if not transparent:
        np.multiply(colours, np.uint16(257), out=result[..., :3])
        result[..., 3] = 65535
        return result
    alpha = colours[..., 3:].astype(np.uint32) * np.uint32(257)
    result[..., :3] = (colours[..., :3] * alpha + np.uint32(127)) // np.uint32(255)
    result[..., 3:] = alpha
    return result


def _premultiply_16(colours: np.ndarray) -> np.ndarray:
    """Return premultiplied (H, W, 4) of straight alpha (H, W, 4) uint16: round(c * a / 65535).

    Products are in 32 bits, into which 65535^2 fits.
    """
    alpha = colours[..., 3:].astype(np.uint32)
    result = colours.copy()
    result[..., :3] = (colours[..., :3] * alpha + np.uint32(32767)) // np.uint32(65535)
    return result
