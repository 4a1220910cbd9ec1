"""The panel of a fit that goes on: pause, save, and the curve of its PSNR or error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import viser
import viser.uplot

from polyfield.viewer.live import Training


def add(training: Training, gui: viser.GuiApi) -> Callable[[], None]:
    """Add the panel to a browser. Return what shows news, until `Training.forget`."""
    pause = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE)
    save = gui.add_button("Save field file", icon=viser.Icon.DEVICE_FLOPPY)
    text = gui.add_markdown("")
    curve = gui.add_uplot(
        data=_data(training),
        series=(
            viser.uplot.Series(label="training time, seconds"),
            viser.uplot.Series(label=training.label, stroke="#e06010"),
        ),
        scales={"x": viser.uplot.Scale(time=False)},
        aspect=1.4,
    )

    def follow() -> None:
        text.content = training.text
        pause.label = "Continue" if training.paused else "Pause"
        pause.disabled = save.disabled = training.over
        curve.data = _data(training)

    follow()
    training.watch(follow)

    @pause.on_click
    def _(_: object) -> None:
        training.pause(not training.paused)

    @save.on_click
    def _(_: object) -> None:
        training.save_wanted = True

    return follow


def _data(training: Training) -> tuple[np.ndarray, np.ndarray]:
    history = np.array(training.history or [(0.0, 0.0)])
    return history[:, 0].copy(), history[:, 1].copy()
