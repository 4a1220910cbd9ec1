"""Volumes as sources: grids of values indexed by x, y, z, from npy, npz, NIfTI and TIFF stacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polyfield.data.decoding import decoding
from polyfield.data.formats import nifti, tiff
from polyfield.data.formats.grid import Grid, Triple, by_x, refuse_axes, refuse_huge
from polyfield.data.kinds import fingerprint, main_array, read_array, suffix_of
from polyfield.errors import PolyfieldError, shown

SUFFIXES = (".npy", ".npz", ".nii", ".nii.gz", ".tif", ".tiff")
KEPT = (np.uint8, np.uint16, np.int16, np.float32)  # other numbers become float32


@dataclass(frozen=True)
class Volume:
    """Voxels in the source's world.

    Voxel (i, j, k) is the box from origin + R ((i, j, k) * spacing), where R is the rotation.
    """

    name: str  # the file's, without suffix
    values: np.ndarray  # (X, Y, Z, C) uint8 | uint16 | int16 | float32, not always contiguous
    spacing: Triple  # of voxels, in the file's unit
    origin: Triple  # the low corner of the grid and of its first voxel, not that voxel's centre
    found: str  # one sentence: what was detected
    sha256: str  # of the file
    notes: tuple[str, ...]  # warnings, a line each
    rotation: tuple[Triple, Triple, Triple] | None = (
        None  # columns are the grid's axes in the world; None is none
    )


def open_volume(path: str | Path) -> Volume:
    """Return the volume in an npy, npz or NIfTI file, or a TIFF of several pages.

    npy, npz and TIFF are stacks of slices, (Z, Y, X) or (Z, Y, X, C), C <= 4. Voxels have size 1, or the spacing that
    ImageJ or OME state in a TIFF. NIfTI is (X, Y, Z) with the file's spacing, origin and rotation. Raises
    PolyfieldError, one line with the file's name, if the file is damaged, flat, has values that are not
    finite, or has other axes.
    """
    path = Path(path)
    label = shown(path)
    suffix = suffix_of(path, "volume", SUFFIXES)
    digest = fingerprint(path)
    with decoding(label):
        if suffix in (".nii", ".nii.gz"):
            grid = nifti.read(path)
        elif suffix in (".tif", ".tiff"):
            grid = tiff.read(path)
        else:
            head = main_array(path)
            refuse_axes(head.shape)  # before values are read, as they may be large
            refuse_huge(head.shape, head.dtype)
            grid = Grid(by_x(read_array(path, head)))
        refuse_axes(grid.values.shape)
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
        grid.rotation,
    )


def _with_channels(values: np.ndarray, label: str) -> np.ndarray:
    if min(values.shape[:3]) < 2:
        raise PolyfieldError(f"{label} has {values.shape[:3]} voxels; expected at least 2 along each axis")
    return values if values.ndim == 4 else values[..., None]


def _numbers(values: np.ndarray, label: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the values in one of the types KEPT, in the machine's byte order, and notes on a conversion."""
    found = values.dtype
    if found.kind not in "biuf":
        raise PolyfieldError(
            f"{label} holds values of type {found}; expected booleans, integers or real floats"
        )
    kept = found.newbyteorder("=") in KEPT
    with np.errstate(over="ignore"):  # becomes inf, which is refused
        values = values.astype(found.newbyteorder("=") if kept else np.float32, copy=False)
    if bad := sum(piece.size - int(np.isfinite(piece).sum()) for piece in values):
        raise PolyfieldError(f"{label}: {bad} values are NaN or infinite in float32; replace them first")
    return values, () if kept else (f"values of type {found} are converted to float32.",)
