"""The viewer without a browser: the painter, paths, layers, and a fit that is watched."""

import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import polyfield
from polyfield.cameras.cameras import Cameras, look_at
from polyfield.cameras.keyframes import path_through, through, tour
from polyfield.cameras.orbit import orbit
from polyfield.data.camera_path import camera_path, read_camera_path
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain
from polyfield.fields.context import FieldContext
from polyfield.files.strict_json import write_json
from polyfield.fitting.fit import Step
from polyfield.fitting.metrics.images import psnr
from polyfield.rendering.colour_maps import COLOUR_MAPS, coloured
from polyfield.rendering.radiance.layers import Scale
from polyfield.rendering.renderers import renderer_of
from polyfield.viewer import time_panel
from polyfield.viewer.film import Film, pictures
from polyfield.viewer.live import MOVING, RESTING, Live, Training
from polyfield.viewer.look import DIFFERENCE, FIELD, PHOTOGRAPH, Look, columns
from polyfield.viewer.painter import Canvas, Order, Painter
from polyfield.viewer.subject import Photographs, Subject


@pytest.fixture(scope="module")
def run(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("viewed") / "run"
    with polyfield.quiet():
        return polyfield.fit(scene, steps=60, options={"entries": 1 << 12}, out=out).run


@pytest.fixture
def subject(run) -> Subject:
    field = polyfield.load(run)
    return Subject("run", field, lambda: field.context)


def look_of(subject: Subject, **fields) -> Look:
    camera = Cameras.from_json(subject.context.cameras)
    return Look(camera.c2w[0], 0.7, (320, 240), **fields)


class TestPainter:
    @pytest.fixture(autouse=True)
    def first_pictures_are_coarse(self, monkeypatch):
        """Whatever the speed of the machine. Cameras count as at rest at once."""
        monkeypatch.setattr("polyfield.viewer.painter._FRAME", 0.0)
        monkeypatch.setattr("polyfield.viewer.painter._SETTLED", -1.0)

    def shown(self, painter: Painter, look: Look) -> list[tuple[torch.Tensor, bool]]:
        found: list[tuple[torch.Tensor, bool]] = []
        canvas = Canvas(lambda picture, finished: found.append((picture, finished)), lambda line: None)
        painter.add(canvas)
        painter.ask(canvas, look)
        while painter.paint():
            pass
        painter.remove(canvas)
        return found

    def test_coarse_pictures_come_first_and_the_last_is_the_renderer_s_own(self, subject):
        look = look_of(subject)
        found = self.shown(Painter([subject]), look)
        assert [picture.shape[:2] for picture, _ in found] == [(128, 171), (240, 320)]
        assert [finished for _, finished in found] == [False, True]
        own = renderer_of(subject.field, subject.context).picture(look.camera(240), 0)
        assert torch.equal(found[-1][0], own)

    def test_a_stale_picture_is_dropped(self, subject):
        painter, shown = Painter([subject]), []
        canvas = Canvas(lambda picture, finished: shown.append(picture.shape[0]), lambda line: None)
        painter.add(canvas)
        painter.ask(canvas, look_of(subject))
        painter.paint()
        draw = subject.draw

        def moved(look, cameras, progress, **options):
            subject.draw = draw
            painter.ask(canvas, look_of(subject))  # while the finer picture is drawn
            return draw(look, cameras, progress, **options)

        subject.draw = moved
        painter.paint()
        assert shown == [128]
        painter.paint()
        assert len(shown) == 2 and shown[1] < 240  # a coarse picture of the new view

    def test_pictures_are_refined_when_the_camera_rests(self, subject, monkeypatch):
        monkeypatch.setattr("polyfield.viewer.painter._SETTLED", 60.0)
        painter, shown = Painter([subject]), []
        canvas = Canvas(lambda picture, finished: shown.append(picture.shape[0]), lambda line: None)
        painter.add(canvas)
        for _ in range(2):
            painter.ask(canvas, look_of(subject))
            assert painter.paint() and not painter.paint()  # the next move's own picture comes first
        monkeypatch.setattr("polyfield.viewer.painter._SETTLED", -1.0)
        assert painter.paint()
        assert shown == [128, 128, 240]

    def test_orders_wait_until_the_windows_are_finished(self, subject, monkeypatch):
        monkeypatch.setattr("polyfield.viewer.painter._SETTLED", 60.0)
        painter, order = Painter([subject]), Order(look_of(subject), 16)
        canvas = Canvas(lambda picture, finished: None, lambda line: None)
        painter.add(canvas)
        painter.ask(canvas, look_of(subject))
        painter.order(order)
        assert painter.paint() and not painter.paint() and not order.done.is_set()
        monkeypatch.setattr("polyfield.viewer.painter._SETTLED", -1.0)
        assert painter.paint() and not order.done.is_set()
        assert painter.paint() and order.done.is_set()

    def test_coarse_pictures_take_fewer_samples(self, subject):
        look = look_of(subject)
        camera = look.camera(64)
        fine, coarse = subject.draw(look, camera), subject.draw(look, camera, coarse=True)
        assert not torch.equal(fine, coarse) and psnr(fine, coarse) > 25
        assert torch.equal(subject.draw(look, camera), fine)

    def test_an_order_is_filled_while_windows_wait(self, subject):
        painter, order = Painter([subject]), Order(look_of(subject), 16)
        for _ in range(2):
            canvas = Canvas(lambda picture, finished: None, lambda line: None)
            painter.add(canvas)
            painter.ask(canvas, look_of(subject))
        painter.order(order)
        assert painter.paint() and not order.done.is_set()  # windows come first
        assert painter.fill() and order.done.is_set() and order.picture is not None
        assert not painter.fill()

    def test_an_order_that_a_signal_cuts_short_is_refused(self, subject, monkeypatch):
        painter, order = Painter([subject]), Order(look_of(subject), 16)
        painter.order(order)

        def stopped(*_, **__) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(subject, "draw", stopped)
        with pytest.raises(KeyboardInterrupt):
            painter.paint()
        assert order.done.is_set() and order.error is not None

    def test_a_browser_that_loads_the_page_is_expected_until_its_first_picture(self, subject, monkeypatch):
        painter = Painter([subject])
        assert not painter.expecting
        painter.expect()
        assert painter.expecting
        assert self.shown(painter, look_of(subject)) and not painter.expecting
        painter.expect()
        monkeypatch.setattr("polyfield.viewer.painter._LOADING", 0.0)  # nobody waits longer than this
        assert not painter.expecting

    def test_an_error_of_one_look_is_told_and_others_go_on(self, subject, monkeypatch):
        def fails(*_, **__) -> None:
            raise RuntimeError("no memory")

        painter, told = Painter([subject]), []
        canvas = Canvas(lambda picture, finished: told.append("picture"), told.append)
        painter.add(canvas)
        painter.ask(canvas, look_of(subject))
        with monkeypatch.context() as patched:
            patched.setattr(subject, "draw", fails)
            assert painter.paint()
        assert told == ["RuntimeError: no memory"] and not painter.paint()
        painter.ask(canvas, look_of(subject))
        painter.paint()
        assert told[-1] == "picture"

    def test_orders_are_refused_when_the_painter_is_closed(self, subject):
        painter = Painter([subject])
        before, after = (Order(look_of(subject), 16) for _ in range(2))
        painter.order(before)
        painter.close()
        painter.order(after)
        for order in (before, after):
            assert order.done.is_set() and "closed" in str(order.error)

    def test_two_browsers_take_turns(self, subject):
        painter, order = Painter([subject]), []
        canvases = []
        for name in "ab":
            canvas = Canvas(lambda picture, finished, name=name: order.append(name), lambda line: None)
            painter.add(canvas)
            painter.ask(canvas, look_of(subject))
            canvases.append(canvas)
        while painter.paint():
            pass
        assert order == ["a", "b", "a", "b"]

    def test_the_split_has_a_side_of_each_field(self, subject, scene, tmp_path):
        with polyfield.quiet():
            other_run = polyfield.fit(
                scene, steps=3, options={"entries": 1 << 12}, out=tmp_path / "other"
            ).run
        field = polyfield.load(other_run)
        other = Subject("other", field, lambda: field.context)
        painter = Painter([subject, other])
        whole = self.shown(painter, look_of(subject, beside=FIELD, split=0.25))[-1][0]
        left, right = (s.draw(look_of(s), look_of(subject).camera(240)) for s in (subject, other))
        # Columns are rendered by themselves, with the same rays.
        torch.testing.assert_close(whole[:, :80], left[:, :80], atol=1e-3, rtol=0)
        torch.testing.assert_close(whole[:, 81:], right[:, 81:], atol=1e-3, rtol=0)
        difference = self.shown(painter, look_of(subject, beside=FIELD, how=DIFFERENCE))[-1][0]
        torch.testing.assert_close(difference, 1 - ((left - right).abs() * 4).clamp(max=1))

    def test_values_that_are_not_finite_are_told_and_the_painter_goes_on(self, subject):
        with torch.no_grad():
            next(iter(subject.field.parameters())).fill_(float("nan"))
        painter, told = Painter([subject]), []
        canvas = Canvas(lambda picture, finished: None, told.append)
        painter.add(canvas)
        painter.ask(canvas, look_of(subject))
        painter.paint()
        assert told and "finite" in told[0]
        assert not painter.paint()

    def test_photographs_are_seen_by_the_camera_that_took_them(self, subject):
        camera = Cameras.from_json(subject.context.cameras)[[0]]
        width, height = camera.sizes[0].tolist()
        image = (torch.rand(height, width, 4) * 65535).to(torch.int32).numpy().astype("uint16")
        image[..., 3] = 65535
        photographs = Photographs(camera, [image], ["one"], (1.0, 1.0, 1.0))
        own, picture = photographs.small(0, 1 << 11)
        torch.testing.assert_close(photographs.seen_by(0, own), picture, atol=2e-3, rtol=0)

    def test_a_photograph_beside_the_field_has_a_psnr(self, subject, scene):
        painter, told = Painter([subject]), []
        with polyfield.quiet():
            painter.photographs = photographs_of(scene)
        canvas = Canvas(lambda picture, finished: None, told.append)
        painter.add(canvas)
        painter.ask(canvas, look_of(subject, beside=PHOTOGRAPH, photograph=0))
        while painter.paint():
            pass
        assert float(told[-1].split()[0]) > 8


def photographs_of(scene) -> Photographs:
    from polyfield.api.sources import open_task
    from polyfield.api.view import _taken

    found = _taken(open_task(str(scene), None, 1))
    assert found is not None
    return found


class TestPaths:
    def poses(self, count: int) -> torch.Tensor:
        angle = torch.arange(count) / count * 6.0
        eyes = torch.stack((angle.cos() * 3, angle.sin() * 3, torch.ones(count)), 1)
        return look_at(eyes, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))

    def test_a_path_goes_through_its_keyframes_and_stays_rigid(self):
        keys = self.poses(5)
        path = path_through(keys, 41)
        torch.testing.assert_close(path[::10], keys, atol=1e-5, rtol=0)
        rotation = path[:, :, :3]
        torch.testing.assert_close(rotation.mT @ rotation, torch.eye(3).expand(41, 3, 3), atol=1e-5, rtol=0)
        assert (torch.linalg.det(rotation) > 0).all()
        steps = path[1:, :, 3] - path[:-1, :, 3]
        assert steps.norm(dim=1).max() < 3 * steps.norm(dim=1).min()

    def test_a_loop_ends_before_its_first_keyframe(self):
        keys = self.poses(4)
        path = path_through(keys, 40, loop=True)
        torch.testing.assert_close(path[::10], keys, atol=1e-5, rtol=0)
        assert not torch.allclose(path[-1], path[0])
        assert (path[-1, :, 3] - path[0, :, 3]).norm() < 2 * (path[1, :, 3] - path[0, :, 3]).norm()

    def test_opposite_keyframes_and_any_field_of_view_make_a_path_that_can_be_read(self, subject, tmp_path):
        for loop in (False, True):
            keys = self.poses(2).clone()
            keys[1, :, :3] = keys[0, :, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
            looks = [Look(keys[i % 2], fov, (320, 240)) for i, fov in enumerate((0.09, 0.09, 2.1, 0.09))]
            film = Film(looks, seconds=1.0, loop=loop)
            cameras = film.cameras(120, moving=False)
            write_json(tmp_path / f"{loop}.json", camera_path(cameras, 30.0))
            read, _ = read_camera_path(tmp_path / f"{loop}.json")
            rotation = read.c2w[:, :, :3]
            torch.testing.assert_close(
                rotation.mT @ rotation, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0
            )

    def test_a_straight_line_is_kept(self):
        values = through(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), 31)
        torch.testing.assert_close(values[10:21, 0], torch.linspace(1, 2, 11))

    def test_one_keyframe_is_a_still(self):
        assert torch.equal(path_through(self.poses(1), 3)[2], path_through(self.poses(1), 1)[0])

    def test_without_keyframes_there_is_no_path(self):
        with pytest.raises(PolyfieldError, match="0 keyframes"):
            through(torch.zeros(0, 1), 3)

    def test_a_saved_path_is_read_back(self, subject, tmp_path):
        film = Film([look_of(subject), look_of(subject)], seconds=0.2)
        film.keyframes[1] = Look(self.poses(1)[0], 0.5, (320, 240))
        cameras = film.cameras(120, moving=False)
        write_json(tmp_path / "path.json", camera_path(cameras, 30.0))
        read, fps = read_camera_path(tmp_path / "path.json")
        assert fps == 30 and len(read) == film.frames == 6
        torch.testing.assert_close(read.c2w, cameras.c2w, atol=1e-5, rtol=0)
        torch.testing.assert_close(read.intrinsics, cameras.intrinsics, atol=1e-3, rtol=1e-4)

    def test_a_film_s_pictures_come_in_order(self, subject):
        painter = Painter([subject])
        looks = Film([look_of(subject)] * 2, seconds=0.1).looks(3)
        found: list[torch.Tensor] = []
        thread = threading.Thread(target=lambda: found.extend(pictures(painter, looks, 60)))
        thread.start()
        while thread.is_alive():
            if not painter.paint():
                painter.wait()
        assert [tuple(picture.shape) for picture in found] == [(60, 80, 3)] * 3

    def test_spiral_and_tour_look_where_the_cameras_look(self, subject):
        cameras = Cameras.from_json(subject.context.cameras)
        for path in (orbit(cameras, frames=12, spiral=True), tour(cameras, frames=24)):
            assert path.sizes[0].tolist() == [24, 24]
            ahead = -path.c2w[:, :, 2]
            to_focus = torch.nn.functional.normalize(cameras.focus() - path.c2w[:, :, 3], dim=1)
            assert ((ahead * to_focus).sum(1) > 0.9).all()


