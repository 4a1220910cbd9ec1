"""The panel of camera paths: keyframes, preview, camera_path.json, video."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import viser

from polyfield.data.camera_path import camera_path
from polyfield.errors import PolyfieldError
from polyfield.export.pictures import write_video
from polyfield.viewer.film import FPS, Film, pictures
from polyfield.viewer.steered import Marks, Steered

_COLOUR = (220, 60, 20)  # of keyframes and of the path
_PIECES = 24  # of the drawn path, for each keyframe
_SIZE, _THICKNESS = 0.08, 0.01  # of a keyframe's frustum and of the path, in half sizes of the domain


def add(browser: Steered, gui: viser.GuiApi) -> None:
    """Add the panel to a browser."""
    film = Film()
    add_key = gui.add_button("Add keyframe", icon=viser.Icon.PLUS, hint="Add the current camera to the path")
    drop = gui.add_button("Remove last keyframe", icon=viser.Icon.TRASH)
    seconds = gui.add_slider(
        "Seconds per segment", 0.5, 10.0, 0.5, film.seconds, hint="Time from one keyframe to the next"
    )
    loop = gui.add_checkbox("Closed path", False, hint="Return from the last keyframe to the first")
    place = gui.add_slider(
        "Position",
        0.0,
        1.0,
        0.01,
        0.0,
        disabled=True,
        hint="Position on the path: 0 is the start, 1 is the end",
    )
    play = gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY, disabled=True)
    rows = gui.add_slider("Video height", 120, 2160, 60, 480, hint="In pixels")
    save = gui.add_button("Save camera_path.json", icon=viser.Icon.DOWNLOAD, disabled=True)
    render = gui.add_button("Render MP4", icon=viser.Icon.MOVIE, disabled=True)
    told = gui.add_markdown("A path needs at least two keyframes.")
    marks = Marks(_SIZE * max(browser.painter.subjects[0].field.meaning.domain.half_size))
    browser.marks.append(marks)
    running = {"play": False}
    curve: list[Any] = []

    def changed(_: object = None) -> None:
        film.seconds, film.loop = float(seconds.value), loop.value
        count = len(film.keyframes)
        place.disabled = play.disabled = save.disabled = render.disabled = count < 2
        while curve:
            curve.pop().remove()
        if count > 1:
            curve.append(_curve(browser, film))
        told.content = (
            f"{count} keyframes, {film.frames / FPS:.1f} s"
            if count > 1
            else f"Keyframes: {count}. A path needs at least two."
        )

    seconds.on_update(changed)
    loop.on_update(changed)

    @add_key.on_click
    def _(_: object) -> None:
        look = browser.look
        film.keyframes.append(look)
        marks.add(
            browser.client,
            f"/keyframes/{len(marks)}",
            look.c2w,
            fov=look.fov,
            aspect=look.window[0] / look.window[1],
            color=_COLOUR,
        )
        changed()

    @drop.on_click
    def _(_: object) -> None:
        if film.keyframes:
            film.keyframes.pop()
            marks.pop()
        changed()

    def show(share: float) -> None:
        looks = film.looks(film.frames)
        look = looks[min(round(share * (len(looks) - 1)), len(looks) - 1)]
        browser.go_to(look.c2w, look.fov)
        browser.change(time=look.time)

    @place.on_update
    def _(_: object) -> None:
        if len(film.keyframes) > 1 and not running["play"]:
            show(float(place.value))

    @play.on_click
    def _(_: object) -> None:
        if running["play"]:
            running["play"] = False
            return
        running["play"] = True
        start, length = time.monotonic(), film.frames / FPS
        while running["play"] and not browser.closed and time.monotonic() - start < length:
            show((time.monotonic() - start) / length)
            time.sleep(1 / FPS)
        running["play"] = False

    @save.on_click
    def _(_: object) -> None:
        moving = browser.painter.subjects[0].field.meaning.moving
        data = camera_path(film.cameras(int(rows.value), moving), FPS, loop=film.loop)
        browser.client.send_file_download(
            "camera_path.json", json.dumps(data, indent=1).encode(), save_immediately=True
        )

    @render.on_click
    def _(_: object) -> None:
        looks, height = film.looks(film.frames), int(rows.value) // 2 * 2
        render.disabled = True

        def followed() -> Any:
            for number, picture in enumerate(
                pictures(browser.painter, looks, height, lambda: browser.closed)
            ):
                told.content = f"rendering: {number + 1} of {len(looks)} frames"
                yield picture

        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "path.mp4"
                write_video(path, followed(), fps=FPS)
                browser.client.send_file_download("path.mp4", path.read_bytes(), save_immediately=True)
            changed()
        except (PolyfieldError, OSError) as error:
            told.content = str(error)
        render.disabled = False


def _curve(browser: Steered, film: Film) -> Any:
    """Draw the path in the scene, and return viser's handle of it."""
    eyes = torch.stack([look.c2w[:, 3] for look in film.looks(_PIECES * len(film.keyframes))])
    segments = torch.stack((eyes[:-1], eyes[1:]), 1).numpy()
    thickness = _THICKNESS * max(browser.painter.subjects[0].field.meaning.domain.half_size)
    return browser.client.scene.add_line_segments("/path", segments, _COLOUR, thickness=thickness)
