"""Shape metrics: the overlap of two interiors, and the distances and normal angles between two surfaces.

Surfaces are compared by points drawn from them, with their normals. Distances are not squared and angles are
not folded: a surface that is inside out has an error of 180 degrees.
"""

from __future__ import annotations

import numpy as np

from polyfield.errors import PolyfieldError

Surface = tuple[np.ndarray, np.ndarray]  # points (N, 3) and normals (N, 3) of any length but 0
Nearest = tuple[np.ndarray, np.ndarray]  # per point (N,): distance to the nearest other, angle in degrees


def interior_iou(inside_found: np.ndarray, inside_wanted: np.ndarray) -> float:
    """Return the intersection over union of two interiors, bool arrays of one shape.

    The arrays state whether the same points are inside. The result is nan if no point is inside in either.
    Raises PolyfieldError for other types, different shapes and no points.
    """
    found, wanted = np.asarray(inside_found), np.asarray(inside_wanted)
    if found.dtype != bool or wanted.dtype != bool or found.shape != wanted.shape or not found.size:
        raise PolyfieldError(
            f"interior_iou: got {found.dtype} {found.shape} and {wanted.dtype} {wanted.shape}; "
            "expected two bool arrays of one shape that are not empty"
        )
    union = np.count_nonzero(found | wanted)
    return np.count_nonzero(found & wanted) / union if union else float("nan")


def sample_surface(
    vertices: np.ndarray, faces: np.ndarray, count: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return points (count, 3) float64 drawn uniformly by area from a mesh, and their normals (count, 3).

    Normals are the unit normals of the points' faces.
    vertices are (V, 3). faces are (F, 3), with corners anticlockwise seen from outside. A triangle is drawn
    by its area, then a point in it by the square-root map (Osada et al. 2002, equation 1). Raises
    PolyfieldError for a mesh without area.
    """
    corners = np.asarray(vertices, np.float64)[np.asarray(faces, np.int64).reshape(-1, 3)]
    along, across = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    crosses = np.cross(along, across)
    areas = np.linalg.norm(crosses, axis=1)  # twice the areas
    until = np.cumsum(areas)
    if not len(faces) or not 0 < until[-1] < np.inf:
        raise PolyfieldError(
            f"mesh: the total area of all faces ({len(faces)}) is 0 or not finite; expected a finite area above 0; "
            "correct the mesh"
        )
    pick, root, share = np.random.Generator(np.random.Philox(seed)).random((3, count))
    # side="right", so that a face without area is never drawn.
    face = np.searchsorted(until, pick * until[-1], side="right").clip(max=len(until) - 1)
    root = np.sqrt(root)
    points = (
        corners[face, 0]
        + (root * (1 - share))[:, None] * along[face]
        + (root * share)[:, None] * across[face]
    )
    return points, crosses[face] / areas[face, None]


def surface_distances(
    points_a: np.ndarray, normals_a: np.ndarray, points_b: np.ndarray, normals_b: np.ndarray
) -> tuple[Nearest, Nearest]:
    """Return distances and normal angles from each point of a surface to the nearest of the other surface.

    Points and normals are (A, 3) and (B, 3). The first result is from a to b, the second from b to a.
    Distances (N,) are in the points' unit. Angles (N,) between normals are in degrees, 0 to 180. Raises
    PolyfieldError for empty or mismatched arrays, numbers that are not finite, and normals of length 0.
    """
    from scipy.spatial import cKDTree

    a, b = _checked(points_a, normals_a, "first"), _checked(points_b, normals_b, "second")

    def nearest(one: Surface, other: Surface) -> Nearest:
        distances, index = cKDTree(other[0]).query(one[0], workers=-1)
        return distances, _angles(one[1], other[1][index])

    return nearest(a, b), nearest(b, a)


def compare_surfaces(found: Surface, wanted: Surface, *, threshold: float) -> dict[str, float]:
    """Return three numbers for two surfaces, each given as points (N, 3) and normals (N, 3) drawn from it.

    `chamfer` is the mean of both directions' mean distances, not squared, in the points' unit. `f_score` is
    the harmonic mean of the shares of points of either surface that are nearer than `threshold` to the other,
    0 to 1 (Knapitsch et al. 2017). `normal_error_degrees` is the angle between the normals of nearest points,
    0 to 180, as the mean of both directions' means. Raises PolyfieldError as `surface_distances` does, and
    for a threshold that is not positive.
    """
    if not threshold > 0:
        raise PolyfieldError(f"compare_surfaces: threshold is {threshold}; expected a distance above 0")
    there, back = surface_distances(*found, *wanted)
    precision, recall = (float((distances < threshold).mean()) for distances, _ in (there, back))
    return {
        "chamfer": float(there[0].mean() + back[0].mean()) / 2,
        "f_score": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        "normal_error_degrees": float(there[1].mean() + back[1].mean()) / 2,
    }


def _checked(points: np.ndarray, normals: np.ndarray, which: str) -> Surface:
    """Return the surface's arrays in float64. Raises PolyfieldError if they cannot be compared."""
    points, normals = np.asarray(points, np.float64), np.asarray(normals, np.float64)
    if points.ndim != 2 or points.shape[1:] != (3,) or points.shape != normals.shape or not len(points):
        raise PolyfieldError(
            f"the {which} surface has points {points.shape} and normals {normals.shape}; expected both (N, 3) with at least one point"
        )
    if not np.isfinite(points).all() or not np.isfinite(normals).all() or not normals.any(1).all():
        raise PolyfieldError(
            f"the {which} surface has points or normals that are not finite, or normals of length 0; leave them out"
        )
    return points, normals


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return degrees (N,) between vectors (N, 3).

    They are found by the tangent, which is exact for small angles where the cosine is not.
    """
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(1)))
