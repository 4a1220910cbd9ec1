"""Videos as sources: all frames, decoded once, as 8-bit RGB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polyfield.data.decoding import Malformed, Truncated, decoding
from polyfield.data.kept import kept
from polyfield.data.kinds import fingerprint
from polyfield.data.pictures import box_mean
from polyfield.data.records import brief
from polyfield.errors import PolyfieldError, shown
from polyfield.progress import Progress, silent

_LARGEST = 1 << 32  # pixels of all frames: their number is drawn as 32 bits
_USUAL_RATE = 30.0  # of a video that states none


@dataclass(frozen=True)
class Video:
    """F frames in the order in which they are shown, upright, taken to be evenly spaced in time."""

    name: str  # the file's, without suffix
    values: np.ndarray  # (F, H, W, 3) uint8, sRGB
    fps: float  # frames per second
    found: str  # one sentence: what was detected
    notes: tuple[str, ...]  # warnings, a line each
    sha256: str  # of the file


def open_video(path: str | Path, *, downscale: int = 1, progress: Progress = silent) -> Video:
    """Return the frames of the first video in an MP4, MOV, WebM, MKV or AVI file. Sound is ignored.

    `downscale` K takes K x K box means, cropped at the right and bottom. More than 256 MB of frames are kept in an unlinked
    temporary file that is mapped. `progress` follows the decoding. Raises PolyfieldError, one line with the file's name, if
    the file cannot be read, or holds no video.
    """
    if isinstance(downscale, bool) or not isinstance(downscale, int) or downscale < 1:
        raise PolyfieldError(f"--downscale is {brief(downscale)}; expected a whole number of at least 1")
    path = Path(path)
    label = shown(path)
    digest = fingerprint(path)
    with decoding(label), _opened(path) as (container, stream):
        width, height, count = stream.width, stream.height, _count(container, stream)
        if downscale > min(width, height):
            raise Malformed(
                f"it has {width} x {height} pixels; --downscale {downscale} is larger than one side"
            )
        frames = _frames(container, stream, downscale, count, progress)
        values = kept(frames, label, count * 3 * (height // downscale) * (width // downscale))
        fps = float(stream.average_rate or _USUAL_RATE)
    length, height, width, _ = values.shape
    text = f"{shown(path.name)} is a video: {length} frames, {fps:g} a second, {width * downscale} x {height * downscale}"
    text += f", downscaled to {width} x {height}" if downscale > 1 else ""
    notes = []
    if abs(length - count) > 1:
        notes.append(f"its header says {count} frames, and {length} were decoded; it may be cut short")
    return Video(path.stem, values, fps, f"{text}.", tuple(notes), digest)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """Return a context with an open file and its first video that is not a cover."""
    import av
    from av.stream import Disposition

    try:
        opened = av.open(str(path))
    except av.FFmpegError as error:
        raise ValueError(error.strerror) from None
    with opened as container:
        videos = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not videos:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise Malformed(f"it holds no video, but {kinds}; expected a file with a video stream")
        videos[0].thread_type = "AUTO"
        yield container, videos[0]


def _count(container: Any, stream: Any) -> int:
    """Return the number of frames that the header states or implies, or 0."""
    import av

    if stream.frames:
        return int(stream.frames)
    return round((container.duration or 0) / av.time_base * float(stream.average_rate or 0))


def _frames(container: Any, stream: Any, k: int, count: int, progress: Progress) -> Iterator[np.ndarray]:
    """Yield frames (1, H, W, 3) at 1 / K, upright."""
    import av

    first: tuple[int, ...] = ()
    done = 0
    try:
        for frame in _decoded(container, stream):
            pixels = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            height, width = (side // k * k for side in pixels.shape[:2])
            first = first or pixels.shape
            if pixels.shape != first:
                raise Malformed(
                    f"frame {done} has {pixels.shape[1]} x {pixels.shape[0]} pixels, but the first one has "
                    f"{first[1]} x {first[0]}; encode it again at one size"
                )
            done += 1
            if done * height * width > _LARGEST * k * k:
                raise Malformed(
                    "it has more than 4 billion pixels in total; shorten it, or give a larger --downscale"
                )
            cropped = pixels[:height, :width]
            yield (cropped if k == 1 else box_mean(cropped, k, False))[None]
            progress(min(done / count, 1.0) if count else 0.5)
    except av.FFmpegError as error:
        raise Truncated(f"{error.strerror}, after {done} of {count or 'its'} frames") from None
    if not done:
        raise Malformed("it holds a video without frames; export it again")


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Yield the frames of a stream. Raises Truncated at data that end before their own length."""
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise Truncated("the data of a frame end too early")
        yield from packet.decode()
