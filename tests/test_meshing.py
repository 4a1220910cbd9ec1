"""Meshing against one dense run of marching cubes on the same nodes, and against shapes that are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.rendering.surfaces import meshing
from polyfield.rendering.surfaces.meshing import TooManyFaces, Values, mesh

LOW, HIGH = (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)


def ball(points: Tensor) -> Tensor:
    return (points - points.new_tensor((0.013, -0.021, 0.034))).norm(dim=-1) - 0.7


def box(points: Tensor) -> Tensor:
    """A cube of half size 1/2, whose faces lie on nodes of a grid of 16, 32 or 64 cells."""
    outside = points.abs() - 0.5
    return outside.clamp(min=0).norm(dim=-1) + outside.amax(-1).clamp(max=0)


def dense(values: Values, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Marching cubes on all nodes of the box at once."""
    line = (-1 + 2 / cells * np.arange(cells + 1)).astype(np.float32)
    nodes = torch.from_numpy(np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3))
    vertices, faces, _, _ = marching_cubes(values(nodes).numpy().reshape([cells + 1] * 3), 0.0)
    return -1 + 2 / cells * vertices.astype(np.float64), faces.astype(np.int64)


def triangles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The corners' places (F, 9), rounded, each triangle from its first corner on, in an order of their own."""
    corners = vertices[faces].round(4) + 0.0  # no negative zeros
    turns = np.stack([np.roll(corners, -turn, axis=1).reshape(-1, 9) for turn in range(3)])
    least = [min(turns[:, face].tolist()) for face in range(len(faces))]
    return np.array(sorted(least))


def is_closed(faces: np.ndarray) -> bool:
    """Whether every edge of every face is run along the other way by exactly one other face."""
    edges = np.concatenate([faces[:, (0, 1)], faces[:, (1, 2)], faces[:, (2, 0)]])
    ways, counts = np.unique(edges, axis=0, return_counts=True)
    back = np.unique(edges[:, ::-1], axis=0)
    return bool((counts == 1).all() and np.array_equal(ways, back))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """By the divergence theorem; above 0 where normals point outwards."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)


@pytest.fixture
def thin_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many seams as there can be: one layer of blocks in a slab."""
    monkeypatch.setattr(meshing, "_SLAB", 1)


@pytest.mark.usefixtures("thin_slabs")
@pytest.mark.parametrize("band", [1.0, None])
def test_a_sphere_is_the_dense_one(band: float | None) -> None:
    vertices, faces = mesh(ball, LOW, HIGH, resolution=64, band=band)
    wanted = dense(ball, 64)
    assert vertices.dtype == np.float64 and faces.dtype == np.int64
    assert len(vertices) == len(wanted[0]) and len(faces) == len(wanted[1]) > 10_000
    # A vertex by a node on a seam may be moved by a thousandth of a cell.
    found, expected = (v[np.lexsort(v.round(3).T)] for v in (vertices, wanted[0]))
    np.testing.assert_allclose(found, expected, atol=1.1e-3 * 2 / 64)
    assert is_closed(faces)
    assert volume(vertices, faces) == pytest.approx(4 / 3 * math.pi * 0.7**3, rel=2e-3)


@pytest.mark.usefixtures("thin_slabs")
@pytest.mark.parametrize("shape", [box, lambda x: x.norm(dim=-1) - 0.75, lambda x: x.abs().sum(-1) - 0.75])
def test_nodes_that_are_exactly_on_the_level_leave_no_hole(shape: Values) -> None:
    vertices, faces = mesh(shape, LOW, HIGH, resolution=32, band=2.0)
    wanted = dense(shape, 32)
    assert (len(vertices), len(faces)) == (len(wanted[0]), len(wanted[1]))
    assert is_closed(faces)
    assert volume(vertices, faces) == pytest.approx(volume(*wanted), rel=1e-3)


@pytest.mark.usefixtures("thin_slabs")
def test_every_case_of_marching_cubes_is_joined_across_seams() -> None:
    """Noise has cells of every kind. Away from seams its triangles are the dense ones to the last."""
    noise = torch.rand((17, 17, 17), generator=torch.Generator().manual_seed(3)) - 0.5
    noise = torch.where(noise.abs() < 0.02, 0.02, noise)  # vertices keep off nodes, and are moved by no seam

    def values(points: Tensor) -> Tensor:
        return noise[tuple(((points + 1) * 8).round().long().T)]

    found, wanted = mesh(values, LOW, HIGH, resolution=16, band=100.0), dense(values, 16)
    assert (len(found[0]), len(found[1])) == (len(wanted[0]), len(wanted[1]))
    np.testing.assert_allclose(triangles(*found), triangles(*wanted), atol=1.1e-4)


def test_few_nodes_are_asked_in_batches() -> None:
    asked: list[int] = []

    def counted(points: Tensor) -> Tensor:
        assert points.dtype == torch.float32 and all(axis.is_contiguous() for axis in points.unbind(-1))
        asked.append(len(points))
        return ball(points)

    mesh(counted, LOW, HIGH, resolution=128, band=1.0)
    assert max(asked) <= 2**18 and 0 < sum(asked) < 0.25 * 129**3