class TestLayers:
    def test_a_colour_map_has_its_ends(self):
        for name, text in COLOUR_MAPS.items():
            ends = coloured(torch.tensor([0.0, 1.0, 2.0, -1.0]), name)
            first, last = (torch.tensor(list(bytes.fromhex(part))) / 255 for part in (text[:6], text[-6:]))
            torch.testing.assert_close(ends, torch.stack((first, last, last, first)))

    def test_every_layer_draws(self, subject):
        renderer = renderer_of(subject.field, subject.context)
        camera = look_of(subject).camera(48)
        for layer in renderer.layers:
            picture = renderer.draw(layer, camera, 0)
            assert picture.shape == (48, 64, 3) and picture.isfinite().all()
            assert picture.min() >= 0 and picture.max() <= 1 and picture.std() > 0.01, layer
        with pytest.raises(PolyfieldError, match="layer"):
            renderer.draw("hue", camera, 0)

    def test_a_shown_depth_is_the_renderer_s(self, subject):
        renderer = renderer_of(subject.field, subject.context)
        camera = look_of(subject).camera(48)
        drawn = renderer.render(camera, 0)
        solid = drawn.opacity > 0.9
        assert solid.any()
        opacity = drawn.opacity[solid]
        shown = renderer.draw("depth", camera, 0, Scale("grey", (0.0, 10.0)))[..., 0]
        expected = opacity * drawn.depth[solid] / 10 + 1 - opacity  # over white
        torch.testing.assert_close(shown[solid], expected, atol=2e-3, rtol=0)

    def test_normals_face_the_camera(self, subject):
        renderer = renderer_of(subject.field, subject.context)
        camera = look_of(subject).camera(48)
        drawn = renderer.render(camera, 0)
        solid = (drawn.opacity > 0.99).view(-1)
        normals = renderer.draw("normals", camera, 0).view(-1, 3)[solid] * 2 - 1
        assert ((normals * camera.image_rays(0).directions[solid]).sum(1) <= 1e-2).all()
        assert ((normals.norm(dim=1) - 1).abs() < 0.02).float().mean() > 0.9

    def test_a_crop_leaves_out_what_is_outside(self, subject):
        look = look_of(subject)
        nothing = subject.draw(
            Look(look.c2w, look.fov, look.window, crop=((9.0, 9.0, 9.0), (0.1, 0.1, 0.1))), look.camera(48)
        )
        torch.testing.assert_close(nothing, torch.tensor(subject.context.background).expand(48, 64, 3))
        everything = subject.draw(
            Look(look.c2w, look.fov, look.window, crop=((0.0, 0.0, 0.0), (99.0, 99.0, 99.0))), look.camera(48)
        )
        assert torch.equal(everything, subject.draw(look, look.camera(48)))

    def test_columns_are_part_of_the_whole_view(self, subject):
        camera = look_of(subject).camera(48)
        whole = camera.image_rays(0).directions.view(48, 64, 3)
        part = columns(camera, 10, 30).image_rays(0).directions.view(48, 20, 3)
        torch.testing.assert_close(part, whole[:, 10:30])

    def test_pictures_hang_in_space(self):
        from polyfield.rendering.pictures.hung import hung_picture

        eye = torch.eye(4)[None, :3].clone()
        eye[0, 2, 3] = 0.5  # the picture fills the view
        camera = Cameras.perspective(eye, focal=32.0, size=(64, 64))
        found = hung_picture(lambda x: torch.cat((x, torch.zeros(len(x), 1)), 1), 1.0, camera, 0)
        step = (torch.arange(64) + 0.5) / 64
        torch.testing.assert_close(found[10, :, 0], step, atol=1e-5, rtol=0)
        torch.testing.assert_close(found[:, 10, 1], step, atol=1e-5, rtol=0)


