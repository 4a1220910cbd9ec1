"""Cameras, their rays and projections, and the paths round what they look at."""

import math

import pytest
import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.cameras.keyframes import tour
from polyfield.cameras.orbit import orbit
from polyfield.errors import PolyfieldError

COEFFICIENTS = {
    "perspective": [0.0] * 8,
    "opencv": [0.0578421, -0.0805099, -0.000980296, 0.00015575, 0, 0, 0, 0],
    "fisheye": [0.05, -0.01, 0.003, -0.0005, 0, 0, 0, 0],
}
UP = torch.tensor([0.0, 0.0, 1.0])


def ring(
    views: int, *, start: float = 0.0, end: float = 360.0, centre=(0.0, 0.0, 0.0), height=1.0
) -> torch.Tensor:
    """Poses (V, 3, 4) on part of a circle of radius 3 above a centre, looking at it; end is not reached."""
    azimuth = torch.deg2rad(start + (end - start) * torch.arange(views) / views)
    eye = torch.stack([3 * azimuth.cos(), 3 * azimuth.sin(), torch.full_like(azimuth, height)], 1)
    return look_at(eye + torch.tensor(centre), torch.tensor(centre), UP)


def mixed() -> Cameras:
    """Six cameras of all lenses, sizes and times."""
    lens = ("perspective", "opencv", "fisheye") * 2
    return Cameras(
        c2w=ring(6),
        intrinsics=torch.tensor([[60.0 + i, 61.0 + i, 31.0 + i, 23.5] for i in range(6)]),
        sizes=torch.tensor([[64 + 2 * i, 48] for i in range(6)]),
        lens=lens,
        distortion=torch.tensor([COEFFICIENTS[name] for name in lens]),
        times=torch.linspace(0, 1, 6),
    )


def pixels_of(cameras: Cameras, count: int = 500) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(len(cameras), (count,), generator=generator)
    return frames, torch.rand(count, 2, generator=generator) * cameras.sizes[frames]


def test_rays_have_unit_directions_and_their_cameras_origin_and_time():
    cameras = mixed()
    frames, uv = pixels_of(cameras)
    rays = cameras.rays(frames, uv)
    torch.testing.assert_close(rays.directions.norm(dim=1), torch.ones(500))
    assert torch.equal(rays.origins, cameras.c2w[frames][:, :, 3])
    assert torch.equal(rays.times, cameras.times[frames])


def test_the_principal_point_looks_along_minus_z():
    cameras = mixed()
    rays = cameras.rays(torch.arange(6), cameras.intrinsics[:, 2:])
    torch.testing.assert_close(rays.directions, -cameras.c2w[:, :, 2], atol=1e-6, rtol=0)


def test_right_and_down_in_the_picture():
    c2w = torch.eye(4)[None, :3]
    cameras = Cameras.perspective(c2w, focal=10, size=(20, 20))
    found = cameras.rays(
        torch.zeros(2, dtype=torch.int64), torch.tensor([[20.0, 10.0], [10.0, 20.0]])
    ).directions
    side = math.sqrt(0.5)
    torch.testing.assert_close(found, torch.tensor([[side, 0, -side], [0, -side, -side]]))


def test_mixed_lenses_in_one_call_equal_each_alone():
    cameras = mixed()
    frames, uv = pixels_of(cameras)
    together = cameras.rays(frames, uv).directions
    for i in range(6):
        own = frames == i
        alone = cameras[[i]].rays(torch.zeros(int(own.sum()), dtype=torch.int64), uv[own])
        torch.testing.assert_close(together[own], alone.directions, atol=1e-6, rtol=0)


def test_projecting_a_ray_gives_its_pixel_for_every_lens():
    cameras = mixed()
    for frame in range(6):
        rays = cameras.image_rays(frame)
        width, height = cameras.sizes[frame].tolist()
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        centres = torch.stack([columns, rows], -1).reshape(-1, 2) + 0.5
        uv, depth = cameras.project(frame, rays.origins + 2.5 * rays.directions)
        torch.testing.assert_close(uv, centres, atol=1e-3, rtol=0)
        torch.testing.assert_close(depth, 2.5 * (rays.directions @ -cameras.c2w[frame, :, 2]))


def test_a_fisheye_sees_behind_itself():
    camera = Cameras(
        c2w=torch.eye(4)[None, :3],
        intrinsics=torch.tensor([[10.0, 10.0, 20.0, 20.0]]),
        sizes=torch.tensor([[40, 40]]),
        lens=("fisheye",),
        distortion=torch.tensor([COEFFICIENTS["fisheye"]]),
    )
    ray = camera.rays(torch.tensor([0]), torch.tensor([[39.5, 20.0]]))
    uv, depth = camera.project(0, 3 * ray.directions)
    assert depth[0] < 0
    assert uv[0].tolist() == pytest.approx([39.5, 20.0], abs=1e-3)


