"""Volumes as sources: grids of values indexed by x, y, z, from npy, npz, NIfTI and TIFF stacks."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import numpy as np

from polyfield.data.images import decoding
from polyfield.data.kinds import fingerprint, main_array, read_array, suffix_of
from polyfield.errors import PolyfieldError, shown

SUFFIXES = (".npy", ".npz", ".nii", ".nii.gz", ".tif", ".tiff")
LARGEST = 8 << 30  # bytes in memory: 2048^3 voxels of 8 bits
KEPT = (np.uint8, np.uint16, np.int16, np.float32)  # other numbers become float32

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Volume:
    """Voxels along the axes of the source's world.

    Voxel (i, j, k) is the box from origin + (i, j, k) * spacing.
    """

    name: str  # the file's, without suffix
    values: np.ndarray  # (X, Y, Z, C) uint8 | uint16 | int16 | float32, not always contiguous
    spacing: Triple  # of voxels, in the file's unit
    origin: Triple  # the low corner of the grid and of its first voxel, not that voxel's centre
    found: str  # one sentence: what was detected
    sha256: str  # of the file
    notes: tuple[str, ...]  # warnings, a line each


@dataclass(frozen=True)
class _Grid:
    """A grid as read, not yet checked."""

    values: np.ndarray  # (X, Y, Z) or (X, Y, Z, C)
    spacing: Triple = (1.0, 1.0, 1.0)
    origin: Triple = (0.0, 0.0, 0.0)
    notes: tuple[str, ...] = ()


def open_volume(path: str | Path) -> Volume:
    """Return the volume in an npy, npz or NIfTI file, or a TIFF of several pages.

    npy, npz and TIFF are stacks of slices, (Z, Y, X) or (Z, Y, X, C), C <= 4, with voxels of size 1. NIfTI is
    (X, Y, Z) with the file's spacing. It has the file's origin too if its axes are the world's. Raises
    PolyfieldError, one line with the file's name, if the file is damaged, flat, has values that are not
    finite, or has other axes.
    """
    path = Path(path)
    label = shown(path)
    suffix = suffix_of(path, "volume", SUFFIXES)
    digest = fingerprint(path)
    with decoding(label):
        if suffix in (".nii", ".nii.gz"):
            grid = _read_nifti(path, label)
        elif suffix in (".tif", ".tiff"):
            grid = _Grid(_by_x(_read_tiff(path, label), label))
        else:
            head = main_array(path)
            _refuse_axes(head.shape, label)  # before values are read, as they may be large
            _refuse_huge(head.shape, head.dtype, label)
            grid = _Grid(_by_x(read_array(path, head), label))
    values, notes = _numbers(_with_channels(grid.values, label), label)
    size = " x ".join(str(n) for n in values.shape[:3])
    channels = f"{values.shape[3]} channel{'s' * (values.shape[3] > 1)} of {values.dtype}"
    spacing = (
        ", spacing " + " x ".join(f"{step:g}" for step in grid.spacing) if set(grid.spacing) != {1.0} else ""
    )
    found = f"{shown(path.name)} is a volume: {size} voxels, {channels}{spacing}."
    notes = tuple(f"{shown(path.name)}: {note}" for note in grid.notes + notes)
    return Volume(
        path.name.removesuffix(path.name[-len(suffix) :]),
        values,
        grid.spacing,
        grid.origin,
        found,
        digest,
        notes,
    )


def _refuse_axes(shape: tuple[int, ...], label: str) -> None:
    if len(shape) not in (3, 4) or (len(shape) == 4 and not 1 <= shape[3] <= 4):
        raise PolyfieldError(
            f"{label}: has shape {shape}; expected three axes, or four of which the last has 1 to 4 channels"
        )


def _refuse_huge(shape: tuple[int, ...], dtype: np.dtype, label: str) -> None:
    if (size := math.prod(shape) * dtype.itemsize) > LARGEST:
        raise PolyfieldError(
            f"{label}: has shape {shape}, {size / 1e9:.1f} GB; the limit is {LARGEST / 1e9:.1f} GB; shrink it first"
        )


def _by_x(stack: np.ndarray, label: str) -> np.ndarray:
    """Return a view of a stack of slices (Z, Y, X[, C]) as (X, Y, Z[, C])."""
    _refuse_axes(stack.shape, label)
    return stack.transpose(2, 1, 0, *range(3, stack.ndim))


def _with_channels(values: np.ndarray, label: str) -> np.ndarray:
    _refuse_axes(values.shape, label)
    if min(values.shape[:3]) < 2:
        raise PolyfieldError(f"{label}: has {values.shape[:3]} voxels; expected at least 2 along each axis")
    return values if values.ndim == 4 else values[..., None]


def _numbers(values: np.ndarray, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the values in one of the types KEPT, in the machine's byte order, and notes on a conversion."""
    found = values.dtype
    if found.kind not in "biuf":
        raise PolyfieldError(
            f"{label}: holds values of type {found}; expected booleans, integers or real floats"
        )
    kept = found.newbyteorder("=") in KEPT
    with np.errstate(over="ignore"):  # becomes inf, which is refused
        values = values.astype(found.newbyteorder("=") if kept else np.float32, copy=False)
    if bad := sum(piece.size - int(np.isfinite(piece).sum()) for piece in values):
        raise PolyfieldError(f"{label}: {bad} values are NaN or infinite in float32; replace them first")
    return values, () if kept else (f"values of type {found} are taken as float32.",)


