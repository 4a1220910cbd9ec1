"""UnionSurface: the surface of a solid whose bodies overlap or contain each other.

A mesh of such bodies has faces inside of the solid. They are no part of its surface: points are drawn from the rest,
and distances are to the rest.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from polyfield.data.mesh_queries import MeshQueries
from polyfield.errors import PolyfieldError
from polyfield.fitting.metrics.surfaces import sample_surface

_PATCHES = 2**18  # at least, into which faces are cut for distances
_BESIDE = 1e-4  # of the longest side: from a face to either side of it
_SIZES = 0.5  # sizes of patches by which a mesh's distance may be less than that of the patches
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

        The mesh's own distance holds where its nearest face is on the surface. Elsewhere it is the distance to patches of the
        surface, which are cut from the faces.
        """
        distances = self._queries.signed_distance(x)
        inside = np.flatnonzero(distances < 0)
        patches, size = self._patches
        away = patches.distance(x[inside])
        hidden = away > _SIZES * size - distances[inside]
        distances[inside[hidden]] = -away[hidden]
        return distances

    @cached_property
    def _patches(self) -> tuple[MeshQueries, float]:
        """Queries of small triangles on the surface, and the typical length of their longest side."""
        corners = self._vertices[self._faces]
        while len(corners) < _PATCHES:
            a, b, c = corners.swapaxes(0, 1)
            ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
            quarters = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
            corners = np.concatenate([np.stack(quarter, 1) for quarter in quarters])
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        across *= self._beside / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-300)
        middle = corners.mean(1)
        corners = corners[self._queries.inside(middle + across) != self._queries.inside(middle - across)]
        sides = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(1)
        faces = np.arange(3 * len(corners)).reshape(-1, 3)
        return MeshQueries(corners.reshape(-1, 3), faces), float(np.median(sides))
