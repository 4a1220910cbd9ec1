"""Clouds whose points belong to parts: pictures, PLY and npz files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from polyfield.errors import PolyfieldError, shown
from polyfield.files.atomic import write_bytes

# Of parts, in order; further parts begin again.
COLOURS = np.array(
    [(31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75), (227, 119, 194),
     (188, 189, 34), (23, 190, 207), (110, 110, 110)],
    np.uint8,
)  # fmt: skip
SUFFIXES = (".ply", ".npz")
_SIZE, _HEAD, _DOT = 260, 24, 2  # pixels
# Seen from above and from one side: rows are right, up and towards the viewer.
_VIEW = np.array([(0.8, 0.6, 0.0), (-0.24, 0.32, 0.9165), (0.55, -0.7333, 0.4)])


def write_cloud(path: Path, points: np.ndarray, parts: np.ndarray, names: Sequence[str]) -> None:
    """Write points (P, 3) and the parts (P,) that they belong to, as a PLY with colours or as an npz.

    The npz has points, parts and names. Raises PolyfieldError for another suffix.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise PolyfieldError(f"--out {shown(path)}: expected a name that ends in {' or '.join(SUFFIXES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".npz":
        buffer = io.BytesIO()
        np.savez(
            buffer,
            points=points.astype(np.float32),
            parts=parts.astype(np.int64),
            names=np.array(names, np.str_),
        )
        write_bytes(path, buffer.getvalue())
        return
    row = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("part", "<i4")])
    rows = np.empty(len(points), row)
    rows["xyz"], rows["rgb"], rows["part"] = points, COLOURS[parts % len(COLOURS)], parts
    properties = (
        [f"float {axis}" for axis in "xyz"] + [f"uchar {c}" for c in ("red", "green", "blue")] + ["int part"]
    )
    comments = [f"comment part {k} {name}" for k, name in enumerate(names) if name.isprintable()]
    lines = ["ply", "format binary_little_endian 1.0", *comments, f"element vertex {len(points)}"]
    head = "\n".join([*lines, *(f"property {each}" for each in properties), "end_header\n"])
    write_bytes(path, head.encode() + rows.tobytes())


def write_parts_picture(path: Path, rows: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> None:
    """Write a PNG with a row for each object: its name, points (P, 3) in [-1, 1]^3, true parts (P,) and those found (P,)."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(13)
    image = Image.new("RGB", (3 * _SIZE, len(rows) * _SIZE + _HEAD), "white")
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(("truth", "found", "wrong points")):
        draw.text(((column + 0.5) * _SIZE, _HEAD / 2), title, "black", font, anchor="mm")
    for k, (name, points, true, found) in enumerate(rows):
        own = np.unique(np.concatenate((true, found)))  # colours begin anew for each object
        red, grey = np.array((214, 39, 40), np.uint8), np.array((205, 205, 205), np.uint8)
        wrong = np.where((true != found)[:, None], red, grey)
        colours = [COLOURS[np.searchsorted(own, parts) % len(COLOURS)] for parts in (true, found)]
        for column, each in enumerate([*colours, wrong]):
            image.paste(Image.fromarray(_scatter(points, each)), (column * _SIZE, _HEAD + k * _SIZE))
        draw.text((6, _HEAD + k * _SIZE + 4), name[:36], "black", font)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _scatter(points: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return a picture (S, S, 3) uint8 of points with colours (P, 3), nearer ones in front."""
    right, up, near = _VIEW @ points.T.astype(np.float64)
    order = np.argsort(near)
    scale = 0.5 * _SIZE / 1.45
    x = (_SIZE / 2 + right[order] * scale).astype(int)
    y = (_SIZE / 2 - up[order] * scale).astype(int)
    dot = np.arange(-_DOT, _DOT + 1)
    across, down = (each.ravel() for each in np.meshgrid(dot, dot))
    disc = across**2 + down**2 <= _DOT**2 + 1
    picture = np.full((_SIZE, _SIZE, 3), 255, np.uint8)
    rows, columns = (y[:, None] + down[disc]).ravel(), (x[:, None] + across[disc]).ravel()
    picture[rows.clip(0, _SIZE - 1), columns.clip(0, _SIZE - 1)] = np.repeat(
        colours[order], disc.sum(), axis=0
    )
    return picture
