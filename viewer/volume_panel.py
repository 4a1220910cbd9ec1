"""The panel of shapes and volumes: sections through the middle, and the transfer function of a volume."""

from __future__ import annotations

import threading
from typing import Any

import viser

from polyfield.export.pictures import as_8_bits, sheet
from polyfield.rendering.pictures.emission import TransferFunction
from polyfield.viewer.painter import Sections
from polyfield.viewer.steered import Steered

_SIDE = 256  # pixels of a section


def add(browser: Steered, gui: viser.GuiApi) -> None:
    """Add the panel to a browser."""
    meaning = browser.painter.subjects[0].field.meaning
    if meaning.kind.drawn == "emission":
        _add_transfer(browser, gui, meaning.transform.range)
    button = gui.add_button("Draw sections", hint="Three cross-sections through the middle of the domain")
    shown: list[Any] = []
    drawing = threading.Lock()

    @button.on_click
    def _(_: object) -> None:
        if not drawing.acquire(blocking=False):
            return
        try:
            sections = Sections(_SIDE)
            browser.painter.order(sections)
            sections.done.wait()
            if sections.error is not None:
                browser.tell(str(sections.error))
                return
            image = as_8_bits(sheet([[picture] for picture in sections.pictures]))
            if shown:
                shown[0].image = image
            else:
                shown.append(gui.add_image(image, label="perpendicular to x, y and z"))
        finally:
            drawing.release()


def _add_transfer(browser: Steered, gui: viser.GuiApi, window: tuple[float, float]) -> None:
    low, high = window
    span = gui.add_multi_slider(
        "Values",
        low,
        high,
        (high - low) / 200,
        (low, high),
        hint="Values that are mapped to density 0 and density 1",
    )
    exponent = gui.add_slider(
        "Exponent",
        0.2,
        6.0,
        0.1,
        1.0,
        hint="The density is raised to this power. A large exponent hides low densities",
    )
    extinction = gui.add_slider(
        "Extinction",
        0.0,
        200.0,
        1.0,
        20.0,
        hint="Optical depth along the diagonal of the domain where the density is 1",
    )

    def changed(_: object) -> None:
        first, last = (float(value) for value in span.value)
        transfer = TransferFunction(
            (first, max(last, first + (high - low) / 1000)), float(exponent.value), float(extinction.value)
        )
        browser.change(transfer=transfer)

    for handle in (span, exponent, extinction):
        handle.on_update(changed)