def _read_nifti(path: Path, label: str) -> _Grid:
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
    except ImportError as error:
        raise PolyfieldError(
            f"{label}: NIfTI is read with nibabel, which cannot be loaded ({error}); pip install nibabel"
        ) from None
    try:
        image: Any = nibabel.load(path, mmap=False)
        _refuse_huge(image.shape, np.dtype(np.float64), label)  # the size of scaled values
        values = np.asanyarray(image.dataobj)
    except (ImageFileError, HeaderDataError) as error:
        raise ValueError(str(error)) from None
    zooms, affine = np.asarray(image.header.get_zooms()[:3], np.float64), np.asarray(image.affine, np.float64)
    if zooms.shape != (3,) or not (np.isfinite(zooms).all() and (zooms > 0).all()):
        raise ValueError(f"voxels of size {zooms.tolist()}")
    spacing = (float(zooms[0]), float(zooms[1]), float(zooms[2]))
    steps = affine[:3, :3].diagonal()
    if (
        not np.isfinite(affine).all()
        or (affine[:3, :3] != np.diag(steps)).any()
        or not np.allclose(abs(steps), zooms)
    ):
        return _Grid(
            values, spacing, notes=("its axes are not the world's; it is placed at 0 along its own.",)
        )
    low = affine[:3, 3].copy()  # the centre of the voxel that is lowest in the world
    for axis in np.flatnonzero(steps < 0):  # the file counts against the world's axis
        values = np.flip(values, int(axis))
        low[axis] += steps[axis] * (values.shape[axis] - 1)
    low -= zooms / 2
    return _Grid(values, spacing, (float(low[0]), float(low[1]), float(low[2])))


def _read_tiff(path: Path, label: str) -> np.ndarray:
    """Return the pages of a TIFF, (Z, Y, X) or (Z, Y, X, C)."""
    import tifffile

    complaints = BufferingHandler(1000)  # tifffile logs damage and continues with the rest
    complaints.setLevel(logging.ERROR)
    tifffile.logger().addHandler(complaints)
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series
            _refuse_huge(series[0].shape, series[0].dtype, label)
            values = series[0].asarray()
    except ValueError as error:
        if "imagecodecs" in str(error):
            raise PolyfieldError(
                f"{label}: is compressed in a way that is not read ({error}); save it uncompressed"
            ) from None
        raise
    finally:
        tifffile.logger().removeHandler(complaints)
    if complaints.buffer:
        raise ValueError(complaints.buffer[0].getMessage())
    axes = series[0].axes
    if axes in ("YX", "YXS", "SYX"):
        raise PolyfieldError(
            f"{label}: is a TIFF with a single page; give a stack of pages as a volume, or a picture as PNG, JPEG, WebP or EXR"
        )
    if len(series) != 1 or axes[1:] not in ("YX", "YXS"):
        found = ", ".join(f"{one.axes} {one.shape}" for one in series[:3])
        raise PolyfieldError(f"{label}: holds {found}; expected pages of one size in one stack")
    return values