class Handle:
    """A control of a panel that is not shown."""

    def __init__(self, value=None) -> None:
        self.value, self.label, self.called = value, "", None

    def on_update(self, call):
        self.called = call

    on_click = on_update

    def by_hand(self, value=None) -> None:
        """Do what a person does with it."""
        self.value = value
        self.called(SimpleNamespace(client=self))


class Gui:
    def __init__(self) -> None:
        self.handles = {}

    def add_slider(self, label, low, high, step, value, hint):
        return self.handles.setdefault(label, Handle(value))

    def add_number(self, label, value, min, max, hint):
        return self.handles.setdefault(label, Handle(value))

    def add_button(self, label, icon):
        return self.handles.setdefault(label, Handle())


class Watcher:
    """A browser that is not shown, which pauses after some changes."""

    def __init__(self, subject, look, gui, changes=0) -> None:
        self.painter, self.look, self.gui, self.changes = Painter([subject]), look, gui, changes
        self.closed = False

    def change(self, time):
        self.look = replace(self.look, time=time)
        self.changes -= 1
        if not self.changes:
            self.gui.handles["Play"].by_hand()


class TestTime:
    def subject(self) -> Subject:
        field = polyfield.create(
            "kplanes", "video", Domain("box", (0.5, 0.5), (0.5, 0.5)), finest=8, coarsest=4, time_nodes=4
        )
        for table in field.encoding.tables:
            table.data += torch.rand(table.shape, generator=torch.Generator().manual_seed(0))
        context = FieldContext(source={"shape": [50, 9, 16, 3], "fps": 25.0})
        return Subject("film", field, lambda: context)

    def look(self, **fields) -> Look:
        eye = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.4]])
        return Look(eye, 0.7, (64, 48), **fields)

    def test_a_look_has_a_time(self):
        subject, painter = self.subject(), Painter([self.subject()])
        early, late = (Order(self.look(time=time), 48) for time in (0.1, 0.9))
        for order in (early, late):
            painter.order(order)
            painter.paint()
            camera = order.look.camera(48, moving=True)
            whole = renderer_of(subject.field, subject.context).picture(camera, 0)
            assert order.error is None and torch.equal(order.picture, whole.clamp(0, 1))
        assert not torch.equal(early.picture, late.picture)

    def test_the_slider_sets_it_and_play_moves_it_until_it_is_paused(self, monkeypatch):
        now = iter(0.25 * k for k in range(100))
        monkeypatch.setattr(
            time_panel, "time", SimpleNamespace(monotonic=lambda: next(now), sleep=lambda _: 0)
        )
        gui = Gui()
        browser = Watcher(self.subject(), self.look(), gui)
        time_panel.add(browser, gui)
        assert gui.handles["Seconds"].value == 2.0  # 50 frames, 25 a second
        gui.handles["Time"].by_hand(0.9)
        assert browser.look.time == 0.9
        browser.changes = 3
        gui.handles["Play"].by_hand()
        assert browser.look.time == pytest.approx((0.9 + 3 * 0.25 / 2) % 1)  # it begins again at the end
        assert gui.handles["Time"].value == pytest.approx(browser.look.time, abs=1e-3)
        assert gui.handles["Play"].label == "Play"