def test_a_slope_finds_what_is_smaller_than_a_block() -> None:
    """A ball of 0.9 cells' radius in the middle of a block, far from all of its corners; also for a steeper function."""
    middle = torch.tensor([-1.0, -1.0, -1.0]) + 2 / 64 * 30

    def small(points: Tensor) -> Tensor:
        return (points - middle).norm(dim=-1) - 0.9 * 2 / 64

    for slope in (1.0, 3.0):
        vertices, faces = mesh(lambda x, k=slope: k * small(x), LOW, HIGH, resolution=64, band=slope)
        assert is_closed(faces) and len(vertices) == 6
    assert not len(mesh(lambda x: 3 * small(x), LOW, HIGH, resolution=64, band=1.0)[0])


@pytest.mark.usefixtures("thin_slabs")
def test_without_a_slope_the_mesh_is_closed_even_where_the_surface_leaves_the_blocks() -> None:
    """Spikes from a ball that are thinner than a block reach into blocks that are not looked at."""

    def spiky(points: Tensor) -> Tensor:
        off = points - 2 * 2 / 64  # along the middles of blocks
        spikes = torch.stack([off.roll(axis, 1)[:, :2].norm(dim=-1) - 0.02 for axis in range(3)], -1)
        return torch.minimum(ball(points), torch.maximum(spikes.amin(-1), points.norm(dim=-1) - 0.95))

    vertices, faces = mesh(spiky, LOW, HIGH, resolution=64)
    whole = mesh(spiky, LOW, HIGH, resolution=64, band=1.0)
    assert is_closed(faces) and is_closed(whole[1])
    assert 4 / 3 * math.pi * 0.69**3 < volume(vertices, faces) < volume(*whole)


def test_vertices_are_in_the_world_and_cells_are_cubes() -> None:
    """A slanting plane, which marching cubes meets exactly, through a box of unequal sides that no block divides."""
    normal = torch.tensor([0.5, -0.3, 0.8])
    low, high, cell = (10.0, -4.0, 2.0), (12.0, -3.27, 3.1), 2 / 50

    def plane(points: Tensor) -> Tensor:
        return points @ normal - 8.7

    vertices, faces = mesh(plane, low, high, resolution=50, band=1.0)
    np.testing.assert_allclose(vertices @ normal.numpy(), 8.7, atol=1.1e-3 * cell)
    steps = (vertices - low) / cell
    assert ((np.abs(steps - steps.round()) < 2e-3).sum(1) >= 2).mean() > 0.99
    assert (vertices >= low).all() and (vertices < np.array(high) + cell).all()
    np.testing.assert_allclose(vertices.max(0)[:2], (12.0, -3.24), atol=1e-3)
    corners = vertices[faces]
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (crosses @ normal.numpy() >= 0).all()


def test_a_level_and_a_box_that_cuts_the_surface() -> None:
    vertices, faces = mesh(lambda x: x.norm(dim=-1), (0.0, -1.0, -1.0), HIGH, resolution=40, level=0.5)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.5, atol=1e-3)
    assert vertices[:, 0].min() == 0 and not is_closed(faces)


def test_no_surface_gives_empty_arrays() -> None:
    for far in (lambda x: x[:, 0] + 5, lambda x: x[:, 0] - 5):
        vertices, faces = mesh(far, LOW, HIGH, resolution=20)
        assert vertices.shape == faces.shape == (0, 3) and faces.dtype == np.int64


def test_progress_ends_at_the_total(thin_slabs: None) -> None:
    calls: list[float] = []
    mesh(ball, LOW, HIGH, resolution=32, band=1.0, progress=lambda share, doing="": calls.append(share))
    assert len(calls) > 4 and calls == sorted(calls) and calls[-1] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"high": (1.0, -1.0, 1.0)}, r"high is \[1.0, -1.0, 1.0\]; expected 3 finite numbers"),
        ({"low": (0.0, 0.0, math.nan)}, r"low is \[0.0, 0.0, nan\] and high is .*; expected 3 finite"),
        ({"resolution": 0}, "resolution is 0"),
        ({"band": 0.0}, "band is 0.0"),
        ({"values": lambda x: x[:, 0].log()}, "expected finite numbers"),
    ],
)
def test_refusals(change: dict, said: str) -> None:
    given = {"values": ball, "low": LOW, "high": HIGH, "resolution": 8} | change
    with pytest.raises(PolyfieldError, match=said) as refused:
        mesh(**given)
    assert "\n" not in str(refused.value)


def test_a_surface_that_fills_the_box_is_refused_before_its_triangles_are_made() -> None:
    def noise(x: Tensor) -> Tensor:
        return torch.sin(x @ torch.tensor([[911.0], [-733.0], [577.0]]) * 7)[:, 0]

    with pytest.raises(
        TooManyFaces, match="more than 10,000 triangles at a resolution of 32 cells; use a lower"
    ):
        mesh(noise, LOW, HIGH, resolution=32, most_faces=10_000)
    vertices, faces = mesh(ball, LOW, HIGH, resolution=32)
    bounded = mesh(ball, LOW, HIGH, resolution=32, most_faces=2 * len(faces))
    assert np.array_equal(bounded[0], vertices) and np.array_equal(bounded[1], faces)


def test_crossed_cells_are_counted() -> None:
    slab = np.random.Generator(np.random.Philox(1)).normal(size=(5, 6, 7))
    inside = slab > 0
    slow = sum(
        0 < inside[x : x + 2, y : y + 2, z : z + 2].sum() < 8
        for x in range(4)
        for y in range(5)
        for z in range(6)
    )
    assert meshing._crossed_cells(slab) == slow
