"""The built-in scenes: their shapes' distances, the pictures, the folder and the cache."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from polyfield.demo import scenes as demo
from polyfield.demo import shapes as demo_shapes
from polyfield.demo.scenes import demo_scene, make_scene
from polyfield.errors import PolyfieldError

SOLIDS = {
    "sphere": demo_shapes.sphere(0.4),
    "box": demo_shapes.rounded_box((0.5, 0.3, 0.2), 0.05),
    "torus": demo_shapes.torus(0.5, 0.15),
    "capsule": demo_shapes.capsule(0.3, 0.2),
    "cylinder": demo_shapes.cylinder(0.4, 0.3, 0.05),
    "disc": demo_shapes.cylinder(0.05, 0.8, 0.02),
    "union": demo_shapes.smooth_union(demo_shapes.sphere(0.3), demo_shapes.sphere(0.2), 0.4, 0.2),
}
TIMES = (0.0, 0.13, 0.4, 0.5, 0.77, 1.0)


def cloud(count: int, seed: int = 0) -> torch.Tensor:
    return 2.6 * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) - 1.3


@pytest.mark.parametrize("name", SOLIDS)
def test_distances_never_grow_faster_than_the_way(name: str) -> None:
    """1-Lipschitz, far and near: what sphere tracing rests on."""
    distance = SOLIDS[name]
    first = cloud(20000)
    for second in (cloud(20000, seed=1), first + 0.01 * cloud(20000, seed=2)):
        way = (first - second).norm(dim=-1)
        assert ((distance(first) - distance(second)).abs() <= way + 1e-6).all()


@pytest.mark.parametrize(
    ("name", "point", "expected"),
    [
        ("sphere", (0.0, 0.6, 0.0), 0.2),
        ("box", (0.9, 0.0, 0.0), 0.4),
        ("box", (0.0, 0.0, 0.0), -0.2),
        ("box", (0.75, 0.55, 0.15), 0.3 * 2**0.5 - 0.05),
        ("torus", (0.0, 0.0, 0.0), 0.35),
        ("torus", (0.5, 0.0, 0.25), 0.1),
        ("capsule", (0.0, 0.0, 0.7), 0.2),
        ("capsule", (0.5, 0.0, 0.1), 0.3),
        ("cylinder", (0.0, 0.0, 0.6), 0.2),
        ("cylinder", (0.7, 0.0, 0.2), 0.4),
        ("union", (0.0, 0.0, -1.0), 0.7),
    ],
)
def test_distances_by_hand(name: str, point: tuple[float, float, float], expected: float) -> None:
    assert SOLIDS[name](torch.tensor([point])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("time", TIMES)
def test_shapes_keep_to_their_bounds_and_apart(time: float) -> None:
    world, owners = cloud(200_000), torch.zeros(200_000, dtype=torch.int64)
    for shape in [demo_shapes.plinth(), *demo_shapes.shapes(time)]:
        local = cloud(20_000) * shape.reach
        local = local[shape.distance(local) < 0]
        assert len(local) > 100
        assert (local.abs() <= shape.half + 1e-5).all()
        assert (local.norm(dim=-1) <= shape.reach + 1e-5).all()
        assert ((shape.turn @ local.T).T + shape.centre).abs().max() < 1.3
        owners += shape.distance(shape.to_local(world)) < -1e-3
    assert owners.max() == 1


def test_the_film_closes_and_moves_three_shapes() -> None:
    still, end, middle = (demo_shapes.shapes(time) for time in (0.0, 1.0, 0.3))
    for first, last in zip(still, end):
        torch.testing.assert_close(first.centre, last.centre, atol=1e-5, rtol=0)
        torch.testing.assert_close(first.turn, last.turn, atol=1e-5, rtol=0)
    moved = [
        not (torch.equal(first.centre, other.centre) and torch.equal(first.turn, other.turn))
        for first, other in zip(still, middle)
    ]
    assert sum(moved) == 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both scenes, 6 + 2 views of 48 x 48 pixels."""
    folders = {kind: tmp_path_factory.mktemp("demo") / kind for kind in demo.KINDS}
    for kind, folder in folders.items():
        make_scene(folder, kind=kind, views=6, test_views=2, size=48)
    return folders


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("*/*.png"))]


def test_same_bytes_whatever_the_threads(tiny: dict[str, Path], tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - min(threads, 2))
        make_scene(tmp_path / "again", kind="moving", views=6, test_views=2, size=48)
        assert torch.get_num_threads() == 3 - min(threads, 2)
    finally:
        torch.set_num_threads(threads)
    assert files(tmp_path / "again") == files(tiny["moving"])


def test_layout_is_blenders(tiny: dict[str, Path]) -> None:
    for kind, folder in tiny.items():
        for split, count in (("train", 6), ("test", 2)):
            meta = json.loads((folder / f"transforms_{split}.json").read_text())
            assert meta["camera_angle_x"] == 0.69 and len(meta["frames"]) == count
            for i, frame in enumerate(meta["frames"]):
                assert frame["file_path"] == f"./{split}/r_{i:03d}"
                image = Image.open(folder / f"{frame['file_path']}.png")
                assert image.size == (48, 48) and image.mode == "RGBA"
                pose = np.array(frame["transform_matrix"])
                np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)
                assert np.linalg.det(pose[:3, :3]) > 0 and pose[3].tolist() == [0, 0, 0, 1]
                assert np.linalg.norm(pose[:3, 3]) == pytest.approx(4, abs=1e-5)
                assert ("time" in frame) == (kind == "moving")


