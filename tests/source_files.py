"""Files of sources as tests make them, and the one line with which a file is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import trimesh

from polyfield.data import images
from polyfield.data.clouds import open_cloud
from polyfield.data.meshes import open_mesh
from polyfield.data.pictures import open_picture
from polyfield.data.videos import open_video
from polyfield.data.volumes import open_volume
from polyfield.errors import PolyfieldError

DATA = Path(__file__).parents[2] / "shared" / "data"
OPEN = {
    "picture": open_picture,
    "video": open_video,
    "mesh": open_mesh,
    "cloud": open_cloud,
    "volume": open_volume,
}
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG colour types


def noise(*shape: int, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def png(pixels: np.ndarray, colour_type: int, *extra: bytes) -> bytes:
    """A PNG of 8 or 16 bits, written out by hand: Pillow cannot write 16-bit colour."""
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", *pixels.shape[1::-1], 8 * pixels.itemsize, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return images.PNG + b"".join(parts)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(path: Path, kind: str, **options) -> str:
    """The one line that refuses this file, without its folder."""
    with pytest.raises(PolyfieldError) as caught:
        OPEN[kind](path, **options)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400 and text.startswith(str(path))
    return text.removeprefix(str(path.parent) + "/")


def film(frames: np.ndarray, kind: str = "mp4", *, sound: bool = False) -> bytes:
    """A video file of frames (F, H, W, 3) uint8, at 25 a second, and perhaps of sound."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        picture = container.add_stream("libx264", rate=25, options={"crf": "10"}) if len(frames) else None
        noises = container.add_stream("aac", rate=48000) if sound else None
        if picture is not None:
            picture.height, picture.width = frames.shape[1:3]
            picture.pix_fmt = "yuv444p"
            for frame in frames:
                container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(picture.encode())
        if noises is not None:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
            )
            silence.sample_rate = 48000
            container.mux(noises.encode(silence))
            container.mux(noises.encode())
    return buffer.getvalue()


def export(mesh: trimesh.Trimesh | trimesh.Scene | trimesh.PointCloud, kind: str, **options) -> bytes:
    data = mesh.export(file_type=kind, **options)
    return data if isinstance(data, bytes) else data.encode()


PLY = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"


def real(name: str) -> Path:
    if not (DATA / name).exists():
        pytest.skip(f"evaluation data ../shared/data/{name} is not here")
    return DATA / name
