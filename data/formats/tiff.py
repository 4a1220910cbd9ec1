"""TIFF stacks, read with tifffile: pages along z, with the spacing that ImageJ or OME metadata state."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from polyfield.data.decoding import Malformed, Truncated
from polyfield.data.formats.grid import Grid, Triple, by_x, refuse_huge

_DEPTH = "ZIQ"  # tifffile's letters of pages: depth, a plain sequence, or not known
_CHANNELS = "CS"
_NAMES = {"T": "times", "C": "channels", "S": "samples of a pixel"}


class _Complaints(logging.Handler):
    """Keeps the first message."""

    first = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.first = self.first or record.getMessage()


def read(path: Path) -> Grid:
    """Return the pages of a TIFF as a volume. Raises Malformed and Truncated."""
    import tifffile

    complaints = _Complaints(logging.ERROR)  # tifffile logs damage and continues with the rest
    logger = tifffile.logger()
    logger.addHandler(complaints)
    heard, logger.propagate = logger.propagate, False
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series
            if len(series) != 1:
                found = ", ".join(f"{one.axes} {one.shape}" for one in series[:3])
                raise Malformed(
                    f"it holds {len(series)} series of pages, {found}; expected pages of one size in one stack"
                )
            refuse_huge(series[0].shape, series[0].dtype)
            values = stack(series[0].asarray(), series[0].axes)
            spacing, notes = _spacing(file)
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise Malformed(
                f"it is compressed in a way that is not read ({error}); save it uncompressed"
            ) from None
        raise
    finally:
        logger.removeHandler(complaints)
        logger.propagate = heard
    if complaints.first:
        raise Truncated(" ".join(complaints.first.split())[:100])
    return Grid(by_x(values), spacing, notes=notes)


def stack(values: np.ndarray, axes: str) -> np.ndarray:
    """Return pages with axes of tifffile's letters as (Z, Y, X) or (Z, Y, X, C). Raises Malformed for others."""
    keep = [at for at, size in enumerate(values.shape) if size > 1 or axes[at] in "YX"]
    values, axes = values.reshape([values.shape[at] for at in keep]), "".join(axes[at] for at in keep)
    depth = [letter for letter in axes if letter in _DEPTH]
    channels = [letter for letter in axes if letter in _CHANNELS]
    if not depth and not set(axes) - set("YXS"):
        raise Malformed(
            "it is a TIFF with a single page; give a stack of pages as a volume, or a picture as PNG, JPEG, WebP or EXR"
        )
    others = [letter for letter in axes if letter not in "YX" + _DEPTH + _CHANNELS]
    if len(depth) != 1 or len(channels) > 1 or others:
        names = ", ".join(
            f"{_NAMES.get(letter, letter)} ({size})"
            for letter, size in zip(axes, values.shape)
            if letter not in "YX"
        )
        raise Malformed(
            f"its pages run along {names}; expected depth alone, with at most 4 channels: save one time point, or, if the"
            " pages are slices, save them with axis Z"
        )
    return values.transpose([axes.index(letter) for letter in (*depth, "Y", "X", *channels)])


def _spacing(file: Any) -> tuple[Triple, tuple[str, ...]]:
    """Return the spacing along x, y and z, and what was not taken."""
    page = file.pages[0]
    across = [_resolution(page, name) for name in ("XResolution", "YResolution")]
    if file.is_ome and (found := _ome(file.ome_metadata)):
        return found
    if file.is_imagej:
        steps = [1 / value if value else 1.0 for value in across]
        depth = (file.imagej_metadata or {}).get("spacing", 1.0)
        taken = (steps[0], steps[1], abs(float(depth)))
        if not _positive(taken):
            return (1.0, 1.0, 1.0), ("Its spacing is not above 0 and is ignored: voxels have size 1.",)
        return taken, ()
    if all(across) and across != [1.0, 1.0] and page.tags.get("ResolutionUnit") not in (None, 1):
        return (1.0, 1.0, 1.0), (
            "Its resolution gives no spacing along z and is ignored: voxels have size 1.",
        )
    return (1.0, 1.0, 1.0), ()


def _resolution(page: Any, name: str) -> float:
    """Return pixels per unit, 0 if they are not stated."""
    tag = page.tags.get(name)
    try:
        above, below = tag.value if tag is not None else (0, 1)
        return above / below if below else 0.0
    except (TypeError, ValueError):
        return 0.0


def _ome(text: str) -> tuple[Triple, tuple[str, ...]] | None:
    """Return the physical size of OME's first pixels, or None if it states none."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return (1.0, 1.0, 1.0), ("Its OME metadata are not valid XML and are not read.",)
    pixels = next((node.attrib for node in root.iter() if node.tag.rpartition("}")[2] == "Pixels"), {})
    sizes = [pixels.get(f"PhysicalSize{axis}") for axis in "XYZ"]
    if not any(sizes):
        return None
    units = {pixels.get(f"PhysicalSize{axis}Unit", "um") for axis, size in zip("XYZ", sizes) if size}
    try:
        x, y, z = (float(size) for size in sizes if size)
    except ValueError:
        return (1.0, 1.0, 1.0), (
            "Its OME metadata do not state all three physical sizes. They are ignored: voxels have size 1.",
        )
    if len(units) > 1 or not _positive((x, y, z)):
        return (1.0, 1.0, 1.0), (
            "Its OME physical sizes differ in unit or are not above 0. They are ignored: voxels have size 1.",
        )
    return (x, y, z), ()


def _positive(spacing: tuple[float, ...]) -> bool:
    return all(0 < step < float("inf") for step in spacing)
