"""Metrics of pictures and shapes, and the mesh queries that shapes are fitted to: closed forms and slow references."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
import trimesh

from polyfield.data import mesh_queries
from polyfield.data.mesh_queries import MeshQueries
from polyfield.errors import PolyfieldError
from polyfield.fitting.metrics import images as metrics
from polyfield.fitting.metrics.surfaces import (
    compare_surfaces,
    interior_iou,
    sample_surface,
    surface_distances,
)
from polyfield.fitting.points.union_surface import UnionSurface

MESHES = Path(__file__).parents[2] / "shared" / "data" / "meshes"

CUBE = np.array([(x, y, z) for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
CUBE_FACES = np.array(
    [
        (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
        (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3),
    ]
)  # fmt: skip


def sphere(radius: float, count: int = 4000, centre: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Points and outward normals of a sphere, on a Fibonacci spiral: nearly even, the same for every radius."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = math.pi * (3 - math.sqrt(5)) * np.arange(count)
    across = np.sqrt(1 - height**2)
    normals = np.stack([across * np.cos(turn), across * np.sin(turn), height], 1)
    return centre + radius * normals, normals


def pictures(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth picture and one that is somewhat like it."""
    y, x = torch.meshgrid(torch.linspace(0, 9, height), torch.linspace(0, 7, width), indexing="ij")
    picture = (
        torch.stack([torch.sin(x * y), torch.sin(x + 2 * y), torch.cos(x * x - y)], -1).double() / 2 + 0.5
    )
    noise = torch.rand(picture.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    return (0.9 * picture + 0.3 * noise).clamp(0, 1), picture


class TestPictures:
    def test_psnr_knows_its_peak(self):
        a = torch.zeros(4, 4, 3)
        assert metrics.psnr(a, a + 25.5, peak=255.0) == pytest.approx(20.0, abs=1e-5)
        assert metrics.psnr(a, a, peak=255.0) == math.inf

    def test_the_finest_scale_is_ssim(self):
        found, wanted = pictures(61, 83)
        means = [metrics.mean_similarities(found[..., c], wanted[..., c])[0] for c in range(3)]
        assert np.mean(means) == pytest.approx(metrics.ssim(found, wanted), abs=1e-9)

    def test_ms_ssim_is_its_formula(self, monkeypatch):
        """Against every window written out, on a size that is odd at several scales, band by band of rows."""
        monkeypatch.setattr(metrics, "_BAND_ROWS", 37)
        at = np.arange(11) - 5
        window = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
        window /= window.sum()

        def windowed(plane: np.ndarray) -> np.ndarray:
            return np.einsum("yxij,ij->yx", np.lib.stride_tricks.sliding_window_view(plane, (11, 11)), window)

        def halved(plane: np.ndarray) -> np.ndarray:
            plane = plane[: len(plane) // 2 * 2, : plane.shape[1] // 2 * 2]
            return (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4

        found, wanted = (picture[..., :2] for picture in pictures(179, 203))
        products = []
        for a, b in zip(found.numpy().transpose(2, 0, 1), wanted.numpy().transpose(2, 0, 1)):
            product = 1.0
            for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
                ma, mb = windowed(a), windowed(b)
                va, vb, both = windowed(a * a) - ma**2, windowed(b * b) - mb**2, windowed(a * b) - ma * mb
                term = (2 * both + 0.03**2) / (va + vb + 0.03**2)
                if scale == 4:
                    term = term * (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)
                product *= term.mean() ** weight
                a, b = halved(a), halved(b)
            products.append(product)
        assert 0.3 < np.mean(products) < 0.97
        assert metrics.ms_ssim(found, wanted) == pytest.approx(np.mean(products), abs=1e-9)

    def test_ms_ssim_in_closed_form(self):
        """Plain pictures differ by the luminance of the coarsest scale alone."""
        a, b = torch.full((176, 190, 3), 0.5), torch.full((176, 190, 3), 0.25)
        luminance = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
        assert metrics.ms_ssim(a, b) == pytest.approx(luminance**0.1333, abs=1e-9)
        found, wanted = (picture[..., :1] for picture in pictures(176, 176))
        assert metrics.ms_ssim(wanted, wanted) == pytest.approx(1.0)
        assert metrics.ms_ssim(found, wanted) == pytest.approx(metrics.ms_ssim(wanted, found))
        assert metrics.ms_ssim(1 - wanted, wanted) == 0  # contrast and structure are negative
        assert math.isnan(metrics.ms_ssim(found[:175], wanted[:175]))


class TestInteriorIou:
    def test_by_hand(self):
        found = np.array([True, True, True, False, False, False])
        wanted = np.array([False, True, True, True, False, False])
        assert interior_iou(found, wanted) == 2 / 4
        assert interior_iou(found, found) == 1 and interior_iou(found, ~found) == 0

    def test_it_is_of_the_interior_however_much_is_outside(self):
        """Balls of radii 0.49 and 0.5: the ratio of their volumes, in a box of any size."""
        for half in (0.5, 2.0):
            points = np.random.Generator(np.random.Philox(1)).uniform(-half, half, (500_000, 3))
            radius = np.linalg.norm(points, axis=1)
            found = interior_iou(radius < 0.49, radius < 0.5)
            assert found == pytest.approx(0.98**3, abs=5 * math.sqrt(0.06 / (radius < 0.5).sum()))

    def test_nothing_inside_is_nan(self):
        assert math.isnan(interior_iou(np.zeros(4, bool), np.zeros(4, bool)))

    @pytest.mark.parametrize("other", [np.zeros(5, bool), np.zeros(4), np.zeros((4, 1), bool)])
    def test_refusals(self, other):
        with pytest.raises(PolyfieldError, match="expected two bool arrays of one shape"):
            interior_iou(np.zeros(4, bool), other)
        with pytest.raises(PolyfieldError, match="not empty"):
            interior_iou(np.zeros(0, bool), np.zeros(0, bool))


class TestSampleSurface:
    def test_points_are_on_the_faces_and_as_many_as_their_area_asks_for(self):
        """A box of sides 1, 2 and 4: each pair of sides gets its share of points, spread evenly over it."""
        points, normals = sample_surface(CUBE * (1, 2, 4), CUBE_FACES, 60_000, seed=3)
        assert points.shape == normals.shape == (60_000, 3)
        unit = points / (1, 2, 4)
        for axis, area in enumerate((8, 4, 2)):
            for side in (0, 1):
                on = normals @ np.eye(3)[axis] == 2 * side - 1
                np.testing.assert_allclose(unit[on, axis], side, atol=1e-12)
                assert on.mean() == pytest.approx(area / 28, abs=0.01)
                others = np.delete(unit[on], axis, 1)
                np.testing.assert_allclose(others.mean(0), 0.5, atol=0.02)
                np.testing.assert_allclose(others.var(0), 1 / 12, atol=0.01)
                assert abs(np.cov(others.T)[0, 1]) < 0.005
        assert np.abs(normals).sum() == 60_000

    def test_seeds(self):
        one, again, other = (sample_surface(CUBE, CUBE_FACES, 50, seed=seed)[0] for seed in (1, 1, 2))
        assert np.array_equal(one, again) and not np.array_equal(one, other)

    def test_faces_without_area_are_never_drawn(self):
        faces = np.concatenate([[(0, 0, 1)], CUBE_FACES[:1], [(3, 3, 3), (1, 2, 1)]])
        points, normals = sample_surface(CUBE, faces, 1000, seed=0)
        assert (points[:, 0] == 0).all() and (normals == (-1, 0, 0)).all()

    @pytest.mark.parametrize("faces", [np.zeros((0, 3), int), [(0, 0, 1)]])
    def test_refusals(self, faces):
        with pytest.raises(PolyfieldError, match="is 0 or not finite"):
            sample_surface(CUBE, faces, 10, seed=0)


class TestSurfaces:
    def test_distances_are_those_of_all_pairs(self):
        rng = np.random.Generator(np.random.Philox(5))
        a, b, na, nb = rng.normal(size=(4, 60, 3))
        for (points, normals), (others, other_normals), found in zip(
            ((a, na), (b[:40], nb[:40])),
            ((b[:40], nb[:40]), (a, na)),
            surface_distances(a, na, b[:40], nb[:40]),
        ):
            for point, normal, distance, angle in zip(points, normals, *found):
                all_distances = [math.dist(point, other) for other in others]
                assert distance == pytest.approx(min(all_distances))
                other = other_normals[all_distances.index(min(all_distances))]
                cosine = normal @ other / np.linalg.norm(normal) / np.linalg.norm(other)
                assert angle == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-5)

    def test_concentric_spheres_are_as_far_apart_as_their_radii(self):
        found = compare_surfaces(sphere(0.51), sphere(0.5), threshold=0.011)
        assert found["chamfer"] == pytest.approx(0.01, rel=1e-9)
        assert found["f_score"] == 1 and found["normal_error_degrees"] == pytest.approx(0, abs=1e-9)
        assert compare_surfaces(sphere(0.51), sphere(0.5), threshold=0.009)["f_score"] == 0

    def test_a_surface_is_itself(self):
        found = compare_surfaces(sphere(0.5), sphere(0.5), threshold=1e-9)
        assert found == {"chamfer": 0.0, "f_score": 1.0, "normal_error_degrees": 0.0}

    def test_inside_out_is_wrong_by_180_degrees(self):
        points, normals = sphere(0.5)
        assert compare_surfaces((points, -normals), (points, normals), threshold=0.1)[
            "normal_error_degrees"
        ] == pytest.approx(180)

    @pytest.mark.parametrize("degrees", [1e-5, 4.93, 90.0, 135.0])
    def test_a_turned_plane_has_its_angle(self, degrees):
        flat = np.random.Generator(np.random.Philox(2)).uniform(-1, 1, (500, 3)) * (1, 1, 0)
        up = np.broadcast_to((0.0, 0.0, 1.0), flat.shape)
        turned = np.broadcast_to(
            (0.0, math.sin(math.radians(degrees)), math.cos(math.radians(degrees))), flat.shape
        )
        found = compare_surfaces((flat, up), (flat, 3 * turned), threshold=0.1)
        assert found["normal_error_degrees"] == pytest.approx(degrees, rel=1e-9)

    def test_both_directions_count_alike(self):
        """Two spheres against one of them: all that was found is right, half of what was wanted is there."""
        one, two = sphere(0.5, 1000), sphere(0.5, 1000, centre=10.0)
        both = tuple(np.concatenate(pair) for pair in zip(one, two))
        found, swapped = (
            compare_surfaces(one, both, threshold=0.1),
            compare_surfaces(both, one, threshold=0.1),
        )
        assert found["f_score"] == swapped["f_score"] == pytest.approx(2 * 1 * 0.5 / 1.5)
        away = surface_distances(*two, *one)[0][0].mean()
        assert found["chamfer"] == swapped["chamfer"] == pytest.approx(away / 4)

    @pytest.mark.parametrize(
        ("points", "normals", "said"),
        [
            (np.zeros((0, 3)), np.zeros((0, 3)), "at least one point"),
            (np.ones((4, 3)), np.ones((5, 3)), "expected"),
            (np.full((4, 3), math.nan), np.ones((4, 3)), "not finite"),
            (np.ones((4, 3)), np.zeros((4, 3)), "length 0"),
        ],
    )
    def test_refusals(self, points, normals, said):
        with pytest.raises(PolyfieldError, match=f"first surface.*{said}"):
            compare_surfaces((points, normals), sphere(1.0, 10), threshold=0.1)
        with pytest.raises(PolyfieldError, match=f"second surface.*{said}"):
            compare_surfaces(sphere(1.0, 10), (points, normals), threshold=0.1)

    @pytest.mark.parametrize("threshold", [0.0, math.nan])
    def test_a_threshold_is_positive(self, threshold):
        with pytest.raises(PolyfieldError, match="threshold"):
            compare_surfaces(sphere(1.0, 10), sphere(1.0, 10), threshold=threshold)


@pytest.fixture
def open3d():
    return pytest.importorskip("open3d", reason="Open3D does not load here", exc_type=ImportError)


def cube_distances(points: np.ndarray) -> np.ndarray:
    """Signed distances to the cube 0..1."""
    outside = np.abs(points - 0.5) - 0.5
    return np.linalg.norm(outside.clip(min=0), axis=1) + outside.max(1).clip(max=0)


@pytest.mark.usefixtures("open3d")
class TestMeshQueries:
    @pytest.mark.parametrize(("size", "offset"), [(1.0, 0.0), (1e-4, 0.0), (250.0, 4e5)])
    def test_a_cube_of_any_size_anywhere(self, size, offset):
        """Also on its diagonals and in the planes of its faces, where rays meet edges and corners."""
        line = np.linspace(-0.5, 1.5, 29)
        points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
        wanted = cube_distances(points)
        clear = np.abs(wanted) > 1e-4
        mesh = (size * CUBE + offset, CUBE_FACES)
        found = MeshQueries(*mesh).signed_distance(size * points + offset)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found / size, wanted, atol=1e-6)
        np.testing.assert_allclose(
            MeshQueries(*mesh).distance(size * points + offset) / size, np.abs(wanted), atol=1e-6
        )
        inside = MeshQueries(*mesh).inside(size * points + offset)
        assert inside.dtype == bool and 0 < inside.sum() < len(points)
        assert np.array_equal(inside[clear], (wanted < 0)[clear])

    def test_signs_of_a_real_mesh_are_its_winding_numbers(self):
        """Solid angles of all faces about a point sum to 4 pi inside and to 0 outside (Van Oosterom, Strackee 1983)."""
        if not MESHES.is_dir():
            pytest.skip("evaluation data ../shared/data/meshes is not here")
        lines = (MESHES / "fandisk.obj").read_text().splitlines()
        vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float)
        faces = np.array([line.split()[1:4] for line in lines if line.startswith("f ")], int) - 1
        low, high = vertices.min(0), vertices.max(0)
        points = np.random.Generator(np.random.Philox(4)).uniform(low, high, (100, 3))
        around = []
        for point in points:
            a, b, c = (vertices[faces] - point).transpose(1, 0, 2)
            la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
            triple = (a * np.cross(b, c)).sum(1)
            rest = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
            around.append(2 * np.arctan2(triple, rest).sum() / (4 * math.pi))
        inside = np.abs(around) > 0.5
        np.testing.assert_allclose(np.abs(around), inside, atol=1e-6)
        assert 20 < inside.sum() < 80
        assert np.array_equal(MeshQueries(vertices, faces).inside(points), inside)
        assert np.array_equal(MeshQueries(vertices, faces).signed_distance(points) < 0, inside)

    def test_batches_and_progress(self, monkeypatch):
        points = np.random.Generator(np.random.Philox(6)).uniform(-1, 2, (1000, 3))
        whole = MeshQueries(CUBE, CUBE_FACES).signed_distance(points)
        monkeypatch.setattr(mesh_queries, "_BATCH", 300)
        calls = []
        again = MeshQueries(CUBE, CUBE_FACES).signed_distance(
            points, progress=lambda share, doing="": calls.append(share)
        )
        np.testing.assert_allclose(again, whole, atol=1e-6)
        assert calls == [0.3, 0.6, 0.9, 1.0]

    def test_no_points(self):
        assert MeshQueries(CUBE, CUBE_FACES).inside(np.zeros((0, 3))).shape == (0,)

    @pytest.mark.parametrize(
        ("vertices", "faces", "points", "said"),
        [
            (CUBE, np.zeros((0, 3), int), CUBE, "at least one face"),
            (CUBE, CUBE_FACES + 1, CUBE, "faces refer to vertices 1 to 8; expected 0 to 7"),
            (CUBE * 0, CUBE_FACES, CUBE, "has an extent of 0.0; expected a finite one above 0"),
            (CUBE * math.nan, CUBE_FACES, CUBE, "NaN or infinite"),
            (CUBE, CUBE_FACES, np.full_like(CUBE, math.inf), "NaN or infinite"),
            (CUBE, CUBE_FACES, CUBE[:, :2], r"points has shape \(8, 2\); expected \(N, 3\)"),
        ],
    )
    def test_refusals(self, vertices, faces, points, said):
        with np.errstate(invalid="ignore"), pytest.raises(PolyfieldError, match=said):
            MeshQueries(vertices, faces).distance(points)


