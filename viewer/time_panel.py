"""The panel of time, of fields that move: a slider, and play."""

from __future__ import annotations

import time
from typing import Any

import viser

from polyfield.rendering.renderers import VideoRenderer
from polyfield.viewer.steered import Steered

_FPS = 30.0
_SECONDS = 4.0  # from time 0 to time 1, of a field without frames of its own
_LEAST, _MOST = 0.5, 600.0


def add(browser: Steered, gui: viser.GuiApi) -> None:
    """Add the panel to a browser."""
    renderer = browser.painter.subjects[0].renderer(None)
    length = renderer.frames / renderer.fps if isinstance(renderer, VideoRenderer) else _SECONDS
    place = gui.add_slider("Time", 0.0, 1.0, 0.001, browser.look.time, hint="0 is the start, 1 is the end")
    seconds = gui.add_number(
        "Seconds",
        min(max(length, _LEAST), _MOST),
        min=_LEAST,
        max=_MOST,
        hint="Time to play from 0 to 1, in seconds",
    )
    play = gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY)
    running = {"play": False}

    @place.on_update
    def _(event: Any) -> None:
        if event.client is not None:  # moved by a person, and not by what is played
            running["play"] = False
            browser.change(time=float(place.value))

    @play.on_click
    def _(_: object) -> None:
        if running["play"]:
            running["play"] = False
            return
        running["play"], play.label = True, "Pause"
        now, before = browser.look.time, time.monotonic()
        while running["play"] and not browser.closed:
            time.sleep(1 / _FPS)
            passed, before = time.monotonic() - before, time.monotonic()
            now = (now + passed / float(seconds.value)) % 1.0
            place.value = round(now, 3)
            browser.change(time=now)
        running["play"], play.label = False, "Play"
