"""Grid: the voxels of a volume as a file states them, with their place in its world."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from polyfield.data.decoding import Malformed

LARGEST = 8 << 30  # bytes in memory: 2048^3 voxels of 8 bits

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Voxels (X, Y, Z) or (X, Y, Z, C), not yet checked.

    Voxel (i, j, k) is the box from origin + R ((i, j, k) * spacing), where R is the rotation.
    """

    values: np.ndarray
    spacing: Triple = (1.0, 1.0, 1.0)
    origin: Triple = (0.0, 0.0, 0.0)
    rotation: tuple[Triple, Triple, Triple] | None = (
        None  # columns are the grid's axes in the world; None is none
    )
    notes: tuple[str, ...] = ()  # what was left out, a sentence each


def refuse_axes(shape: tuple[int, ...]) -> None:
    """Raise Malformed for a shape that is not (X, Y, Z) or (X, Y, Z, C), C <= 4."""
    if len(shape) not in (3, 4) or (len(shape) == 4 and not 1 <= shape[3] <= 4):
        raise Malformed(
            f"it has shape {shape}; expected three axes, or four with 1 to 4 channels along the last"
        )


def refuse_huge(shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raise Malformed for an array that is larger than LARGEST."""
    if (size := math.prod(shape) * dtype.itemsize) > LARGEST:
        raise Malformed(
            f"it has shape {shape}, {size / 1e9:.1f} GB; the limit is {LARGEST / 1e9:.1f} GB; shrink it first"
        )


def by_x(stack: np.ndarray) -> np.ndarray:
    """Return a view of a stack of slices (Z, Y, X[, C]) as (X, Y, Z[, C])."""
    refuse_axes(stack.shape)
    return stack.transpose(2, 1, 0, *range(3, stack.ndim))