@pytest.mark.parametrize("lens, x", [("perspective", [0.1, 0.1, 1.0]), ("opencv", [1.74, 0.0, -1.0])])
def test_what_a_lens_cannot_see_is_in_no_picture(lens, x):
    camera = Cameras(
        c2w=torch.eye(4)[None, :3],
        intrinsics=torch.tensor([[687.0, 687.0, 270.0, 480.0]]),
        sizes=torch.tensor([[540, 960]]),
        lens=(lens,),
        distortion=torch.tensor([COEFFICIENTS[lens]]),
    )
    uv, depth = camera.project(0, torch.tensor([x, [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]]))
    assert uv[0].tolist() == [math.inf, math.inf]
    assert uv[1].tolist() == pytest.approx([270, 480])
    assert uv[2].isinf().all()
    assert depth.tolist() == [-x[2], 1, 0]


def test_image_rays_are_in_row_major_order_and_in_parts():
    cameras = mixed()
    whole = cameras.image_rays(1)
    assert len(whole) == 66 * 48
    uv = torch.tensor([[0.5, 0.5], [1.5, 0.5], [0.5, 1.5]])
    expected = cameras.rays(torch.tensor([1, 1, 1]), uv).directions
    torch.testing.assert_close(whole.directions[[0, 1, 66]], expected)
    parts = [cameras.image_rays(1, 0, 100), cameras.image_rays(1, 100)]
    torch.testing.assert_close(torch.cat([part.directions for part in parts]), whole.directions)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_scaled_keeps_the_rays_of_block_centres(k):
    cameras = mixed()
    small = cameras.scaled(k)
    assert torch.equal(small.sizes, cameras.sizes // k)
    frames, uv = pixels_of(small)
    torch.testing.assert_close(
        small.rays(frames, uv).directions, cameras.rays(frames, uv * k).directions, atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("k", [0, -1, 49])
def test_scaled_to_nothing_is_an_error(k):
    with pytest.raises(PolyfieldError, match=f"downscale is {k}; expected 1 to 48"):
        mixed().scaled(k)


@pytest.mark.parametrize(
    "indices, expected",
    [
        ([4, 1], [4, 1]),
        (slice(1, None, 2), [1, 3, 5]),
        (torch.tensor([5, 5]), [5, 5]),
        (torch.tensor([True, False, False, False, False, True]), [0, 5]),
        ([], []),
    ],
)
def test_choosing_cameras(indices, expected):
    cameras = mixed()
    chosen = cameras[indices]
    assert len(chosen) == len(expected)
    assert chosen.lens == tuple(cameras.lens[i] for i in expected)
    for name in ("c2w", "intrinsics", "sizes", "distortion", "times"):
        assert torch.equal(
            getattr(chosen, name), getattr(cameras, name)[torch.tensor(expected, dtype=torch.int64)]
        )


def test_to_moves_all_but_the_sizes():
    moved = mixed().to("meta")
    assert moved.sizes.device.type == "cpu"
    for name in ("c2w", "intrinsics", "distortion", "times"):
        assert getattr(moved, name).device.type == "meta"
    assert Cameras.perspective(ring(2), focal=1, size=(2, 2)).to("cpu").times is None


@pytest.mark.parametrize("up", [[0.0, 0, 1], [0.0, 0, -7], [0.0, 1, 0], [1.0, 0, 0], [0.0, 0, 0]])
def test_look_at_gives_right_handed_rotations_towards_the_target(up):
    eye = torch.tensor([[0.0, 0, 5], [0, 0, -5], [3, 0, 0], [0, -2, 0], [1, 2, 3]])
    target = torch.zeros(3)
    c2w = look_at(eye, target, torch.tensor(up))
    rotation = c2w[:, :, :3]
    torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).expand(5, 3, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(5))
    torch.testing.assert_close(-c2w[:, :, 2], -eye / eye.norm(dim=1, keepdim=True))
    assert (c2w[:, :, 1] @ torch.tensor(up) > -1e-5).all()


def test_look_at_from_the_target_is_an_error():
    with pytest.raises(PolyfieldError, match=r"camera 1 .* \(1, 2, 3\)"):
        look_at(torch.tensor([[0.0, 0, 0], [1, 2, 3]]), torch.tensor([1.0, 2, 3]), UP)


def test_focus_is_where_the_axes_meet():
    centre = (100.0, -200.0, 300.0)
    found = Cameras.perspective(ring(20, centre=centre), focal=1, size=(2, 2)).focus()
    torch.testing.assert_close(found, torch.tensor(centre), atol=1e-3, rtol=0)


@pytest.mark.filterwarnings("error")
def test_focus_of_parallel_single_and_parting_axes_is_in_front():
    parallel = torch.eye(4)[None, :3].repeat(3, 1, 1)
    parallel[:, 0, 3] = torch.tensor([0.0, 1.0, 5.0])  # distances 1, 5, 4
    cameras = Cameras.perspective(parallel, focal=1, size=(2, 2))
    assert cameras.focus().tolist() == pytest.approx([2, 0, -4])
    assert cameras[[0]].focus().tolist() == pytest.approx([0, 0, -1])
    parting = look_at(
        torch.tensor([[-1.0, 0, -1], [1, 0, -1]]), torch.tensor([0.0, 0, 0]), torch.tensor([0.0, 1, 0])
    )
    parting[:, :, [0, 2]] *= -1
    assert Cameras.perspective(parting, focal=1, size=(2, 2)).focus()[2] < -1


def test_orbit_is_a_closed_circle_that_looks_at_the_centre():
    centre = (5.0, -4.0, 2.0)
    cameras = Cameras.perspective(ring(30, start=77, end=437, centre=centre), focal=50, size=(41, 31))
    path = orbit(cameras, frames=24)
    assert len(path) == 24 and path.times is None and set(path.lens) == {"perspective"}
    arms = path.c2w[:, :, 3] - torch.tensor(centre)
    torch.testing.assert_close(arms.norm(dim=1), torch.full((24,), math.sqrt(10)), atol=1e-4, rtol=0)
    torch.testing.assert_close(path.c2w[0], cameras.c2w[0], atol=1e-4, rtol=0)
    for frame in range(24):
        uv, depth = path.project(frame, torch.tensor([centre]))
        assert uv[0].tolist() == pytest.approx([20, 15], abs=1e-2)
        assert depth[0] > 0
    steps = (arms - arms.roll(1, 0)).norm(dim=1)  # the last view to the first among them
    torch.testing.assert_close(steps, torch.full((24,), 6 * math.sin(math.pi / 24)), atol=1e-4, rtol=0)
    torch.testing.assert_close(path.c2w[:, 2, 1] > 0, torch.ones(24, dtype=torch.bool))


@pytest.mark.parametrize("tilt, snapped", [(15, True), (30, False)])
def test_orbit_snaps_its_axis_to_a_near_world_axis(tilt, snapped):
    angle = math.radians(tilt)
    turn = torch.tensor(
        [[1.0, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]]
    )
    path = orbit(Cameras.perspective(turn @ ring(24, height=0.0), focal=9, size=(8, 8)), frames=12)
    axis = UP if snapped else turn @ UP
    heights = path.c2w[:, :, 3] @ axis
    torch.testing.assert_close(heights, heights[:1].expand(12), atol=1e-4, rtol=0)


def test_orbit_swings_where_cameras_stand_on_one_side():
    cameras = Cameras.perspective(ring(21, start=150, end=255), focal=50, size=(40, 30))
    path = orbit(cameras[[7, *range(7), *range(8, 21)]], frames=40)
    azimuth = torch.rad2deg(torch.atan2(path.c2w[:, 1, 3], path.c2w[:, 0, 3])) % 360
    assert azimuth[0].item() == pytest.approx(185, abs=0.1)
    assert azimuth.min().item() == pytest.approx(150, abs=0.5)
    assert azimuth.max().item() == pytest.approx(250, abs=0.5)
    assert (azimuth - azimuth.roll(1)).abs().max() < 10


def test_orbit_of_one_camera_moves_a_little_about_it():
    path = orbit(Cameras.perspective(ring(1), focal=50, size=(40, 30)), frames=8)
    torch.testing.assert_close(path.c2w[0], path.c2w[4], atol=1e-5, rtol=0)
    assert 0.05 < (path.c2w[2, :, 3] - path.c2w[6, :, 3]).norm() < 1


@pytest.mark.parametrize(
    "size, expected, focal",
    [
        (None, [540, 960], 687),
        ((1281, 721), [1280, 720], 687 * 721 / 961),
        ((270, 999), [270, 998], 687 * 270 / 541),
    ],
)
def test_orbit_sizes_are_even_and_hold_the_whole_first_view(size, expected, focal):
    path = orbit(Cameras.perspective(ring(9), focal=687, size=(541, 961)), frames=3, size=size)
    assert path.sizes.tolist() == [expected] * 3
    assert path.intrinsics[0].tolist() == pytest.approx([focal, focal, expected[0] / 2, expected[1] / 2])


def test_orbit_of_a_moving_scene_runs_through_its_time():
    path = orbit(mixed(), frames=5)
    assert path.times.tolist() == [0, 0.25, 0.5, 0.75, 1]
    some = mixed()
    some.times[:] = torch.tensor([0.25, 0.5, 0.75, 0.5, 0.5, 0.5])
    assert orbit(some, frames=3).times.tolist() == tour(some, frames=3).times.tolist() == [0.25, 0.5, 0.75]


def test_orbit_of_cameras_that_go_round_nothing_is_an_error():
    inwards = Cameras.perspective(ring(4), focal=5, size=(4, 4))
    panorama = inwards.c2w.clone()
    panorama[:, :, 3] = 0  # all from one place
    with pytest.raises(PolyfieldError, match="use --path test for the test views"):
        orbit(Cameras.perspective(panorama, focal=5, size=(4, 4)), frames=4)
    with pytest.raises(PolyfieldError, match="found 0 cameras"):
        orbit(inwards[[]], frames=4)
