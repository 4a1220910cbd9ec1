"""Mesh queries: which points are inside a closed triangle mesh, and how far points are from its surface.

Open3D's ray casting (the extra `mesh`) computes them in float32. Meshes and points are first moved to the
mesh's box and scaled to its longest side, so coordinates may be far from zero. A point is inside if its
winding number is not 0: a solid of bodies that overlap, or contain each other, is their union, and a body that is
wound inwards within another is a cavity. A mesh with holes has distances, but no meaningful signs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from polyfield.data.meshes import bodies, positions
from polyfield.errors import PolyfieldError
from polyfield.progress import Progress, silent

_BATCH = 2**19  # points at a time
_CELLS = 64  # along an axis of a batch's box; points are evaluated cell by cell
_DIRECTION = np.array([0.5773, 0.4714, 0.6667], np.float32)  # of rays: along no edge of a box or a grid
_PROBES, _PROBES_OF_BODY = 2**17, 64  # faces, of all and of each body, that tell whether bodies overlap
_LEAST_PROBES = 2**15
_MOST_BODIES = 4096  # that are told apart
_BESIDE = 1e-4  # of the longest side: from a face to a probe on either side


class MeshQueries:
    """Queries of one mesh, with vertices (V, 3) and faces (F, 3).

    Raises PolyfieldError for a mesh without faces or extent, for numbers that are not finite, and if Open3D is not
    installed.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        open3d = _open3d()
        vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces)
        self._centre, self._unit = _box(vertices, faces)
        self._corners = ((vertices - self._centre) / self._unit).astype(np.float32)
        # Open3D counts crossings of one geometry at one distance once, so every body is a geometry of its own.
        body = np.minimum(bodies(positions(self._corners)[faces]), _MOST_BODIES - 1)
        self._faces = faces[np.argsort(body, kind="stable")]
        self._first = np.cumsum([0, *np.bincount(body)])  # face of each body
        self._casting = open3d.t.geometry.RaycastingScene()
        for begin, end in zip(self._first, self._first[1:]):
            used, of_body = np.unique(self._faces[begin:end], return_inverse=True)
            self._casting.add_triangles(
                _tensor(self._corners[used]), _tensor(of_body.reshape(-1, 3).astype(np.uint32))
            )

    def inside(self, points: np.ndarray, progress: Progress = silent) -> np.ndarray:
        """Return whether points (N, 3) are inside the closed mesh: bool (N,)."""
        return self._ask(self._inside, points, progress) > 0

    def winding_numbers(self, points: np.ndarray) -> np.ndarray:
        """Return how often the closed mesh winds round points (N, 3): int (N,).

        It is 0 outside, 1 inside, and the number of bodies where some overlap; negative in bodies that are wound inwards.
        """
        return self._ask(self._winding, points, silent).astype(np.int64)

    def signed_distance(self, points: np.ndarray, progress: Progress = silent) -> np.ndarray:
        """Return distances (N,) float32 from points (N, 3) to the closed mesh, negative inside, in its unit."""

        def signed(x: np.ndarray) -> np.ndarray:
            distances = self._distances(x)
            return np.where(self._inside(x) > 0, -distances, distances)

        return self._ask(signed, points, progress) * np.float32(self._unit)

    def distance(self, points: np.ndarray, progress: Progress = silent) -> np.ndarray:
        """Return distances (N,) float32 from points (N, 3) to the mesh, closed or not, in its unit."""
        return self._ask(self._distances, points, progress) * np.float32(self._unit)

    @cached_property
    def overlaps(self) -> bool:
        """Whether bodies of the closed mesh overlap or contain each other, as far as many points tell."""
        random = np.random.Generator(np.random.Philox(7))
        some = [
            begin + random.permutation(end - begin)[:_PROBES_OF_BODY]
            for begin, end in zip(self._first, self._first[1:])
        ]
        some = self._faces[np.unique(np.concatenate([*some, random.permutation(len(self._faces))[:_PROBES]]))]
        some = some.repeat(-(-_LEAST_PROBES // len(some)), axis=0)  # of few faces, many points of each
        a, b, c = (self._corners[some[:, corner]] for corner in range(3))
        across = np.cross(b - a, c - a)
        length = np.linalg.norm(across, axis=1)
        beside = np.float32(_BESIDE) * across / np.where(length > 0, length, 1)[:, None]
        shares = random.dirichlet((1, 1, 1), len(some)).astype(np.float32)
        places = a * shares[:, :1] + b * shares[:, 1:2] + c * shares[:, 2:]
        probes = np.concatenate([places - beside, places + beside])
        probes = probes[_near_each_other(probes)]
        found = self._winding(probes)
        twice = np.abs(found) > 1
        # A ray along a face or an edge is miscounted: the opposite one has to agree.
        return bool(twice.any()) and bool((self._winding(probes[twice], -1) == found[twice]).any())

    def _ask(
        self, question: Callable[[np.ndarray], np.ndarray], points: np.ndarray, progress: Progress
    ) -> np.ndarray:
        """Return the answers (N,) float32 to a question about points of the scaled mesh."""
        points = np.asarray(points, np.float64)
        _check(points, "points", "N")
        found = np.empty(len(points), np.float32)
        for begin in range(0, len(points), _BATCH):
            batch = ((points[begin : begin + _BATCH] - self._centre) / self._unit).astype(np.float32)
            order = _near_each_other(batch)
            found[begin + order] = question(batch[order])
            progress(min(begin + _BATCH, len(points)) / len(points))
        return found

    def _inside(self, x: np.ndarray) -> np.ndarray:
        """Return 1 inside and 0 outside: by parity, four times as fast, where it is the same.

        One ray a point decides: three and eleven gave the same results for all of two million points.
        """
        if self.overlaps:
            return self._winding(x) != 0
        return self._casting.compute_occupancy(_tensor(x)).numpy() > 0.5

    def _winding(self, x: np.ndarray, way: int = 1) -> np.ndarray:
        """Return the winding numbers (N,): the faces that a ray leaves through, less those through which it enters.

        Rays run along _DIRECTION, or with `way` -1 the other way.
        """
        rays = np.concatenate([x, np.broadcast_to(np.float32(way) * _DIRECTION, x.shape)], 1)
        hits = self._casting.list_intersections(_tensor(rays))
        leaving = (
            way * self._leaving[self._first[hits["geometry_ids"].numpy()] + hits["primitive_ids"].numpy()]
        )
        return np.bincount(hits["ray_ids"].numpy(), leaving, len(x))

    @cached_property
    def _leaving(self) -> np.ndarray:
        """Whether a ray along _DIRECTION leaves (1) or enters (-1) through each face: (F,)."""
        a, b, c = (self._corners[self._faces[:, corner]].astype(np.float64) for corner in range(3))
        return np.sign(np.cross(b - a, c - a) @ _DIRECTION.astype(np.float64))

    def _distances(self, x: np.ndarray) -> np.ndarray:
        return self._casting.compute_distance(_tensor(x)).numpy()


def _box(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the centre (3,) and the longest side of a mesh's box."""
    _check(vertices, "vertices", "V")
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise PolyfieldError(
            f"mesh query: faces has shape {faces.shape}; expected (F, 3) with at least one face"
        )
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise PolyfieldError(
            f"mesh query: faces refer to vertices {faces.min()} to {faces.max()}; expected 0 to {len(vertices) - 1}"
        )
    used = vertices[np.unique(faces)]
    low, high = used.min(0), used.max(0)
    centre, unit = (low + high) / 2, float((high - low).max())
    if not 0 < unit < np.inf:
        raise PolyfieldError(f"mesh query: the mesh has an extent of {unit}; expected a finite one above 0")
    return centre, unit


def _check(values: np.ndarray, name: str, length: str) -> None:
    if values.ndim != 2 or values.shape[1] != 3:
        raise PolyfieldError(f"mesh query: {name} has shape {values.shape}; expected ({length}, 3)")
    if bad := values.size - int(np.isfinite(values).sum()):
        raise PolyfieldError(
            f"mesh query: {bad} values of {name} are NaN or infinite; expected finite values"
        )


def _near_each_other(points: np.ndarray) -> np.ndarray:
    """Return an order (N,) of points (N, 3) in which neighbours are close.

    The search then finds the same triangles in cache.
    """
    if not len(points):
        return np.arange(0)
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
