"""The panel of comparisons: another field, or a photograph, beside the field."""

from __future__ import annotations

import viser

from polyfield.viewer.look import ALONE, DIFFERENCE, FIELD, PHOTOGRAPH, SPLIT
from polyfield.viewer.painter import GAIN
from polyfield.viewer.steered import Steered


def add(browser: Steered, gui: viser.GuiApi) -> None:
    """Add the panel to a browser."""
    subjects = browser.painter.subjects
    choices = [ALONE] + [FIELD] * (len(subjects) > 1) + [PHOTOGRAPH] * browser.painter.photographed
    beside = gui.add_dropdown(
        "Compare with", choices, initial_value=browser.look.beside, hint="The second image of the comparison"
    )
    how = gui.add_dropdown(
        "Mode",
        (SPLIT, DIFFERENCE),
        hint="split: one image on each side of the divider. difference: white where the images are equal",
    )
    split = gui.add_slider(
        "Divider", 0.0, 1.0, 0.005, 0.5, hint="Share of the window for the left image, from 0 to 1"
    )
    names = gui.add_markdown("")

    def changed(_: object) -> None:
        right = {FIELD: subjects[-1].name, PHOTOGRAPH: "the photograph"}.get(beside.value)
        if right is None:
            names.content = ""
        elif how.value == DIFFERENCE:
            names.content = (
                f"Absolute difference between **{subjects[0].name}** and **{right}**, multiplied by {GAIN:g}. "
                "White pixels are equal."
            )
        else:
            names.content = f"left: **{subjects[0].name}**, right: **{right}**"
        split.disabled = beside.value == ALONE or how.value == DIFFERENCE
        browser.change(beside=beside.value, how=how.value, split=float(split.value))

    for handle in (beside, how, split):
        handle.on_update(changed)
    changed(None)
