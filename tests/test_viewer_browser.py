"""The viewer in a real browser: headless Chromium, driven by Playwright."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_files import DATA

pytestmark = [pytest.mark.slow, pytest.mark.alone]
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("needs chromium (Debian: apt install chromium)", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api")
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
LEGO = DATA / "lego"
SCREENSHOTS = os.environ.get("POLYFIELD_SCREENSHOTS")  # a folder: keep the pictures there


class Viewed:
    """A running `polyfield` command with a viewer."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.err = cwd / "viewer.err"
        with open(self.err, "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "polyfield.apps", *arguments],
                stdout=subprocess.PIPE,
                stderr=err,
                cwd=cwd,
            )

    @property
    def link(self) -> str:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if found := re.search(r"http://\S+token=\S+", self.err.read_text()):
                return found[0]
            assert self.process.poll() is None, self.err.read_text()
            time.sleep(0.05)
        raise AssertionError(self.err.read_text())

    def interrupt(self) -> float:
        """Send Ctrl-C; the seconds that the command took to end."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        return time.monotonic() - start


@pytest.fixture(scope="module")
def chromium():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    import polyfield

    folder = tmp_path_factory.mktemp("viewed")
    with polyfield.quiet():
        polyfield.fit("demo", seconds=10, downscale=2, out=folder / "run")
        # Steps, not seconds: the student differs from its teacher on a fast machine too.
        polyfield.convert(folder / "run", to="mlp", steps=20, out=folder / "student")
    return folder


@pytest.fixture(scope="module")
def viewed(run):
    viewed = Viewed("view", "run", "student", cwd=run)
    viewed.link  # noqa: B018 - wait for it
    yield viewed
    viewed.process.kill()


@pytest.fixture
def page(viewed, chromium):
    page = opened(chromium, viewed)
    settle(page)
    yield page
    page.close()


def opened(chromium, viewed: Viewed):
    """Return a page of the viewer whose controls are there."""
    page = chromium.new_page(viewport={"width": 1100, "height": 640})
    page.goto(viewed.link)
    page.get_by_role("tab", name="Compare").wait_for(timeout=30_000)
    dismiss(page)
    return page


def dismiss(page) -> None:
    """Close the notice that the graphics are drawn in software."""
    notice = page.locator(".mantine-Notification-closeButton")
    if notice.count():
        notice.first.click()


def settle(page, seconds: float = 1.8) -> None:
    page.wait_for_timeout(seconds * 1000)


def picture(page, name: str) -> np.ndarray:
    """The part of the window where the field is, (H, W, 3) in [0, 1]."""
    page.mouse.move(4, 630)  # away from controls, which have hints
    page.wait_for_timeout(300)
    data = page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png" if SCREENSHOTS else None)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[:, :760] / 255


def choose(page, label: str, value: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=value, exact=True).click()
    settle(page)


def test_the_window_shows_what_the_renderer_draws(page, run):
    import polyfield
    from polyfield.cameras.cameras import Cameras
    from polyfield.viewer.look import Look
    from polyfield.viewer.subject import Subject

    page.get_by_role("tab", name="Compare").click()
    choose(page, "Compare with", "nothing")
    page.get_by_role("tab", name="View").click()
    shown = picture(page, "view")
    field = polyfield.load(run / "run")
    camera = Cameras.from_json(field.context.cameras)
    fov = 2 * np.arctan(float(camera.sizes[0, 1]) / 2 / float(camera.intrinsics[0, 1]))
    canvas = page.locator("canvas").first.bounding_box()
    assert canvas is not None
    window = round(canvas["width"]), round(canvas["height"])
    look = Look(camera.c2w[0], fov, window)
    own = Subject("run", field, lambda: field.context).draw(look, look.camera(window[1])).numpy()
    rows, columns = slice(220, 600), slice(40, min(740, window[0] - 40))
    error = np.abs(own[rows, columns] - shown[rows, columns])
    assert error.mean() < 0.03, error.mean()


def test_dragging_moves_the_camera(page):
    before = picture(page, "before")
    page.mouse.move(300, 400)
    page.mouse.down()
    for step in range(10):
        page.mouse.move(300 + 12 * step, 400)
        page.wait_for_timeout(30)
    page.mouse.up()
    settle(page)
    after = picture(page, "after")
    assert np.abs(after - before).mean() > 0.01


def test_the_split_moves_between_the_fields(page):
    page.get_by_role("tab", name="Compare").click()
    choose(page, "Compare with", "the other field")
    split = picture(page, "split")
    choose(page, "Mode", "difference")
    difference = picture(page, "difference")
    assert np.abs(split - difference).mean() > 0.02
    page.get_by_text("dB: PSNR of the colours").wait_for(timeout=30_000)
    choose(page, "Mode", "split")
    choose(page, "Compare with", "nothing")
    alone = picture(page, "alone")
    # Before the split the first field is shown, behind it the other.
    error = np.abs(split - alone)[200:]
    assert error[:, :300].mean() < 0.005
    assert error[:, 430:].mean() > 0.01


@pytest.mark.parametrize("layer", ["depth", "opacity", "normals", "features", "samples"])
def test_layers_are_shown(page, layer):
    before = picture(page, "colour")
    choose(page, "Show", layer)
    assert np.abs(picture(page, layer) - before).mean() > 0.01


def test_training_cameras_are_drawn_and_visited(page):
    page.get_by_role("tab", name="Cameras").click()
    before = picture(page, "without-cameras")
    page.get_by_label("Show cameras", exact=True).check()
    settle(page, 3)
    assert np.abs(picture(page, "cameras") - before).mean() > 0.0005
    page.get_by_role("button", name="next").click()
    settle(page)
    page.get_by_role("tab", name="Compare").click()
    choose(page, "Compare with", "the photograph")
    settle(page)
    picture(page, "photograph")
    page.get_by_text("dB: PSNR of the colours").wait_for(timeout=30_000)


def test_a_path_is_recorded_saved_and_rendered(page, tmp_path):
    from polyfield.data.camera_path import read_camera_path

    page.get_by_role("tab", name="Path").click()
    page.get_by_role("button", name="Add keyframe").click()
    page.mouse.move(300, 400)
    page.mouse.down()
    page.mouse.move(420, 420, steps=8)
    page.mouse.up()
    settle(page)
    page.get_by_role("button", name="Add keyframe").click()
    page.get_by_role("tab", name="Compare").click()
    choose(page, "Compare with", "nothing")
    page.get_by_role("tab", name="Path").click()
    page.mouse.move(300, 400)
    for _ in range(4):
        page.mouse.wheel(0, 400)  # away from the keyframes, to see them
        page.wait_for_timeout(200)
    settle(page)
    picture(page, "path")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save camera_path.json").click()
    saved.value.save_as(tmp_path / "camera_path.json")
    cameras, fps = read_camera_path(tmp_path / "camera_path.json")
    assert len(cameras) == 60 and fps == 30
    with page.expect_download(timeout=120_000) as rendered:
        page.get_by_role("button", name="Render MP4").click()
    rendered.value.save_as(tmp_path / "path.mp4")
    import av

    with av.open(str(tmp_path / "path.mp4")) as video:
        frames = [frame for frame in video.decode(video=0)]
    assert len(frames) == 60 and frames[0].width % 2 == 0


def test_two_browsers_do_not_fight(viewed, page, chromium):
    before = picture(page, "first")
    other = chromium.new_page(viewport={"width": 700, "height": 500})
    other.goto(viewed.link)
    other.get_by_role("tab", name="Compare").wait_for(timeout=30_000)
    other.mouse.move(200, 300)
    other.mouse.down()
    other.mouse.move(320, 330, steps=8)
    other.mouse.up()
    settle(other)
    other.close()
    assert np.abs(picture(page, "first-still") - before).mean() < 0.005


def test_a_fit_is_watched_paused_and_saved(tmp_path, chromium):
    viewed = Viewed(
        "fit",
        "demo",
        "--downscale",
        "2",
        "--seconds",
        "600",
        "--out",
        "run",
        "--view",
        cwd=tmp_path,
    )
    page = opened(chromium, viewed)
    try:
        page.get_by_role("tab", name="Training").click()
        settle(page, 12)
        picture(page, "training")
        page.get_by_role("button", name="Pause").click()
        settle(page, 2)
        step = re.search(r"step (\d+)", page.inner_text("body"))
        settle(page, 2)
        still = re.search(r"step (\d+)", page.inner_text("body"))
        assert step and still and step[1] == still[1]
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("button", name="Save field file").click()
        settle(page, 2)
        assert (tmp_path / "run" / "field.field").exists()
        page.close()
        assert viewed.interrupt() < 5
        assert viewed.process.returncode == 130
    finally:
        viewed.process.kill()


def test_a_fit_is_seen_soon_after_its_command(tmp_path, chromium, capsys):
    page = chromium.new_page(viewport={"width": 1100, "height": 640})
    begun = time.monotonic()
    viewed = Viewed("fit", "demo", "--seconds", "600", "--out", "run", "--view", cwd=tmp_path)
    try:
        page.goto(viewed.link)
        linked = time.monotonic() - begun
        seen = np.zeros((1, 1, 3))
        while seen.std() < 0.05 and time.monotonic() - begun < 60:
            seen = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))[60:580, 100:700] / 255
        took = time.monotonic() - begun
    finally:
        page.close()
        viewed.process.kill()
    with capsys.disabled():
        sys.stderr.write(
            f"\nthe page is loaded {linked:.1f} s after the command, the first picture is seen after {took:.1f} s\n"
        )
    assert seen.std() >= 0.05 and took < 15


def test_ctrl_c_ends_the_viewer_at_once_with_a_browser_open(run, chromium):
    viewed = Viewed("view", "run", cwd=run)
    page = chromium.new_page()
    page.goto(viewed.link)
    page.get_by_role("tab", name="Path").wait_for(timeout=30_000)
    assert viewed.interrupt() < 3
    assert viewed.process.returncode == 0
    assert viewed.process.stdout is not None and viewed.process.stdout.read() == b""
    page.close()


@pytest.mark.skipif(not LEGO.is_dir(), reason="needs ../shared/data/lego")
def test_frames_come_in_time(chromium, tmp_path, monkeypatch, capsys):
    """Medians of two visits. The browser draws on the same cores, without a GPU."""
    import polyfield
    from polyfield.viewer.browser import Browser
    from polyfield.viewer.painter import Painter
    from polyfield.viewer.subject import Subject
    from polyfield.viewer.viewer import Viewer

    with polyfield.quiet():
        run = polyfield.fit(LEGO, seconds=8, downscale=4, out=tmp_path / "run").run
    arrived: list[float] = []
    asked: list[float] = []
    shown: list[tuple[float, int, bool]] = []
    arrive, ask, show = Viewer._arrived, Painter.ask, Browser._show

    def arriving(self, client):
        arrived.append(time.monotonic())
        arrive(self, client)

    def asking(self, canvas, look):
        asked.append(time.monotonic())
        ask(self, canvas, look)

    def showing(self, picture, finished):
        show(self, picture, finished)
        shown.append((time.monotonic(), picture.shape[0], finished))

    monkeypatch.setattr(Viewer, "_arrived", arriving)
    monkeypatch.setattr(Painter, "ask", asking)
    monkeypatch.setattr(Browser, "_show", showing)
    field = polyfield.load(run)
    viewer = Viewer([Subject("lego", field, lambda: field.context)], port=0)
    ended = threading.Event()
    painting = threading.Thread(target=viewer.serve, args=(ended.is_set,))
    painting.start()
    first, rates, rows, full = [], [], [], []
    try:
        for _ in range(2):
            shown.clear()
            page = chromium.new_page(viewport={"width": 1120, "height": 800})  # the controls take 320
            page.goto(viewer.link)
            page.get_by_role("tab", name="Compare").wait_for(timeout=30_000)
            settle(page, 4)
            first.append(shown[0][0] - arrived[-1])
            assert shown[0][1] >= 128
            shown.clear()
            page.mouse.move(400, 400)
            page.mouse.down()
            begun = time.monotonic()
            while time.monotonic() - begun < 4:
                angle = 6 * (time.monotonic() - begun)
                page.mouse.move(400 + 80 * np.cos(angle), 400 + 20 * np.sin(angle))
                page.wait_for_timeout(15)
            moved = [frame for frame in shown if frame[0] > begun + 1]
            rates.append(len(moved) / (time.monotonic() - begun - 1))
            rows.append(float(np.median([frame[1] for frame in moved])))
            page.mouse.up()
            settle(page, 5)
            finished = [moment for moment, height, done in shown if done and moment > asked[-1]]
            assert finished and shown[-1][2], shown[-3:]
            full.append(finished[0] - asked[-1])
            page.close()
    finally:
        ended.set()
        painting.join()
        viewer.close()
    median = [float(np.median(values)) for values in (first, rates, rows, full)]
    with capsys.disabled():
        sys.stderr.write(
            f"\nfirst frame {median[0]:.2f} s, {median[1]:.1f} frames/s of {median[2]:.0f} rows while moving, "
            f"full picture {median[3]:.2f} s after the last move\n"
        )
    assert median[0] < 0.6 and median[1] > 2 and median[2] >= 128 and median[3] < 6


@pytest.mark.parametrize("signal", ["volume", "image"])
def test_other_signals_have_views_of_their_own(signal, chromium, tmp_path):
    import polyfield

    if signal == "image":
        pixels = (np.random.default_rng(0).random((48, 64, 3)) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "p.png")
        source = tmp_path / "p.png"
    else:
        axis = np.linspace(-1, 1, 24)
        x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
        np.save(tmp_path / "v.npy", np.exp(-6 * (x**2 + y**2 + z**2)).astype(np.float32))
        source = tmp_path / "v.npy"
    with polyfield.quiet():
        polyfield.fit(source, signal=signal, seconds=3, out=tmp_path / "run")
    viewed = Viewed("view", "run", cwd=tmp_path)
    page = opened(chromium, viewed)
    try:
        settle(page, 4)
        assert picture(page, f"{signal}-view").std() > 0.05
        if signal != "image":
            page.get_by_role("tab", name="Inside").click()
            page.get_by_role("button", name="Draw sections").click()
            settle(page, 3)
            picture(page, f"{signal}-inside")
            assert page.locator("img").count() >= 1
    finally:
        page.close()
        viewed.process.kill()