def test_without_open3d_the_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(PolyfieldError, match=r"pip install 'polyfield\[mesh\]'") as refused:
        MeshQueries(CUBE, CUBE_FACES).distance(CUBE)
    assert "\n" not in str(refused.value)


def box(low, high, outwards=True) -> tuple[np.ndarray, np.ndarray]:
    """A box with corners low and high, wound outwards or inwards."""
    vertices = low + CUBE_UNIT * (np.array(high, np.float64) - low)
    return vertices, CUBE_FACES if outwards else CUBE_FACES[:, ::-1]


CUBE_UNIT = (CUBE - CUBE.min(0)) / np.ptp(CUBE, axis=0)


def joined(*bodies) -> tuple[np.ndarray, np.ndarray]:
    first = np.cumsum([0, *(len(vertices) for vertices, _ in bodies)])
    return np.concatenate([v for v, _ in bodies]), np.concatenate(
        [f + at for (_, f), at in zip(bodies, first)]
    )


@pytest.mark.usefixtures("open3d")
class TestBodies:
    """Solids of several bodies are what their winding numbers say, not every second layer."""

    A, B, C = ((0, 0, 0), (2, 2, 2)), ((1, 1, 1), (3, 3, 3)), ((0.5, 0.5, 0.5), (1.5, 1.5, 1.5))
    SOLIDS: ClassVar = {
        "apart": ([box(*A), box((5, 0, 0), (6, 1, 1))], lambda a, b: a | b, False),
        "overlapping": ([box(*A), box(*B)], lambda a, b: a | b, True),
        "one within another": ([box(*A), box(*C)], lambda a, b: a | b, True),
        "a cavity": ([box(*A), box(*C, outwards=False)], lambda a, b: a & ~b, False),
        "inside out": ([box(*A, outwards=False)], lambda a: a, False),
        "sharing three planes": ([box(*A), box((0, 0, 1), (2, 2, 3))], lambda a, b: a | b, True),
    }

    @pytest.mark.parametrize("name", SOLIDS)
    def test_inside(self, name):
        bodies, combine, overlaps = self.SOLIDS[name]
        queries = MeshQueries(*joined(*bodies))
        points = np.random.default_rng(0).uniform(-0.5, 6.5, (50_000, 3)) * (1, 0.6, 0.6)
        within = [((v.min(0) < points) & (points < v.max(0))).all(1) for v, _ in bodies]
        assert queries.overlaps == overlaps
        assert np.array_equal(queries.inside(points), combine(*within))
        assert np.array_equal(queries.signed_distance(points) < 0, combine(*within))

    @pytest.mark.parametrize("outwards", [True, False])
    def test_a_small_body_within_one_of_many_faces(self, outwards):
        ball = trimesh.creation.icosphere(5)
        low, high = np.array([0.28, 0.18, 0.08]), np.array([0.32, 0.22, 0.12])
        queries = MeshQueries(
            *joined((np.asarray(ball.vertices), np.asarray(ball.faces)), box(low, high, outwards))
        )
        assert queries.overlaps == outwards
        assert queries.inside(np.array([[0.3, 0.2, 0.1]])).tolist() == [outwards]

    def test_the_surface_of_a_union_has_no_hidden_faces(self):
        mesh = joined(box(*self.A), box(*self.B))
        surface = UnionSurface(*mesh, MeshQueries(*mesh))
        points, normals = surface.sample(100_000, seed=1)
        in_a = ((points > 1e-6) & (points < 2 - 1e-6)).all(1)
        in_b = ((points > 1 + 1e-6) & (points < 3 - 1e-6)).all(1)
        assert len(points) == 100_000 and not (in_a | in_b).any()
        # Of each cube 24 squares less 3 in the other; the corner's outwards normals stand along the axes.
        assert abs(((points <= 2).all(1)).mean() - 0.5) < 0.01 and np.allclose(np.abs(normals).sum(1), 1)
        outside = points + 1e-3 * normals
        assert not MeshQueries(*mesh).inside(outside).any()

    def test_distances_within_a_union_are_to_its_surface(self):
        mesh = joined(box((0, 0, 0), (4, 4, 2.5)), box((0, 0, 1.5), (4, 4, 4)))  # together the cube (0, 4)^3
        surface = UnionSurface(*mesh, MeshQueries(*mesh))
        points = np.random.default_rng(2).uniform(-1, 5, (20_000, 3))
        away = np.abs(points - 2) - 2
        exact = np.linalg.norm(np.maximum(away, 0), axis=1) + np.minimum(away.max(1), 0)
        assert np.abs(surface.signed_distance(points) - exact).max() < 0.03
        assert np.abs(MeshQueries(*mesh).signed_distance(points) - exact).max() > 1
