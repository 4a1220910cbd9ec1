"""The panel of training cameras: frustums with their photographs, and going there."""

from __future__ import annotations

import math

import viser

from polyfield.cameras.cameras import Cameras
from polyfield.export.pictures import as_8_bits
from polyfield.viewer.steered import Marks, Steered
from polyfield.viewer.subject import Photographs

_SIZE = 0.04  # of a frustum, in distances of the cameras from their middle
_THUMBNAIL = 96  # pixels


def add(browser: Steered, gui: viser.GuiApi) -> None:
    """Add the panel to a browser."""
    shown = gui.add_checkbox("Show cameras", False, hint="Show the training cameras with their photographs")
    number = gui.add_number("Camera", 0, min=0, step=1, hint="Index of a training camera, from 0")
    step = gui.add_button_group("Go to", ("previous", "next"))
    gui.add_markdown(
        "Click a camera, or enter its index, to move the view there. "
        "To see the photograph of this camera, set *Compare with* to *the photograph* in the tab *Compare*."
    )
    marks = Marks(1.0)
    browser.marks.append(marks)

    @shown.on_update
    def _(_: object) -> None:
        photographs = browser.painter.photographs
        if photographs is None:
            browser.tell(
                "No photographs are available. If they are still being read, try again in a few seconds."
            )
            return
        marks.wanted = shown.value
        if not len(marks):
            _place(browser, photographs, marks)
        marks.follow(browser.look.c2w[:, 3])

    @number.on_update
    def _(_: object) -> None:
        visit(browser, int(number.value))

    @step.on_click
    def _(_: object) -> None:
        photographs = browser.painter.photographs
        if photographs is not None:
            forward = 1 if step.value == "next" else -1
            number.value = (int(number.value) + forward) % len(photographs.cameras)  # type: ignore[misc]
            visit(browser, int(number.value))


def visit(browser: Steered, index: int) -> None:
    """Go to a training camera. All of its photograph is then in the window."""
    photographs = browser.painter.photographs
    if photographs is None or not 0 <= index < len(photographs.cameras):
        return
    cameras, (width, height) = photographs.cameras, browser.look.window
    sides, focal = cameras.sizes[index].tolist(), cameras.intrinsics[index, :2].tolist()
    wide, tall = (side / 2 / length for side, length in zip(sides, focal))
    fov = 2 * math.atan(max(tall, wide * height / width))
    c2w = cameras.c2w[index].cpu()
    browser.go_to(c2w, fov)
    time = 0.0 if cameras.times is None else float(cameras.times[index])
    browser.change(c2w=c2w, fov=fov, photograph=index, time=time)
    browser.tell(f"camera {index}: {photographs.names[index]}")


def _place(browser: Steered, photographs: Photographs, marks: Marks) -> None:
    """Draw all cameras."""
    marks.size = _SIZE * _spread(photographs.cameras)
    for index in range(len(photographs.cameras)):
        camera, picture = photographs.small(index, _THUMBNAIL)
        width, height = camera.sizes[0].tolist()
        handle = marks.add(
            browser.client,
            f"/cameras/{index}",
            camera.c2w[0].cpu(),
            fov=2 * math.atan(height / 2 / float(camera.intrinsics[0, 1])),
            aspect=width / height,
            image=as_8_bits(picture),
        )
        handle.on_click(lambda _, index=index: visit(browser, index))


def _spread(cameras: Cameras) -> float:
    """Return the median distance of cameras from their middle."""
    centres = cameras.c2w[:, :, 3]
    return max(float((centres - centres.mean(0)).norm(dim=1).median()), 1e-3)
