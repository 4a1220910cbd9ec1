"""ShapeTask: a field of distances or occupancy of a mesh or a cloud, measured against it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.data.clouds import Cloud
from polyfield.data.mesh_queries import MeshQueries
from polyfield.data.meshes import Mesh
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, Field, Meaning, Points
from polyfield.fields.context import FieldContext
from polyfield.fitting.metrics.surfaces import compare_surfaces, interior_iou, sample_surface
from polyfield.fitting.points.shape_points import POOL, ShapePoints
from polyfield.fitting.points.union_surface import UnionSurface
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks.point_task import PointTask
from polyfield.fitting.tasks.task import Evaluation
from polyfield.progress import Progress, part, silent
from polyfield.rendering.renderers import Renderer, renderer_of
from polyfield.rendering.surfaces.descent import descended
from polyfield.rendering.surfaces.meshing import TooManyFaces
from polyfield.rendering.surfaces.meshing import mesh as level_set
from polyfield.rendering.turntable import turntable

# Against the source: IoU of the interiors at 10^7 uniform points of the domain; chamfer distance (mean of both
# directions' means, not squared, in longest sides of the source's box), F-score at 0.5 % of the longest side, and
# the angle between normals of nearest points (0 to 180 degrees, mean of both directions), each of 10^6 points of either
# surface; the field's surface by marching cubes of 512 cells along the domain. Distances without sign have no such
# surface: points descend to where they vanish, and normals are left out. Distance error: mean over 10^6 points of the
# domain, in longest sides.
PROTOCOL = "polyfield-shape-1"

IOU_POINTS = 10**7
SURFACE_POINTS = 10**6
RESOLUTION = 512
_MOST_FACES = 6_000_000  # of the field's surface: more take too much memory, and are noise
_F_SCORE = 0.005  # of the longest side
_MARGIN = 1.1  # the domain's side, in longest sides
_SLOPE = 2.0  # the largest slope that a learned distance is assumed to have
_DEFAULT_BYTES = 2_000_000
_PIXELS = 384  # along a picture's side
# A point's occupancy says less than its distance, so fields are coarser and points are further apart.
_FINE, _COARSE = 640, 320
_CLOSE, _WIDE = (0.001, 0.004, 0.02), (0.004, 0.02, 0.1)


class ShapeTask(PointTask):
    """The task of a mesh or a cloud, in a cube round it."""

    default_bytes = _DEFAULT_BYTES

    def __init__(
        self, name: str, sha256: str, points: np.ndarray, faces: np.ndarray | None, signal: str
    ) -> None:
        """points (V, 3) float64 are a mesh's vertices, or a cloud, in the source's coordinates."""
        self.name, self._sha256, self._points, self._faces = name, sha256, points, faces
        low, high = points.min(0), points.max(0)
        self._side = float((high - low).max())
        if not self._side > 0:
            raise PolyfieldError(
                f"{name}: all {len(points)} points have the same position; expected at least two positions"
            )
        domain = Domain.around(((low + high) / 2).tolist(), (_MARGIN * self._side / 2,) * 3)
        self.meaning = Meaning.of(signal, domain)
        self._kind = self.meaning.kind
        self._is_distance = self._kind.output == "distance"
        # A shape has no resolution of its own: this one suits the default size.
        self.resolution = _FINE if self._is_distance else _COARSE
        self.source_bytes = points.nbytes + (0 if faces is None else faces.nbytes)
        self.sample_bytes = POOL * 40  # the pool, and its temporaries
        # Points, their copies and their answers; triangles and their vertices. Measured.
        self.evaluation_bytes = IOU_POINTS * 50 + _MOST_FACES * 80

    @staticmethod
    def of_mesh(mesh: Mesh, signal: str) -> ShapeTask:
        used, faces = np.unique(mesh.faces, return_inverse=True)
        vertices, faces = mesh.vertices[used], faces.reshape(-1, 3)
        # Wound the other way round, normals would point inwards.
        if mesh.why_open is None and _volume(vertices, faces) < 0:
            faces = faces[:, ::-1]
        return ShapeTask(mesh.name, mesh.sha256, vertices, faces, signal)

    @staticmethod
    def of_cloud(cloud: Cloud) -> ShapeTask:
        return ShapeTask(cloud.name, cloud.sha256, cloud.points, None, "udf")

    def summary(self) -> dict[str, Any]:
        return {
            "kind": "cloud" if self._faces is None else "mesh",
            "sha256": self._sha256,
            "points": len(self._points),
            "faces": None if self._faces is None else len(self._faces),
        }

    # -- what is fitted to

    def points(self, config: FitConfig, device: str, progress: Progress) -> ShapePoints:
        return ShapePoints(
            lambda count, stream: self._surface(count, config.seed + stream)[0],
            self._label(),
            self.meaning.domain,
            near=_CLOSE if self._is_distance else _WIDE,
            seed=config.seed,
            device=device,
            progress=part(progress, 0.0, 1.0, "distances"),
        )

    def importance(self, config: FitConfig, device: str, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return the nearness to the surface: exp(-distance / a hundredth of the longest side)."""

        def nearness(x: Tensor) -> Tensor:
            away = self._unsigned(self.meaning.domain.to_source(x.cpu()).double().numpy())
            return torch.from_numpy(np.exp(-away / (0.01 * self._side))).float().to(x.device)

        return nearness

    def _label(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return what maps source points (N, 3) to raw values: distances in domain sizes, or 1 inside and 0 outside."""
        unit = np.float32(self.meaning.domain.size)
        if not self._is_distance:
            return lambda x: self._inside(x).astype(np.float32)
        if self._kind.inside:
            solid = self.union or self._queries
            return lambda x: solid.signed_distance(x) / unit
        return lambda x: self._unsigned(x) / unit

    def _unsigned(self, x: np.ndarray) -> np.ndarray:
        if self._faces is not None:
            return self._queries.distance(x)
        return self._tree.query(x, workers=-1)[0].astype(np.float32)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self._points)

    def _inside(self, x: np.ndarray, progress: Progress = silent) -> np.ndarray:
        return self._queries.inside(x, progress)

    @cached_property
    def _queries(self) -> MeshQueries:
        assert self._faces is not None
        return MeshQueries(self._points, self._faces)

    @cached_property
    def union(self) -> UnionSurface | None:
        """The surface of a solid whose bodies overlap; None of any other shape."""
        if self._faces is None or not self._kind.inside or not self._queries.overlaps:
            return None
        return UnionSurface(self._points, self._faces, self._queries)

    def _surface(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return points (count, 3) of the source, and their normals, which of a cloud mean nothing."""
        if self.union is not None:
            return self.union.sample(count, seed)
        if self._faces is not None:
            return sample_surface(self._points, self._faces, count, seed=seed)
        points = self._points[
            np.random.Generator(np.random.Philox(seed)).integers(len(self._points), size=count)
        ]
        return points, np.ones_like(points)

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**super().figures(state), "points_off_surface": POOL}

    # -- what is measured

    def measure(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        figures: dict[str, Any] = {"protocol": PROTOCOL}
        domain, inside = self.meaning.domain, self._kind.inside
        x = np.random.Generator(np.random.Philox(1)).uniform(-1, 1, (IOU_POINTS, 3)) * domain.half_size
        x += domain.centre
        x += domain.origin
        if inside:
            progress(0.1, "interior")
            found_inside = _raw(field, x) * inside > 0
            progress(0.2, "interior")
            wanted_inside = self._inside(x, part(progress, 0.2, 0.5, "interior"))
            figures["iou"] = interior_iou(found_inside, wanted_inside)
        found = self._found_surface(field, part(progress, 0.5, 0.7, "surface"))
        progress(0.7, "surface")
        if found is None:
            figures |= {"chamfer": None, "f_score": 0.0, "normal_error_degrees": None}
        else:
            wanted = self._surface(SURFACE_POINTS, 1)
            figures |= compare_surfaces(found, wanted, threshold=_F_SCORE * self._side)
            figures["chamfer"] /= self._side
            if not inside:
                figures["normal_error_degrees"] = None
        if self._is_distance:
            some = x[:SURFACE_POINTS]
            raw = np.maximum(_raw(field, some), self.meaning.transform.clamp[0])
            away = np.abs(raw - self._label()(some)).mean() * domain.size / self._side
            figures["distance_error"] = float(away)
        sheet = self._pictures(renderer_of(field, context), part(progress, 0.9, 1.0, "pictures"))
        caption = "the field's surface from four sides, and sections"
        return Evaluation(figures, _summary(figures), sheet, caption, "shape.png")

    def _pictures(self, renderer: Renderer, progress: Progress) -> list[list[Tensor]]:
        cameras = turntable(self.meaning.domain, 4, (_PIXELS, _PIXELS)).to(renderer.field.device)
        views = []
        for view in range(4):
            views.append(renderer.picture(cameras, view).cpu())
            progress((view + 1) / 4)
        return [views, renderer.flat((_PIXELS, _PIXELS))]

    def _found_surface(self, field: Field, progress: Progress) -> tuple[np.ndarray, np.ndarray] | None:
        """Return points, in the source's coordinates, and normals of the field's surface, or None if it has none."""
        domain, inside = self.meaning.domain, self._kind.inside
        if not inside:
            points = _descended(field, domain)
        else:
            vertices, faces = self._meshed(field, progress)
            if not len(faces):
                return None
            points, normals = sample_surface(vertices, faces, SURFACE_POINTS, seed=2)
            return points + domain.origin, normals
        return None if points is None else (points + domain.origin, np.ones_like(points))

    def _meshed(self, field: Field, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
        """Return vertices in the world and faces, of fewer cells where the surface fills the domain."""
        low, high = self.meaning.domain.corners
        resolution = RESOLUTION
        while True:
            try:
                return level_set(
                    lambda x: -self._kind.inside * field.raw_in_chunks(Points(x)),
                    low,
                    high,
                    resolution=resolution,
                    # Raw distances are in domain sizes.
                    band=_SLOPE / self.meaning.domain.size if self._is_distance else None,
                    device=field.device,
                    most_faces=_MOST_FACES,
                    progress=progress,
                )
            except TooManyFaces:
                resolution //= 2


def _raw(field: Field, x: np.ndarray) -> np.ndarray:
    """Return raw values (N,) at source points (N, 3) float64."""
    points = torch.from_numpy(x if any(field.meaning.domain.origin) else x.astype(np.float32))
    return field.raw_at(points.to(field.device)).cpu().numpy()


def _descended(field: Field, domain: Domain) -> np.ndarray | None:
    """Return world points where an unsigned distance vanishes, or None if there are none."""

    def values(x: Tensor) -> Tensor:
        return field.raw_in_chunks(Points(x))

    unit, epsilon = domain.size, domain.size / RESOLUTION
    random = np.random.Generator(np.random.Philox(3)).uniform(-1, 1, (4 * SURFACE_POINTS, 3))
    x = domain.to_world(torch.from_numpy(random.astype(np.float32)).to(field.device))
    distances = values(x).clamp(min=0) * unit
    x = x[distances.argsort()[: 2 * SURFACE_POINTS]]
    found = descended(lambda x: values(x) * unit, x, epsilon=epsilon)[:SURFACE_POINTS]
    return found.double().cpu().numpy() if len(found) else None


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Return the volume of a closed mesh, negative if its faces turn clockwise seen from outside."""
    a, b, c = (vertices[faces[:, corner]] - vertices[0] for corner in range(3))
    return float((a * np.cross(b, c)).sum()) / 6


def _summary(figures: dict[str, Any]) -> str:
    words = {
        "iou": "interior IoU {:.4f}",
        "chamfer": "chamfer distance {:.5f}",
        "f_score": "F-score {:.4f}",
        "normal_error_degrees": "normal error {:.2f} degrees",
        "distance_error": "distance error {:.5f}",
    }
    known = [text.format(figures[key]) for key, text in words.items() if figures.get(key) is not None]
    return f"{', '.join(known)} ({PROTOCOL})"
