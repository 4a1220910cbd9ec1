"""A field of distances or occupancy to be fitted to a mesh or a cloud, and measured against it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.data.clouds import Cloud
from polyfield.data.mesh_queries import distance, inside_mesh, signed_distance
from polyfield.data.meshes import Mesh
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, Field
from polyfield.fit.metrics.surfaces import compare_surfaces, interior_iou, sample_surface
from polyfield.fit.points.shape_samples import POOL, ShapeSamples
from polyfield.fit.tasks.task import Evaluation, Progress
from polyfield.fit.tasks.value_task import ValueTask
from polyfield.render.surfaces.meshing import mesh as level_set
from polyfield.render.surfaces.shape_pictures import shape_pictures

# Against the source: IoU of the interiors at 10^7 uniform points of the domain; chamfer distance (mean of both
# directions' means, not squared, in longest sides of the source's box), F-score at 0.5 % of the longest side, and
# the angle between normals of nearest points (0 to 180 degrees, mean of both directions), each of 10^6 points of either
# surface; the field's surface by marching cubes of 512 cells along the domain. Distances without sign have no such
# surface: points are led to where they vanish, and normals are left out. Distance error: mean over 10^6 points of the
# domain, in longest sides.
PROTOCOL = "polyfield-shape-1"

IOU_POINTS = 10**7
SURFACE_POINTS = 10**6
RESOLUTION = 512
_F_SCORE = 0.005  # of the longest side
_MARGIN = 1.1  # the domain's side, in longest sides
_SLOPE = 2.0  # no learned distance is thought to change faster
_FAR = 1000.0  # longest sides from zero on which a source gets an origin of its own
_DEFAULT_SIZE = 2_000_000  # bytes
# Inside or outside says less of a point than its distance, so fields are coarser and points lie further apart.
_FINE, _COARSE = 640, 320
_CLOSE, _WIDE = (0.001, 0.004, 0.02), (0.004, 0.02, 0.1)


class ShapeTask(ValueTask):
    """The task of a mesh or a cloud, in a cube round it."""

    default_size = _DEFAULT_SIZE

    def __init__(
        self, name: str, sha256: str, points: np.ndarray, faces: np.ndarray | None, signal: str
    ) -> None:
        """points (V, 3) float64 are a mesh's vertices, or a cloud."""
        self.name, self.signal, self._sha256, self._faces = name, signal, sha256, faces
        # A shape has none of its own: this suits the default size.
        self.resolution = _COARSE if signal == "occupancy" else _FINE
        low, high = points.min(0), points.max(0)
        self._side = float((high - low).max())
        if not self._side > 0:
            raise PolyfieldError(f"{name}: all its points are in one place; expected a shape")
        centre = (low + high) / 2
        if np.abs(centre).max() > _FAR * self._side:
            self.origin = tuple(float(number) for number in centre)
            points, centre = points - centre, np.zeros(3)
        self._points = points
        half = _MARGIN * self._side / 2
        self.domain = Domain("box", tuple(float(number) for number in centre), (half,) * 3)
        self.bytes = points.nbytes + (0 if faces is None else faces.nbytes)
        self.to_come = POOL * 40  # bytes: the pool, and what it is made of

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

    def samples(self, seed: int, device: str, progress: Progress) -> ShapeSamples:
        return ShapeSamples(
            lambda count, stream: self._surface(count, seed + stream)[0],
            self._label(),
            self.domain,
            near=_WIDE if self.signal == "occupancy" else _CLOSE,
            seed=seed,
            device=device,
            progress=lambda share: progress("distances", share),
        )

    def _label(self) -> Callable[[np.ndarray], np.ndarray]:
        """Points (N, 3) to what the field's raw values should be: distances in domain sizes, or 1 inside and 0 outside."""
        unit = np.float32(self.domain.size)
        if self.signal == "occupancy":
            return lambda x: self._inside(x).astype(np.float32)
        if self.signal == "sdf":
            return lambda x: signed_distance(self._points, self._mesh_faces, x) / unit
        return lambda x: self._unsigned(x) / unit

    def _unsigned(self, x: np.ndarray) -> np.ndarray:
        if self._faces is not None:
            return distance(self._points, self._faces, x)
        return self._tree.query(x, workers=-1)[0].astype(np.float32)

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        return cKDTree(self._points)

    def _inside(self, x: np.ndarray, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        return inside_mesh(self._points, self._mesh_faces, x, progress=progress)

    @property
    def _mesh_faces(self) -> np.ndarray:
        assert self._faces is not None
        return self._faces

    def _surface(self, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Points (count, 3) of the source, and their normals, which of a cloud mean nothing."""
        if self._faces is not None:
            return sample_surface(self._points, self._faces, count, seed=seed)
        points = self._points[
            np.random.Generator(np.random.Philox(seed)).integers(len(self._points), size=count)
        ]
        return points, np.ones_like(points)

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**super().figures(state), "points_off_surface": POOL}

    # -- what is measured

    def measure(self, field: Field, progress: Progress) -> Evaluation:
        values = field.raw_at
        device = str(next(field.parameters()).device)
        figures: dict[str, Any] = {"protocol": PROTOCOL}
        x = np.random.Generator(np.random.Philox(1)).uniform(-1, 1, (IOU_POINTS, 3)) * self.domain.half_size
        x += self.domain.centre
        if self.signal != "udf":
            progress("interior", 0.1)
            raw = values(torch.from_numpy(x.astype(np.float32)).to(device)).cpu().numpy()
            progress("interior", 0.2)
            inside = self._inside(x, lambda done, all_: progress("interior", 0.2 + 0.3 * done / all_))
            figures["iou"] = interior_iou((raw < 0) == (self.signal == "sdf"), inside)
        found = self._found_surface(
            values, device, lambda done, all_: progress("surface", 0.5 + 0.2 * done / all_)
        )
        progress("surface", 0.7)
        if found is None:
            figures |= {"chamfer": None, "f_score": 0.0, "normal_error_degrees": None}
        else:
            wanted = self._surface(SURFACE_POINTS, 1)
            figures |= compare_surfaces(found, wanted, threshold=_F_SCORE * self._side)
            figures["chamfer"] /= self._side
            if self.signal == "udf":
                figures["normal_error_degrees"] = None
        if self.signal != "occupancy":
            some = x[:SURFACE_POINTS]
            raw = values(torch.from_numpy(some.astype(np.float32)).to(device)).cpu().numpy()
            raw = np.maximum(raw, 0) if self.signal == "udf" else raw
            away = np.abs(raw - self._label()(some)).mean() * self.domain.size / self._side
            figures["distance_error"] = float(away)
        progress("pictures", 0.9)
        pictures = shape_pictures(self.signal, values, self.domain, device)
        progress("pictures", 1.0)
        return Evaluation(
            figures,
            _said(figures),
            pictures,
            "the field's surface from four sides, and sections",
            "shape.png",
        )

    def _found_surface(
        self, values: Callable[[Tensor], Tensor], device: str, progress: Callable[[int, int], None]
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Points and normals of the field's surface, or None if it has none."""
        low, high = (np.add(self.domain.centre, sign * np.array(self.domain.half_size)) for sign in (-1, 1))
        if self.signal == "udf":
            return self._led(values, device)
        sign = 1.0 if self.signal == "sdf" else -1.0
        # Raw values are distances in domain sizes.
        band = _SLOPE / self.domain.size if self.signal == "sdf" else None
        vertices, faces = level_set(
            lambda x: sign * values(x),
            low,
            high,
            resolution=RESOLUTION,
            band=band,
            device=device,
            progress=progress,
        )
        return sample_surface(vertices, faces, SURFACE_POINTS, seed=2) if len(faces) else None

    def _led(self, values: Callable[[Tensor], Tensor], device: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Points that are led down an unsigned distance to where it vanishes: p - u grad u / |grad u|, five times."""
        unit, epsilon = self.domain.size, self.domain.size / RESOLUTION
        start = torch.from_numpy(
            np.random.Generator(np.random.Philox(3))
            .uniform(-1, 1, (4 * SURFACE_POINTS, 3))
            .astype(np.float32)
        ).to(device)
        x = self.domain.to_world(start)
        distances = values(x).clamp(min=0) * unit
        nearest = distances.argsort()[: 2 * SURFACE_POINTS]
        x = x[nearest]
        for _ in range(5):
            gradient = torch.stack(
                [(values(x + step) - values(x - step)) for step in epsilon * torch.eye(3, device=device)],
                1,
            )
            direction = torch.nn.functional.normalize(gradient, dim=1)
            x = x - values(x).clamp(min=0)[:, None] * unit * direction
        there = values(x) * unit < 2 * epsilon
        if not there.any():
            return None
        x = x[there][:SURFACE_POINTS]
        points = x.double().cpu().numpy()
        return points, np.ones_like(points)


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """What a closed mesh holds, negative if its faces turn clockwise seen from outside."""
    a, b, c = (vertices[faces[:, corner]] - vertices[0] for corner in range(3))
    return float((a * np.cross(b, c)).sum()) / 6


def _said(figures: dict[str, Any]) -> str:
    words = {
        "iou": "interior IoU {:.4f}",
        "chamfer": "chamfer distance {:.5f}",
        "f_score": "F-score {:.4f}",
        "normal_error_degrees": "normal error {:.2f} degrees",
        "distance_error": "distance error {:.5f}",
    }
    known = [text.format(figures[key]) for key, text in words.items() if figures.get(key) is not None]
    return f"{', '.join(known)} ({PROTOCOL})"
