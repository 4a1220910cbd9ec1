"""UnionSurface: the surface of a solid whose bodies overlap or contain each other.

A mesh of such bodies has faces inside of the solid. They are no part of its surface: points are drawn from the rest,
and distances are to the rest.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from polyfield.data.mesh_queries import signed_distance, winding_numbers
from polyfield.fitting.metrics.surfaces import sample_surface

_PROBES = 2**17  # points that tell whether bodies overlap
_SAMPLES = 2**20  # of the surface, for distances
_BESIDE = 1e-4  # of the longest side: from a face to either side of it
_SPACING = 4.0  # distances between samples by which a mesh's distance may be less than the samples'


def overlaps(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Return whether any of many points in a closed mesh's box is inside of two of its bodies."""
    random = np.random.Generator(np.random.Philox(7))
    points = random.uniform(vertices.min(0), vertices.max(0), (_PROBES, 3))
    return bool(np.abs(winding_numbers(vertices, faces, points)).max() > 1)


class UnionSurface:
    """The surface of the union of a closed mesh's bodies, with vertices (V, 3) and faces (F, 3)."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self._mesh = vertices, faces
        self._beside = _BESIDE * float((vertices.max(0) - vertices.min(0)).max())

    def sample(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return points (count, 3), drawn uniformly by area, and their unit normals (count, 3), which point outwards."""
        points, normals = np.empty((0, 3)), np.empty((0, 3))
        while len(points) < count:
            found, across = sample_surface(*self._mesh, count, seed=seed)
            seed += 1_000_003
            before, behind = (
                winding_numbers(*self._mesh, found + side * self._beside * across) != 0 for side in (1, -1)
            )
            bare = before != behind
            outwards = np.where(before[bare], -1.0, 1.0)[:, None]
            points = np.concatenate([points, found[bare]])
            normals = np.concatenate([normals, outwards * across[bare]])
        return points[:count], normals[:count]

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return distances (N,) float32 from points (N, 3), negative inside.

        The mesh's own distance holds where its nearest face is on the surface. Elsewhere it is the distance to the nearest
        of many samples.
        """
        distances = signed_distance(*self._mesh, x)
        inside = np.flatnonzero(distances < 0)
        tree, spacing = self._tree
        away = tree.query(x[inside], workers=-1)[0]
        hidden = away > -distances[inside] + _SPACING * spacing
        distances[inside[hidden]] = -away[hidden]
        return distances

    @cached_property
    def _tree(self) -> tuple[Any, float]:
        """Samples of the surface as a tree, and a typical distance between neighbours."""
        from scipy.spatial import cKDTree

        tree = cKDTree(self.sample(_SAMPLES, 11)[0])
        nearest = tree.query(tree.data[:4096], k=2)[0][:, 1]
        return tree, float(np.median(nearest))
