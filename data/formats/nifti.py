"""NIfTI, read with nibabel: values, spacing, and the place of the grid in the scanner's world.

The file's affine is taken from its sform, else from its qform. Axes that are the world's up to a rounding
error are made exactly so. Others turn the grid: it keeps its values and gets a rotation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from polyfield.data.decoding import Malformed
from polyfield.data.formats.grid import Grid, Triple, refuse_huge
from polyfield.errors import PolyfieldError, shown

_ROUNDING = 1e-3  # of an axis: a quarter of a voxel at the end of 256


def read(path: Path) -> Grid:
    """Return the voxels of a NIfTI file, with values as they are scaled. Raises Malformed."""
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.imageglobals import LoggingOutputSuppressor
        from nibabel.spatialimages import HeaderDataError
    except ImportError as error:
        raise PolyfieldError(
            f"{shown(path)}: NIfTI is read with nibabel, which cannot be loaded ({error}); pip install nibabel"
        ) from None
    try:
        with LoggingOutputSuppressor():
            image: Any = nibabel.load(path, mmap=False)
        refuse_huge(image.shape, np.dtype(np.float64))  # the size of scaled values
        if len(image.shape) > 3 and image.shape[3] > 1:
            raise Malformed(f"it has {image.shape[3]} time points; expected one: save a single time point")
        values = np.asanyarray(image.dataobj)
        if values.ndim == 5:  # of vectors; the fourth axis is time
            values = values[:, :, :, 0]
    except (ImageFileError, HeaderDataError) as error:
        raise ValueError(str(error)) from None
    zooms = np.asarray(image.header.get_zooms()[:3], np.float64)
    if zooms.shape != (3,) or not (np.isfinite(zooms).all() and (zooms > 0).all()):
        raise Malformed(f"its voxels have the size {zooms.tolist()}; expected three lengths above 0")
    if not (image.header["sform_code"] > 0 or image.header["qform_code"] > 0):
        return Grid(
            values,
            _triple(zooms),
            notes=("It states no orientation; the volume is placed at the origin, along its own axes.",),
        )
    return placed(values, zooms, np.asarray(image.affine, np.float64))


def placed(values: np.ndarray, zooms: np.ndarray, affine: np.ndarray) -> Grid:
    """Return a grid (X, Y, Z[, C]) whose voxel (i, j, k) has its centre at affine (i, j, k, 1), 4 x 4."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or (sizes == 0).any():
        return Grid(
            values,
            _triple(zooms),
            notes=("Its affine is singular; the volume is placed at the origin, along its own axes.",),
        )
    axes = affine[:3, :3] / sizes
    if np.abs(axes.T @ axes - np.eye(3)).max() > _ROUNDING:
        return Grid(
            values,
            _triple(zooms),
            notes=("Its axes are sheared; the volume is placed at the origin, along its own axes.",),
        )
    steps = np.where(np.isclose(sizes, zooms, rtol=_ROUNDING), zooms, sizes)
    # The grid's axes in the order, and with the signs, that come closest to the world's.
    order = _closest(axes)
    values, steps, axes = values.transpose(*order, *range(3, values.ndim)), steps[order], axes[:, order]
    first = affine[:3, 3].copy()  # the centre of the voxel that comes first
    for axis in np.flatnonzero(axes.diagonal() < 0):
        first += axes[:, axis] * steps[axis] * (values.shape[axis] - 1)
        values, axes[:, axis] = np.flip(values, int(axis)), -axes[:, axis]
    if np.abs(axes - np.eye(3)).max() <= _ROUNDING:
        return Grid(values, _triple(steps), _triple(first - steps / 2))
    # The nearest rotation, so that columns are orthonormal in float64.
    left, _, right = np.linalg.svd(axes)
    rotation = left @ right
    origin = first - rotation @ (steps / 2)
    return Grid(
        values,
        _triple(steps),
        _triple(origin),
        (_triple(rotation[0]), _triple(rotation[1]), _triple(rotation[2])),
    )


def _closest(axes: np.ndarray) -> list[int]:
    """Return, for each axis of the world, the grid's axis that comes closest to it, each once."""
    from itertools import permutations

    return list(max(permutations(range(3)), key=lambda order: np.abs(axes[:, list(order)]).trace()))


def _triple(numbers: np.ndarray) -> Triple:
    x, y, z = (float(number) for number in numbers)
    return x, y, z
