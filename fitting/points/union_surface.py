"""UnionSurface: the surface of a solid whose bodies overlap or contain each other.

A mesh of such bodies has faces inside of the solid. They are no part of its surface: points are drawn from the rest,
and distances are to the rest.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from polyfield.data.mesh_queries import MeshQueries
from polyfield.errors import PolyfieldError
from polyfield.fitting.metrics.surfaces import sample_surface

_SAMPLES = 2**20  # of the surface, for distances
_BESIDE = 1e-4  # of the longest side: from a face to either side of it
_SPACING = 4.0  # distances between samples by which a mesh's distance may be less than the samples'
_MOST_DRAWS = 100  # of points on all faces, for those on the surface


class UnionSurface:
    """The surface of the union of a closed mesh's bodies, with vertices (V, 3) and faces (F, 3)."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, queries: MeshQueries) -> None:
        self._vertices, self._faces, self._queries = vertices, faces, queries
        self._beside = _BESIDE * float((vertices.max(0) - vertices.min(0)).max())

    def sample(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return points (count, 3), drawn uniformly by area, and their unit normals (count, 3), which point outwards."""
        points, normals = np.empty((0, 3)), np.empty((0, 3))
        for draw in range(_MOST_DRAWS):
            found, across = sample_surface(self._vertices, self._faces, count, seed=seed + draw * 1_000_003)
            ahead, behind = (self._queries.inside(found + side * self._beside * across) for side in (1, -1))
            bare = ahead != behind
            points = np.concatenate([points, found[bare]])
            normals = np.concatenate([normals, np.where(ahead[bare], -1.0, 1.0)[:, None] * across[bare]])
            if len(points) >= count:
                return points[:count], normals[:count]
        raise PolyfieldError(
            "mesh: almost all faces are inside the union of its bodies; remove the inner faces"
        )

    def signed_distance(self, x: np.ndarray) -> np.ndarray:
        """Return distances (N,) float32 from points (N, 3), negative inside.

        The mesh's own distance holds where its nearest face is on the surface. Elsewhere it is the distance to the nearest
        of many samples.
        """
        distances = self._queries.signed_distance(x)
        inside = np.flatnonzero(distances < 0)
        tree, spacing = self._tree
        away = tree.query(x[inside], workers=-1)[0]
        hidden = away > _SPACING * spacing - distances[inside]
        distances[inside[hidden]] = -away[hidden]
        return distances

    @cached_property
    def _tree(self) -> tuple[Any, float]:
        """Samples of the surface as a tree, and a typical distance between neighbours."""
        from scipy.spatial import cKDTree

        tree = cKDTree(self.sample(_SAMPLES, 11)[0])
        nearest = tree.query(tree.data[:4096], k=2)[0][:, 1]
        return tree, float(np.median(nearest))
