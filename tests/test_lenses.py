"""Lenses: exact inverses over a real lens's field of view, and agreement with kornia's models."""

import math
import time

import pytest
import torch

from polyfield.cameras import lenses

# lens, coefficients, degrees off the axis
REAL = {
    "perspective": ("perspective", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 70),
    "barrel": ("opencv", [-0.3, 0.1, 1e-3, -1e-3, 0, 0, 0, 0], 45),
    "phone": ("opencv", [0.0578421, -0.0805099, -0.000980296, 0.00015575, 0, 0, 0, 0], 40.5),
    "rational": ("opencv", [0.5, 0.1, 1e-3, 0, 0.01, 0.9, 0.3, 0.02], 50),
    "fisheye": ("fisheye", [0.05, -0.01, 0.003, -0.0005, 0, 0, 0, 0], 80),
    "wide fisheye": ("fisheye", [0.05, -0.01, 0.003, -0.0005, 0, 0, 0, 0], 110),
}
each_lens = pytest.mark.parametrize("name", REAL)
each_dtype = pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-9)])


def cone(degrees: float, dtype: torch.dtype, count: int = 1000) -> torch.Tensor:
    """Unit directions (N, 3) up to so many degrees off the axis, the axis itself among them."""
    generator = torch.Generator().manual_seed(0)
    off, round_ = torch.rand(2, count, generator=generator, dtype=dtype)
    off = off.sqrt() * math.radians(degrees)
    off[0] = 0
    round_ = round_ * math.tau
    return torch.stack([off.sin() * round_.cos(), off.sin() * round_.sin(), -off.cos()], 1)


def lens_and_view(name: str, dtype: torch.dtype):
    lens, coefficients, degrees = REAL[name]
    seen = cone(degrees, dtype)
    return lens, torch.tensor(coefficients, dtype=dtype).expand(len(seen), 8), seen


@each_dtype
@each_lens
def test_directions_and_image_points_are_inverse(name, dtype, tolerance):
    lens, distortion, seen = lens_and_view(name, dtype)
    points = lenses.image_points(seen, lens, distortion)
    back = lenses.directions(points, lens, distortion)
    torch.testing.assert_close(back, seen, atol=tolerance, rtol=0)
    torch.testing.assert_close(back.norm(dim=1), torch.ones_like(back[:, 0]), atol=tolerance, rtol=0)
    again = lenses.image_points(back, lens, distortion)
    torch.testing.assert_close(again, points, atol=tolerance, rtol=tolerance)


@each_dtype
@pytest.mark.parametrize("name", [name for name in REAL if name != "wide fisheye"])
def test_distort_undoes_undistort(name, dtype, tolerance):
    lens, distortion, seen = lens_and_view(name, dtype)
    points = lenses.image_points(seen, lens, distortion)
    ideal = lenses.undistort(points, lens, distortion)
    torch.testing.assert_close(
        lenses.distort(ideal, lens, distortion), points, atol=tolerance, rtol=tolerance
    )
    pinhole = seen[:, :2] * torch.tensor([1, -1]) / -seen[:, 2:]
    torch.testing.assert_close(ideal, pinhole, atol=10 * tolerance, rtol=10 * tolerance)


def test_opencv_model_by_hand():
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients = [0.1, 0.02, 0.003, 0.004, 0.05, 0.06, 0.07, 0.08]
    x, y = 0.3, -0.4
    r2 = 0.25
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    expected = [
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    ]
    point = torch.tensor([[x, y]], dtype=torch.float64)
    found = lenses.distort(point, "opencv", torch.tensor([coefficients], dtype=torch.float64))
    assert found[0].tolist() == pytest.approx(expected, abs=1e-15)


def test_fisheye_agrees_with_kornia_in_front():
    from kornia.geometry.camera.distortion_kannala_brandt import distort_points_kannala_brandt

    lens, distortion, seen = lens_and_view("fisheye", torch.float64)
    ideal = seen[:, :2] * torch.tensor([1, -1]) / -seen[:, 2:]
    pixels = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64).expand(len(ideal), 4)
    expected = distort_points_kannala_brandt(ideal, torch.cat([pixels, distortion[:, :4]], 1))
    torch.testing.assert_close(lenses.distort(ideal, lens, distortion), expected, atol=1e-12, rtol=0)


def test_equidistant_fisheye_measures_angles():
    points = torch.tensor([[0.0, 0.0], [math.pi / 2, 0.0], [0.0, 2.0]])
    found = lenses.directions(points, "fisheye", torch.zeros(3, 8))
    expected = torch.tensor([[0.0, 0, -1], [1, 0, 0], [0, -math.sin(2), -math.cos(2)]])
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("lens", lenses.LENSES)
def test_image_up_is_camera_up_and_coefficients_are_each_points_own(lens):
    points = torch.tensor([[0.2, -0.1], [0.2, -0.1], [0.1, 0.3]])
    distortion = torch.zeros(3, 8)
    distortion[1, 0] = 0.2
    together = lenses.directions(points, lens, distortion)
    assert (together[0] > 0).tolist() == [True, True, False]
    for i in range(3):
        alone = lenses.directions(points[i : i + 1], lens, distortion[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)
    assert torch.equal(together[0], together[1]) == (lens == "perspective")


@pytest.mark.parametrize("name", ["barrel", "phone", "rational", "fisheye"])
def test_points_no_lens_can_see_stay_finite_unit_directions(name):
    lens, coefficients, _ = REAL[name]
    points = torch.cartesian_prod(torch.linspace(-10, 10, 41), torch.linspace(-10, 10, 41))
    found = lenses.directions(points, lens, torch.tensor(coefficients).expand(len(points), 8))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(points)))


def test_no_points():
    for lens in lenses.LENSES:
        assert lenses.directions(torch.zeros(0, 2), lens, torch.zeros(0, 8)).shape == (0, 3)
        assert lenses.image_points(torch.zeros(0, 3), lens, torch.zeros(0, 8)).shape == (0, 2)


def test_reach_is_where_the_model_folds():
    fold = math.atan(math.sqrt(1 / 0.9))  # r (1 - 0.3 r^2) turns where 0.9 r^2 = 1
    barrel = torch.tensor([-0.3, 0, 0, 0, 0, 0, 0, 0])
    assert lenses.reach("opencv", barrel) == pytest.approx(fold, abs=math.radians(0.1))
    assert lenses.reach("perspective", barrel) == pytest.approx(math.pi / 2, abs=math.radians(0.2))
    assert lenses.reach("fisheye", torch.zeros(8)) == pytest.approx(math.pi, abs=math.radians(0.2))


def test_a_batch_of_rays_is_quick():
    lens, coefficients, degrees = REAL["phone"]
    distortion = torch.tensor(coefficients).expand(4096, 8)
    points = lenses.image_points(cone(degrees, torch.float32, 4096), lens, distortion)
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        lenses.directions(points, lens, distortion)
        seconds.append(time.perf_counter() - begin)
    assert min(seconds) < 5e-3
