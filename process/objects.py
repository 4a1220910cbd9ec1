"""Shape: one object of a set, moved into the cube [-1, 1]^3, and what its field should say there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from polyfield.data.clouds import Cloud
from polyfield.data.mesh_queries import MeshQueries
from polyfield.data.meshes import Mesh
from polyfield.data.volumes import Volume
from polyfield.errors import PolyfieldError
from polyfield.fitting.metrics.surfaces import sample_surface
from polyfield.process.recipes import Recipe

CLOUD_POINTS = 1024  # of a mesh's or a grid's surface that a bank keeps
_MARGIN = 1.05  # the cube's half size, in distances of the farthest point from the centroid
_GRID_LEVEL = 0.5  # of occupancy


@dataclass(frozen=True, eq=False)
class Shape:
    """Points and values are in the object's own cube."""

    centre: tuple[float, float, float]  # of the cube, in the source's coordinates
    half_size: float
    surface: Callable[
        [int, np.random.Generator], np.ndarray
    ]  # count to points (count, 3) float64 on the surface
    distance: Callable[
        [np.ndarray], np.ndarray
    ]  # points (N, 3) to distances (N,), negative inside where signed
    inside: Callable[[np.ndarray], np.ndarray] | None  # points (N, 3) to bools (N,)
    cloud: np.ndarray  # (P, 3) float32 on the surface

    def pool(self, recipe: Recipe, signal: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return points (M, 3) float32 in random order, and raw values or probabilities (M, 1) float32 there."""
        counts = [round(share * recipe.pool) for _, share in recipe.near]
        points = [random.uniform(-1, 1, (recipe.pool - sum(counts), 3))]
        for (deviation, _), count in zip(recipe.near, counts):
            points.append(self.surface(count, random) + deviation * random.standard_normal((count, 3)))
        x = np.clip(np.concatenate(points), -1, 1)[random.permutation(recipe.pool)]
        if signal == "occupancy":
            assert self.inside is not None
            values = self.inside(x).astype(np.float32)
        else:
            cut = recipe.truncation
            distances = self.distance(x)
            low = 0.0 if signal == "udf" else -cut
            values = np.clip(np.abs(distances) if signal == "udf" else distances, low, cut)
            if recipe.as_probabilities:
                values = (values - low) / (cut - low)
        return x.astype(np.float32), values.astype(np.float32)[:, None]


def shape_of(source: Cloud | Mesh | Volume, signal: str, random: np.random.Generator) -> Shape:
    """Return an object as its own cube sees it. Raises PolyfieldError where it does not have the signal."""
    if isinstance(source, Cloud):
        return _of_cloud(source, signal)
    if isinstance(source, Mesh):
        return _of_mesh(source, signal, random)
    return _of_grid(source, signal, random)


def _cube(points: np.ndarray, name: str) -> tuple[np.ndarray, float]:
    """Return centre and half size of the cube round points (N, 3): that of a ball about the centroid, with a margin."""
    centre = points.mean(0)
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    if not radius > 0:
        raise PolyfieldError(
            f"object {name}: all points or filled voxels ({len(points)}) have the same position; expected at least two positions"
        )
    return centre, radius * _MARGIN


def _triple(centre: np.ndarray) -> tuple[float, float, float]:
    return float(centre[0]), float(centre[1]), float(centre[2])


def _of_cloud(cloud: Cloud, signal: str) -> Shape:
    from scipy.spatial import cKDTree

    if signal != "udf":
        raise PolyfieldError(f"--signal {signal}: {cloud.name} is a cloud, which has no inside; expected udf")
    centre, half = _cube(cloud.points, cloud.name)
    points = (cloud.points - centre) / half
    tree = cKDTree(points)
    return Shape(
        _triple(centre),
        half,
        lambda count, random: points[random.integers(len(points), size=count)],
        lambda x: tree.query(x, workers=-1)[0],
        None,
        points.astype(np.float32),
    )


def _of_mesh(mesh: Mesh, signal: str, random: np.random.Generator) -> Shape:
    if signal != "udf" and mesh.why_open is not None:
        raise PolyfieldError(
            f"--signal {signal}: {mesh.name} has no inside ({mesh.why_open}); repair the mesh, or use --signal udf"
        )

    def surface(count: int, random: np.random.Generator) -> np.ndarray:
        return sample_surface(vertices, mesh.faces, count, seed=int(random.integers(1 << 31)))[0]

    vertices = mesh.vertices
    centre, half = _cube(surface(1 << 14, random), mesh.name)
    # The farthest vertex may lie beyond the samples.
    half = max(half, float(np.linalg.norm(vertices[mesh.faces.ravel()] - centre, axis=1).max()))
    vertices = (vertices - centre) / half
    queries = MeshQueries(vertices, mesh.faces)
    distance = queries.signed_distance if signal == "sdf" else queries.distance
    cloud = surface(CLOUD_POINTS, random).astype(np.float32)
    return Shape(_triple(centre), half, surface, distance, queries.inside, cloud)


def _of_grid(volume: Volume, signal: str, random: np.random.Generator) -> Shape:
    """Return a grid of occupancy. A point has the value of the voxel that it is in; outside, all is empty."""
    if signal != "occupancy":
        raise PolyfieldError(f"--signal {signal}: {volume.name} is a voxel grid; expected occupancy")
    filled = volume.values[..., 0] > _GRID_LEVEL
    if volume.rotation is not None or not filled.any() or filled.all():
        above = f"{'all' if filled.any() else 'none'} of its voxels are above {_GRID_LEVEL}"
        raise PolyfieldError(
            f"{volume.name}: {above if volume.rotation is None else 'its axes are rotated'}; expected an axis-aligned "
            f"occupancy grid with both filled voxels (above {_GRID_LEVEL}) and empty ones"
        )
    spacing, origin = np.array(volume.spacing), np.array(volume.origin)
    padded = np.pad(filled, 1)
    solid = padded[1:-1, 1:-1, 1:-1]
    hidden = np.ones_like(solid)
    for axis in range(3):
        for shift in (-1, 1):
            hidden &= np.roll(padded, shift, axis)[1:-1, 1:-1, 1:-1]
    border = np.argwhere(solid & ~hidden)  # voxels with a neighbour that is empty
    centre, half = _cube(origin + (border + 0.5) * spacing, volume.name)

    def voxel(x: np.ndarray) -> np.ndarray:
        return np.floor((x * half + centre - origin) / spacing).astype(np.int64)

    def inside(x: np.ndarray) -> np.ndarray:
        at = voxel(x)
        within = ((at >= 0) & (at < filled.shape)).all(1)
        found = np.zeros(len(x), bool)
        found[within] = filled[tuple(at[within].T)]
        return found

    def surface(count: int, random: np.random.Generator) -> np.ndarray:
        chosen = border[random.integers(len(border), size=count)]
        return (origin + (chosen + random.random((count, 3))) * spacing - centre) / half

    def distance(x: np.ndarray) -> np.ndarray:
        raise AssertionError("a grid has no distances")

    cloud = surface(CLOUD_POINTS, random).astype(np.float32)
    return Shape(_triple(centre), half, surface, distance, inside, cloud)
