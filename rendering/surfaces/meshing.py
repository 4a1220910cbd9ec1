"""Meshing: a level set of a function as triangles, by marching cubes on the few nodes near it.

The grid is cut into blocks of 4^3 cells. Values at the blocks' corners decide which blocks may hold the
surface. Only these blocks are evaluated at every node. Any other node gets a corner's value, whose sign is
the node's. Marching cubes then processes the grid in slabs along x. Vertices are joined where two slabs meet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.progress import Progress

_BLOCK = 4  # cells along a block's edge; 8 needs more evaluations up to 1024 cells, and misses more
_BATCH = 2**18  # points in one evaluation
_SLAB = 2**22  # nodes of a slab, unless one layer of blocks has more
_LEAST = 2.0**-10  # smallest value on a plane between slabs, as a share of its largest neighbour

Values = Callable[[Tensor], Tensor]


class TooManyFaces(PolyfieldError):
    """The surface has more triangles than the caller allows: that of a field that is not fitted fills the box."""


@torch.no_grad()
def mesh(
    values: Values,
    low: Sequence[float],
    high: Sequence[float],
    *,
    resolution: int = 512,
    level: float = 0.0,
    band: float | None = None,
    device: torch.device | str = "cpu",
    most_faces: int | None = None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the surface values(x) = level in the box low..high.

    The results are vertices (V, 3) float64, in the world, and faces (F, 3) int64. Both are empty if there is
    no surface.

    values takes points (N, 3) float32 on `device` and returns (N,). Values are smaller inside, so occupancy
    logits must be negated. Faces are wound so that normals point to larger values. The grid has `resolution`
    cubic cells along the box's longest side. Along the other sides it may reach up to a cell beyond `high`.

    band selects the blocks that are evaluated. A number is the function's largest slope, 1 for a true
    distance: blocks are skipped if the values at all corners are too far from the level. None uses signs
    alone: blocks with corners on both sides are evaluated, and their 26 neighbours. Parts thinner than 4
    cells may then be missed. Either way the mesh is closed, except where the surface leaves the box.

    most_faces bounds the memory: a larger surface raises TooManyFaces before its triangles are made.

    Raises PolyfieldError for a box without volume, a resolution below 1, a slope that is not positive and
    values that are not finite.
    """
    start, cell, counts = _grid(low, high, resolution, band)
    axes = [(start[axis] + cell * np.arange(counts[axis] + 1)).astype(np.float32) for axis in range(3)]

    def ask(places: list[np.ndarray], nodes: np.ndarray | range) -> np.ndarray:
        return _evaluate(lambda points: values(points) - level, places, nodes, device)

    ends = [np.minimum(np.arange(0, count + _BLOCK, _BLOCK), count) for count in counts]
    corners = ask([axis[end] for axis, end in zip(axes, ends)], range(math.prod(map(len, ends))))
    corners = corners.reshape([len(end) for end in ends])
    near = _blocks_near(corners, None if band is None else band * cell * _BLOCK * math.sqrt(3) / 2)

    surface = _Joined()
    layers = max(1, _SLAB // (_BLOCK * len(axes[1]) * len(axes[2])))
    plane = None  # the last plane of the previous slab
    for layer in range(0, len(near), layers):
        first, last = layer * _BLOCK, min((layer + layers) * _BLOCK, counts[0])
        nodes = [np.arange(first, last + 1), np.arange(counts[1] + 1), np.arange(counts[2] + 1)]
        wanted = _nodes_of(near, nodes)
        if not wanted.any():
            plane = None
            continue
        slab = corners[np.ix_(*(node // _BLOCK for node in nodes))]
        if plane is not None:
            slab[0], wanted[0] = plane, False
        slab[wanted] = ask([axis[node] for axis, node in zip(axes, nodes)], np.flatnonzero(wanted))
        slab[-1] = plane = _off_level(slab[-1])
        if most_faces is not None and surface.faces + 2 * _crossed_cells(slab) > most_faces:
            raise TooManyFaces(
                f"mesh: the surface has more than {most_faces:,} triangles at a resolution of {resolution} cells; "
                "use a lower resolution, or fit longer"
            )
        surface.add(slab, first)
        if progress:
            progress(int(near[: layer + layers].sum()) / int(near.sum()))
    vertices, faces = surface.arrays()
    return start + cell * vertices, faces


def _grid(
    low: Sequence[float], high: Sequence[float], resolution: int, band: float | None
) -> tuple[np.ndarray, float, list[int]]:
    """Return the first node (3,), the length of a cell's edge and the numbers of cells along x, y and z."""
    start, extent = np.array(low, np.float64), np.array(high, np.float64) - np.array(low, np.float64)
    if extent.shape != (3,) or not np.isfinite(extent).all() or not (extent > 0).all():
        raise PolyfieldError(
            f"mesh: low is {list(low)} and high is {list(high)}; expected 3 finite numbers each, with low < high"
        )
    if resolution < 1:
        raise PolyfieldError(
            f"mesh: resolution is {resolution}; expected at least 1 cell along the longest side"
        )
    if band is not None and not 0 < band < math.inf:
        raise PolyfieldError(
            f"mesh: band is {band}; expected the function's largest slope, finite and above 0, or None"
        )
    cell = float(extent.max()) / resolution
    return start, cell, [max(1, math.ceil(size / cell - 1e-6)) for size in extent]


def _evaluate(
    values: Values, places: list[np.ndarray], nodes: np.ndarray | range, device: torch.device | str
) -> np.ndarray:
    """Return values (N,) float32 at nodes, flat indices (N,) into the grid.

    `places` are the coordinates of its axes.
    """
    found = np.empty(len(nodes), np.float32)
    for begin in range(0, len(nodes), _BATCH):
        batch = np.asarray(nodes[begin : begin + _BATCH])
        index = np.unravel_index(batch, [len(place) for place in places])
        columns = np.stack([place[i] for place, i in zip(places, index)])
        found[begin : begin + _BATCH] = values(torch.from_numpy(columns).to(device).T).float().cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(found[begin : begin + _BATCH]))
        if len(bad):
            raise PolyfieldError(
                f"mesh: the value of the field at {columns[:, bad[0]].tolist()} is {found[begin + bad[0]]}; "
                "expected finite numbers"
            )
    return found


def _blocks_near(corners: np.ndarray, reach: float | None) -> np.ndarray:
    """Return which blocks (X, Y, Z) may hold the surface, from values (X + 1, Y + 1, Z + 1) at their corners.

    No point of a block is farther than half its diagonal from the nearest corner. `reach` is the most that
    the function can change over that distance, or None if it is not known.
    """
    from scipy.ndimage import binary_dilation

    near = np.empty([size - 1 for size in corners.shape], bool)
    for x in range(len(near)):
        eight = [
            corners[x + i, j : j + near.shape[1], k : k + near.shape[2]]
            for i, j, k in itertools.product((0, 1), repeat=3)
        ]
        least, most = np.minimum.reduce(eight), np.maximum.reduce(eight)
        near[x] = (least <= 0) & (most > 0)
        if reach is not None:
            near[x] |= np.minimum(np.abs(least), np.abs(most)) <= reach
    return near if reach is not None else binary_dilation(near, np.ones((3, 3, 3)))


def _nodes_of(near: np.ndarray, nodes: list[np.ndarray]) -> np.ndarray:
    """Return which nodes of a slab belong to a block of `near`, in the slab or beside it.

    Nodes are given by indices along each axis.
    """
    wanted = near
    for axis, node in enumerate(nodes):
        below = np.maximum((node - 1) // _BLOCK, 0)
        above = np.minimum(node // _BLOCK, near.shape[axis] - 1)
        wanted = wanted.take(below, axis) | wanted.take(above, axis)
    return wanted


def _crossed_cells(slab: np.ndarray) -> int:
    """Return how many cells of a slab (X, Y, Z) of values have corners on both sides of 0; each has 2 triangles or so."""
    some = every = slab > 0
    for axis in range(3):
        lower, upper = slice(None, -1), slice(1, None)
        low, high = ((slice(None),) * axis + (part,) for part in (lower, upper))
        some, every = some[low] | some[high], every[low] & every[high]
    return int(np.count_nonzero(some & ~every))


def _off_level(plane: np.ndarray) -> np.ndarray:
    """Return a plane of values (Y, Z) in which none is much closer to 0 than its neighbours.

    Otherwise vertices on different edges of a node could round to the same position and be confused. The
    change moves a vertex by a thousandth of a cell at most.
    """
    from scipy.ndimage import maximum_filter

    least = maximum_filter(np.abs(plane), size=3) * np.float32(_LEAST)
    return np.where(np.abs(plane) < least, np.where(plane > 0, least, -least), plane)


class _Joined:
    """A mesh that grows slab by slab. Each slab is joined to the previous one along their common plane."""

    def __init__(self) -> None:
        self._vertices: list[np.ndarray] = [np.empty((0, 3))]
        self._faces: list[np.ndarray] = [np.empty((0, 3), np.int64)]
        self._count = 0
        self._seam = (
            -1,
            np.empty(0, np.uint64),
            np.empty(0, np.int64),
        )  # its x, vertices there, their numbers

    def add(self, slab: np.ndarray, first: int) -> None:
        """Add the surface at 0 in a slab (X, Y, Z) of values.

        Its first plane is the grid's plane number `first`.
        """
        from skimage.measure import marching_cubes

        if not ((slab > 0).any() and (slab <= 0).any()):
            return
        vertices, faces, _, _ = marching_cubes(slab, 0.0)
        numbers = np.full(len(vertices), -1)
        here, keys = _in_plane(vertices, 0)
        x, seam_keys, seam_numbers = self._seam
        if x == first:
            _, mine, theirs = np.intersect1d(keys, seam_keys, assume_unique=True, return_indices=True)
            numbers[here[mine]] = seam_numbers[theirs]
        new = numbers < 0
        numbers[new] = self._count + np.arange(new.sum())
        self._count += int(new.sum())
        self._vertices.append(vertices[new] + np.array((first, 0.0, 0.0)))
        self._faces.append(numbers[faces])
        here, keys = _in_plane(vertices, len(slab) - 1)
        self._seam = (first + len(slab) - 1, keys, numbers[here])

    @property
    def faces(self) -> int:
        """How many faces there are so far."""
        return sum(map(len, self._faces))

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return vertices (V, 3) float64 in cells, and faces (F, 3) int64."""
        return np.concatenate(self._vertices), np.concatenate(self._faces)


def _in_plane(vertices: np.ndarray, x: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the vertices on edges in the plane x, and a key of each by its float32 y and z.

    A vertex at a node is on an edge along x: it only rounds to the plane.
    """
    across = np.ascontiguousarray(vertices[:, 1:])
    here = np.flatnonzero((vertices[:, 0] == x) & (across != np.round(across)).any(1))
    return here, across[here].view(np.uint64)[:, 0]