def test_times_cover_the_unit_interval_evenly(tiny: dict[str, Path]) -> None:
    meta = json.loads((tiny["moving"] / "transforms_train.json").read_text())
    assert sorted(frame["time"] for frame in meta["frames"]) == pytest.approx(np.linspace(0, 1, 6))


def test_the_moving_scene_begins_as_the_still_one(tiny: dict[str, Path]) -> None:
    still, moving = files(tiny["still"]), files(tiny["moving"])
    meta = json.loads(moving["transforms_train.json"])
    same = {
        frame["time"]: still[f"{frame['file_path'][2:]}.png"] == moving[f"{frame['file_path'][2:]}.png"]
        for frame in meta["frames"]
    }
    assert same[0.0] and sum(same.values()) <= 2  # the film may end as it began


def test_alpha_is_whole_but_at_edges(tiny: dict[str, Path]) -> None:
    for picture in pixels(tiny["still"]):
        alpha = picture[..., 3]
        assert set(np.unique(alpha)) <= {0, 64, 128, 191, 255}
        near = np.lib.stride_tricks.sliding_window_view(np.pad(alpha, 1), (3, 3))
        partial_ones = (alpha > 0) & (alpha < 255)
        assert ((near.min((2, 3)) < alpha) & (near.max((2, 3)) > alpha))[partial_ones].mean() > 0.95
        assert partial_ones.mean() < 0.15 < (alpha == 255).mean()
        assert not alpha[[0, -1]].any() and not alpha[:, [0, -1]].any()  # nothing is cut off
        assert not picture[alpha == 0].any()


def test_pictures_show_colours_shadows_and_highlights(tiny: dict[str, Path]) -> None:
    for picture in pixels(tiny["still"]):
        colours = picture[picture[..., 3] == 255][:, :3].astype(int)
        assert colours.max(1).min() < 90 and colours.min(1).max() > 200
        assert (colours.max(1) - colours.min(1)).max() > 100


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYFIELD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "make_scene", partial(make_scene, views=2, test_views=1, size=8))
    return tmp_path / "cache"


def test_made_once_and_told_about(cache: Path) -> None:
    told: list[float] = []
    folder = demo_scene(progress=lambda share, doing="": told.append(share))
    assert folder == cache / f"demo-still-{demo.RECIPE}" and told == [1 / 3, 2 / 3, 1]
    before = files(folder)
    assert demo_scene(progress=lambda share, doing="": pytest.fail("made again")) == folder
    assert files(folder) == before and [path.name for path in cache.iterdir()] == [folder.name]
    assert demo_scene("moving") != folder


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_making_leaves_nothing(cache: Path, interruption: type[BaseException]) -> None:
    def stop(share: float, doing: str = "") -> None:
        raise interruption

    with pytest.raises((KeyboardInterrupt, PolyfieldError)):
        demo_scene(progress=stop)
    assert list(cache.iterdir()) == []


def test_what_a_killed_making_left_is_deleted_by_the_next(cache: Path) -> None:
    left, others = (
        [f"demo-still-{demo.RECIPE}-ab3_xyz9", "demo-moving-0-00000000"],
        ["demo-still-1-mine", "x"],
    )
    for name in (*left, *others):
        (cache / name / "inside").mkdir(parents=True)
    folder = demo_scene()
    assert sorted(path.name for path in cache.iterdir()) == sorted([folder.name, *others])


def test_a_second_call_waits_for_the_first(cache: Path) -> None:
    """It then finds the scene made, and has not taken the unfinished one for a leftover."""
    begun = threading.Event()

    def slow(share: float, doing: str = "") -> None:
        begun.set()
        time.sleep(0.2)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(demo_scene, progress=slow)
        assert begun.wait(60)
        folder = demo_scene(progress=lambda share, doing="": pytest.fail("made again"))
        assert first.result() == folder
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_another_process_that_was_faster_is_left_alone(cache: Path) -> None:
    final = cache / f"demo-still-{demo.RECIPE}"

    def overtake(share: float, doing: str = "") -> None:
        final.mkdir(exist_ok=True)
        (final / "theirs").write_text("")

    assert demo_scene(progress=overtake) == final
    assert [path.name for path in cache.rglob("*")] == [final.name, "theirs"]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path, **options: object) -> None:
        folder.mkdir()
        made.append(folder)

    monkeypatch.setattr(demo, "make_scene", make)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("POLYFIELD_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert demo_scene().parent == tmp_path / "home" / ".cache" / "polyfield"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert demo_scene().parent == tmp_path / "shared" / "polyfield"
    monkeypatch.setenv("POLYFIELD_CACHE", str(tmp_path / "own"))
    assert demo_scene().parent == tmp_path / "own"
    assert len(made) == 3


def test_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(PolyfieldError, match="'lego' is not known; expected one of still, moving"):
        demo_scene("lego")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POLYFIELD_CACHE", str(tmp_path / "file"))
    with pytest.raises(PolyfieldError, match="file: the demo scene cannot be written .* set POLYFIELD_CACHE"):
        demo_scene()