@pytest.mark.slow
def test_a_watched_fit_has_the_bytes_of_one_that_is_not(scene, tmp_path, monkeypatch):
    from polyfield.api import view

    monkeypatch.setattr(view, "PORT", 0)
    asked: list[str] = []
    monkeypatch.setattr(view, "_announce", lambda viewer: asked.append(viewer.link) or busy(viewer))

    def busy(viewer) -> None:
        canvas = Canvas(lambda picture, finished: asked.append("picture"), lambda line: None)
        viewer.painter.add(canvas)
        subject = viewer.painter.subjects[0]
        camera = viewer.painter.subjects[0].context.cameras
        pose = Cameras.from_json(camera).c2w[0]
        viewer.painter.ask(canvas, Look(pose, 0.7, (64, 64)))
        assert subject.layers

    monkeypatch.setattr(view._Watch, "stay", lambda self: None)
    with polyfield.quiet():
        plain = polyfield.fit(scene, steps=60, options={"entries": 1 << 12}, out=tmp_path / "plain").run
        watched = polyfield.fit(
            scene, steps=60, options={"entries": 1 << 12}, out=tmp_path / "watched", view=True
        ).run
    assert "picture" in asked
    assert (plain / "field.field").read_bytes() == (watched / "field.field").read_bytes()


