"""Mesh queries: which points are inside a closed triangle mesh, and how far points are from its surface.

Open3D's ray casting (the extra `mesh`) computes them in float32. Meshes and points are first moved to the
mesh's box and scaled to its longest side, so coordinates may be far from zero. A point is inside if its
winding number is not 0: a solid of bodies that overlap, or contain each other, is their union, and a body that is
wound inwards within another is a cavity. A mesh with holes has distances, but no meaningful signs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from polyfield.errors import PolyfieldError
from polyfield.progress import Progress

_BATCH = 2**19  # points at a time
_DIRECTION = np.array([0.5773, 0.4714, 0.6667], np.float32)  # of rays: along no edge of a box or a grid
_CELLS = 64  # along an axis of a batch's box; points are evaluated cell by cell


def inside_mesh(
    vertices: np.ndarray, faces: np.ndarray, points: np.ndarray, *, progress: Progress | None = None
) -> np.ndarray:
    """Return whether points (N, 3) are inside a mesh: bool (N,).

    The mesh has vertices (V, 3) and faces (F, 3), and is closed.
    Raises PolyfieldError for a mesh without faces or extent, for numbers that are not finite, and if Open3D
    is not installed.
    """
    return winding_numbers(vertices, faces, points, progress=progress) != 0


def winding_numbers(
    vertices: np.ndarray, faces: np.ndarray, points: np.ndarray, *, progress: Progress | None = None
) -> np.ndarray:
    """Return how often a closed mesh winds round points (N, 3): int (N,).

    It is 0 outside, 1 inside, and the number of bodies where some overlap; negative for bodies that are wound inwards.
    Raises errors as `inside_mesh` does.
    """
    return _ask(_crossings, vertices, faces, points, progress)[0].astype(np.int64)


def signed_distance(
    vertices: np.ndarray, faces: np.ndarray, points: np.ndarray, *, progress: Progress | None = None
) -> np.ndarray:
    """Return distances (N,) float32 from points (N, 3) to a closed mesh, negative inside, in its unit.

    Raises errors as `inside_mesh` does.
    """

    def signed(scene: Any, x: np.ndarray) -> np.ndarray:
        distances = _distances(scene, x)
        return np.where(_crossings(scene, x) != 0, -distances, distances)

    distances, unit = _ask(signed, vertices, faces, points, progress)
    return distances * np.float32(unit)


def distance(
    vertices: np.ndarray, faces: np.ndarray, points: np.ndarray, *, progress: Progress | None = None
) -> np.ndarray:
    """Return distances (N,) float32 from points (N, 3) to a mesh, closed or not, in its unit.

    Raises errors as `inside_mesh` does.
    """
    distances, unit = _ask(_distances, vertices, faces, points, progress)
    return distances * np.float32(unit)


def _ask(
    question: Callable[[Any, np.ndarray], np.ndarray],
    vertices: np.ndarray,
    faces: np.ndarray,
    points: np.ndarray,
    progress: Progress | None,
) -> tuple[np.ndarray, float]:
    """Return the answers (N,) float32 of a question to a `_Scene`, and the mesh's longest side, the unit of lengths."""
    vertices, points = np.asarray(vertices, np.float64), np.asarray(points, np.float64)
    scene = _Scene(vertices, np.asarray(faces))
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise PolyfieldError(f"mesh query: points {points.shape} must be (N, 3) and finite")
    found = np.empty(len(points), np.float32)
    for begin in range(0, len(points), _BATCH):
        batch = ((points[begin : begin + _BATCH] - scene.centre) / scene.unit).astype(np.float32)
        order = _near_each_other(batch)
        found[begin + order] = question(scene, batch[order])
        if progress:
            progress(min(begin + _BATCH, len(points)) / len(points))
    return found, scene.unit


def _distances(scene: _Scene, x: np.ndarray) -> np.ndarray:
    return scene.casting.compute_distance(_tensor(x)).numpy()


def _crossings(scene: _Scene, x: np.ndarray) -> np.ndarray:
    """Return the winding numbers (N,) of points (N, 3): the faces that a ray leaves through, less those it enters.

    One ray a point decides: three and eleven gave the same results for all of two million points.
    """
    rays = np.concatenate([x, np.broadcast_to(_DIRECTION, x.shape)], 1)
    hits = scene.casting.list_intersections(_tensor(rays))
    leaving = scene.leaving[hits["primitive_ids"].numpy()]
    return np.bincount(hits["ray_ids"].numpy(), leaving, len(x)).astype(np.float32)


class _Scene:
    """Open3D's scene of a mesh that is scaled to a unit box."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        self.centre, self.unit = _checked(vertices, faces)
        scaled = ((vertices - self.centre) / self.unit).astype(np.float32)
        self.casting = _open3d().t.geometry.RaycastingScene()
        self.casting.add_triangles(_tensor(scaled), _tensor(faces.astype(np.uint32)))
        a, b, c = (scaled[faces[:, corner]].astype(np.float64) for corner in range(3))
        self.leaving = np.sign(
            np.cross(b - a, c - a) @ _DIRECTION.astype(np.float64)
        )  # (F,) of a ray along _DIRECTION


def _checked(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the centre (3,) and the longest side of a mesh's box."""
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise PolyfieldError(f"mesh query: vertices {vertices.shape} must be (V, 3) and finite")
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise PolyfieldError(f"mesh query: faces {faces.shape} must be (F, 3), at least one")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise PolyfieldError(
            f"mesh query: faces name vertices {faces.min()} to {faces.max()}; expected 0 to {len(vertices) - 1}"
        )
    used = vertices[np.unique(faces)]
    low, high = used.min(0), used.max(0)
    centre, unit = (low + high) / 2, float((high - low).max())
    if not 0 < unit < np.inf:
        raise PolyfieldError(f"mesh query: the mesh has an extent of {unit}; expected more than 0")
    return centre, unit


def _near_each_other(points: np.ndarray) -> np.ndarray:
    """Return an order (N,) of points (N, 3) in which neighbours are close.

    The search then finds the same triangles in cache.
    """
    low, high = points.min(0), points.max(0)
    cells = (points - low) / np.maximum(high - low, np.finfo(np.float32).tiny) * np.float32(_CELLS - 1)
    return np.argsort(
        cells.astype(np.int32) @ np.array((_CELLS * _CELLS, _CELLS, 1), np.int32), kind="stable"
    )


def _tensor(array: np.ndarray) -> Any:
    return _open3d().core.Tensor(np.ascontiguousarray(array))


def _open3d() -> Any:
    try:
        import open3d
    except ImportError as error:
        raise PolyfieldError(
            f"Open3D cannot be loaded ({error}); pip install 'polyfield[mesh]', and on Debian apt install libusb-1.0-0"
        ) from None
    return open3d
