"""Polygons as files state them, and their triangulation.

Convex polygons become fans. Others are cut by ear clipping (Meisters, "Polygons have ears", 1975) in the plane
of their mean normal. Every corner is kept, on straight edges too: a mesh that was closed remains closed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from polyfield.data.decoding import Malformed

MOST_CORNERS = 10_000  # of one face: ear clipping takes their square


@dataclass(frozen=True)
class Polygons:
    """A mesh of polygons with any number of corners, or points alone."""

    vertices: np.ndarray  # (V, 3) float64
    corners: np.ndarray  # (C,) int64, numbers of vertices, face after face
    counts: np.ndarray  # (F,) int64, the corners of each face
    normals: np.ndarray | None = None  # (V, 3) float64 of the vertices, as stated
    notes: tuple[str, ...] = ()  # what was left out, a sentence each

    @staticmethod
    def of_triangles(vertices: np.ndarray, faces: np.ndarray, notes: tuple[str, ...] = ()) -> Polygons:
        faces = faces.reshape(-1, 3)
        return Polygons(vertices, faces.ravel(), np.full(len(faces), 3), notes=notes)

    def triangles(self) -> np.ndarray:
        """Return the faces cut into triangles, (T, 3) int64, in the faces' order.

        A face of fewer than 3 corners gives none. Raises Malformed for references to no vertex.
        """
        self._check()
        first = np.cumsum(self.counts) - self.counts
        parts, owners = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
        for count in np.unique(self.counts[self.counts >= 3]).tolist():
            owner = np.flatnonzero(self.counts == count)
            cut = _cut(self.vertices, self.corners[first[owner][:, None] + np.arange(count)])
            parts.append(cut.reshape(-1, 3))
            owners.append(owner.repeat(count - 2))
        order = np.argsort(np.concatenate(owners), kind="stable")
        return np.concatenate(parts)[order]

    def _check(self) -> None:
        bad = (self.corners < 0) | (self.corners >= len(self.vertices))
        if bad.any():
            place = int(bad.argmax())
            face = int(np.searchsorted(np.cumsum(self.counts), place, side="right"))
            raise Malformed(
                f"face {face} refers to vertex {self.corners[place]}; expected 0 to {len(self.vertices) - 1}"
            )
        if len(self.counts) and (most := int(self.counts.max())) > MOST_CORNERS:
            raise Malformed(f"a face has {most:,} corners; expected at most {MOST_CORNERS:,}: triangulate it")


def _cut(vertices: np.ndarray, polygons: np.ndarray) -> np.ndarray:
    """Return the triangles (F, n - 2, 3) of polygons (F, n) of vertex numbers."""
    count = polygons.shape[1]
    fan = np.stack([np.zeros(count - 2, int), np.arange(1, count - 1), np.arange(2, count)], 1)
    triangles = polygons[:, fan]
    if count == 3:
        return triangles
    # From the first corner, so that products keep their digits far from the origin.
    places = vertices[polygons] - vertices[polygons[:, :1]]
    following = np.roll(places, -1, axis=1)
    normals = np.cross(places, following).sum(1)  # Newell's: twice the area
    edges = following - places
    turns = (np.cross(np.roll(edges, 1, axis=1), edges) * normals[:, None]).sum(-1)
    # A star has no corner that turns back either, but its triangles' areas exceed its own.
    fans = np.cross(places[:, 1:-1], places[:, 2:])
    simple = (turns >= 0).all(1) & ((fans * normals[:, None]).sum(-1) >= 0).all(1)
    for face in np.flatnonzero(~simple & (normals != 0).any(1)):
        triangles[face] = polygons[face][_ears(_flat(places[face], normals[face]))]
    return triangles


def _flat(places: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return corners (n, 3) along the two axes that their normal is most across, (n, 2), anticlockwise."""
    axis = int(np.abs(normal).argmax())
    flat = places[:, [(axis + 1) % 3, (axis + 2) % 3]]
    return flat if normal[axis] > 0 else flat[:, ::-1]


def _ears(corners: np.ndarray) -> np.ndarray:
    """Return triangles (n - 2, 3) of the corners (n, 2) of a polygon that runs anticlockwise.

    Cutting an ear off changes its two neighbours alone, so only they are looked at again. Where a polygon crosses itself and
    has no ear, the corner of the largest turn is cut off.
    """
    count = len(corners)
    before, after = (np.arange(count) - 1) % count, (np.arange(count) + 1) % count
    turns, left = _area(corners[before], corners, corners[after]), np.ones(count, bool)
    waiting, triangles = deque(range(count)), []

    def is_ear(corner: int) -> bool:
        if not turns[corner] > 0:
            return False
        a, b, c = corners[before[corner]], corners[corner], corners[after[corner]]
        # Only corners that do not turn left can be in an ear alone, without a neighbour that is.
        others = corners[left & (turns <= 0)]
        inside = (_area(a, b, others) >= 0) & (_area(b, c, others) >= 0) & (_area(c, a, others) >= 0)
        # Other corners in the same positions are not in its way.
        own = (others[:, None] == np.stack([a, b, c])).all(-1).any(-1)
        return not (inside & ~own).any()

    for _ in range(count - 3):
        place = None
        while waiting and place is None:
            corner = waiting.popleft()
            place = corner if left[corner] and is_ear(corner) else None
        if place is None:
            there = np.flatnonzero(left)
            place = int(there[turns[there].argmax()])
        first, last = int(before[place]), int(after[place])
        triangles.append((first, place, last))
        left[place] = False
        after[first], before[last] = last, first
        for corner in (first, last):
            turns[corner] = _area(corners[before[corner]], corners[corner], corners[after[corner]])
            waiting.append(corner)
    corner = int(left.argmax())
    return np.array([*triangles, (int(before[corner]), corner, int(after[corner]))])


def _area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return twice the area of triangles of corners (..., 2), negative if they run clockwise."""
    first, second = b - a, c - a
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