class TestLive:
    """Draws between the steps of a fit, by a clock that only drawing moves."""

    @pytest.fixture
    def drawn(self, monkeypatch) -> Callable[..., float]:
        """Return how long a picture and an order of these seconds keep the next picture waiting."""

        def waits(picture: float, order: float, *, urgent: bool) -> float:
            clock, count = [100.0], [0]

            def paint() -> None:
                count[0] += 1
                clock[0] += picture

            def fill() -> None:
                clock[0] += order if count[0] == 1 else 0.0

            monkeypatch.setattr("polyfield.viewer.live.time", SimpleNamespace(monotonic=lambda: clock[0]))
            painter = SimpleNamespace(expecting=False, watched=True, urgent=urgent, outdate=lambda **_: None)
            painter.paint, painter.fill = paint, fill
            fit = SimpleNamespace(rate="", progress=0.0, seconds=0.0, steps=0)
            live = Live(painter, Training("run"), fit, lambda: None)
            live.between(Step(1, {"psnr": 20.0}, {}), lambda: False)
            ended = clock[0]
            while count[0] == 1:
                clock[0] += 0.25
                live.between(Step(1, {"psnr": 20.0}, {}), lambda: False)
            return clock[0] - picture - ended

        return waits

    def test_drawing_takes_its_share_of_the_time(self, drawn):
        assert drawn(0.1, 0.0, urgent=True) == pytest.approx(0.1 / MOVING - 0.1, abs=0.26)
        assert drawn(0.03, 0.0, urgent=False) == pytest.approx(0.03 / RESTING - 0.03, abs=0.26)

    def test_a_slow_picture_or_order_does_not_keep_the_next_picture_for_minutes(self, drawn):
        assert drawn(2.0, 0.0, urgent=False) == pytest.approx(30.0, abs=0.26)
        assert drawn(0.03, 6.0, urgent=False) == pytest.approx(6.0 / MOVING - 6.0, abs=0.26)
