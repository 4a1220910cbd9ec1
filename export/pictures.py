"""Pictures and videos, written atomically."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.files.atomic import write_bytes

_GAP = 4  # pixels between the pictures of a sheet


def as_8_bits(image: Tensor) -> np.ndarray:
    """Return (H, W, 3) uint8 of a picture (H, W, 3) in [0, 1]."""
    return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()


def sheet(rows: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return rows of pictures (h, w, 3) as one picture (H, W, 3) on white."""
    height = max(image.shape[0] for row in rows for image in row) + _GAP
    width = max(image.shape[1] for row in rows for image in row) + _GAP
    page = rows[0][0].new_ones(height * len(rows) - _GAP, width * max(map(len, rows)) - _GAP, 3)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            h, w = image.shape[:2]
            page[i * height : i * height + h, j * width : j * width + w] = image
    return page


def write_png(path: Path, image: Tensor) -> None:
    """Write (H, W, 3) in [0, 1] as an 8-bit PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(as_8_bits(image)).save(buffer, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, buffer.getvalue())


def write_video(path: Path, frames: Iterable[Tensor], *, fps: float) -> None:
    """Write pictures (H, W, 3) in [0, 1], all of one size, as an H.264 video in an MP4 file.

    An odd size gets one more row or column, because the codec needs even sizes. Raises PolyfieldError if the
    frame rate or a frame's size is not supported, or the system refuses. No file is then left.
    """
    import av

    if not 0.1 <= fps <= 1000:
        raise PolyfieldError(
            f"{path}: a video of {fps:g} frames per second cannot be written; expected 0.1 to 1000"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with av.open(str(temp), "w", format="mp4") as container:
            rate = Fraction(fps).limit_denominator(1001)
            stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
            stream.pix_fmt = "yuv420p"
            for number, image in enumerate(frames):
                picture = _even(as_8_bits(image))
                if number == 0:
                    stream.height, stream.width = picture.shape[:2]
                elif picture.shape[:2] != (stream.height, stream.width):
                    raise PolyfieldError(
                        f"{path}: frame {number} differs in size from the first; "
                        "give --out a name without a dot for a folder of PNG files"
                    )
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        os.replace(temp, path)
    except (OSError, av.FFmpegError) as error:
        raise PolyfieldError(f"{path}: the video could not be written ({error.strerror or error})") from None
    finally:
        temp.unlink(missing_ok=True)


def _even(picture: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) with its last row or column repeated where their number is odd."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
