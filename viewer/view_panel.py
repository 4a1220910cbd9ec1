"""The panel of the view: what is shown, how large, of which part, on what background."""

from __future__ import annotations

import io
import math

import numpy as np
import viser
from PIL import Image

from polyfield.export.pictures import as_8_bits
from polyfield.rendering.colour_maps import COLOUR_MAPS
from polyfield.rendering.radiance.layers import Scale
from polyfield.viewer.painter import Order
from polyfield.viewer.steered import Steered

_FOVS = (5, 120)  # degrees
_NUMBERS = ("depth", "opacity", "samples")  # layers that show numbers


def add(browser: Steered, gui: viser.GuiApi) -> None:
    """Add the panel to a browser."""
    subject, look = browser.painter.subjects[0], browser.look
    meaning, layers = subject.field.meaning, subject.layers
    shown = gui.add_dropdown(
        "Show",
        layers,
        initial_value=look.layer,
        visible=len(layers) > 1,
        hint="features: principal components of the latent vectors. samples: number of samples per ray",
    )
    colours = gui.add_dropdown(
        "Colour map",
        tuple(COLOUR_MAPS),
        hint="Colours for the values. Opacity is grey if Automatic range is on",
        visible=False,
    )
    own = gui.add_checkbox(
        "Automatic range",
        True,
        hint="Set the range of the colour map from the values in the image",
        visible=False,
    )
    numbers = gui.add_vector2(
        "Range", (0.0, 1.0), step=0.01, hint="Values at the two ends of the colour map", visible=False
    )
    rows = gui.add_slider(
        "Image height", 64, 2160, 8, look.most, hint="Largest height of the image, in pixels"
    )
    fov = gui.add_slider("Vertical field of view", *_FOVS, 1, _degrees(look.fov), hint="In degrees")
    crop = gui.add_checkbox(
        "Crop box", False, hint="Render only the content of a box", visible=meaning.kind.directional
    )
    solid = meaning.domain.dimensions == 3
    centre = gui.add_vector3(
        "Centre",
        np.array(meaning.domain.centre if solid else (0, 0, 0)),
        step=0.01,
        hint="Centre of the box: x, y, z",
        visible=False,
    )
    half = gui.add_vector3(
        "Half sizes",
        np.array(meaning.domain.half_size if solid else (1, 1, 1)),
        step=0.01,
        hint="Half sizes of the box along x, y, z",
        visible=False,
    )
    paint = gui.add_checkbox(
        "Background colour",
        False,
        hint="Replace the background of the field",
        visible=meaning.kind.directional,
    )
    colour = gui.add_rgb("Colour", (255, 255, 255), visible=False)
    save = gui.add_button("Save picture", icon=viser.Icon.CAMERA)

    def changed(_: object) -> None:
        counted = shown.value in _NUMBERS
        colours.visible = own.visible = counted
        numbers.visible = counted and not own.value
        centre.visible = half.visible = crop.value
        colour.visible = paint.value
        red, green, blue = (channel / 255 for channel in colour.value)
        browser.change(
            layer=shown.value,
            scale=Scale(
                colours.value, None if own.value else (float(numbers.value[0]), float(numbers.value[1]))
            ),
            most=rows.value,
            crop=(tuple(centre.value), tuple(half.value)) if crop.value else None,
            background=(red, green, blue) if paint.value else None,
        )

    for handle in (shown, colours, own, numbers, rows, crop, centre, half, paint, colour):
        handle.on_update(changed)

    @fov.on_update
    def _(_: object) -> None:
        browser.client.camera.fov = math.radians(fov.value)

    @save.on_click
    def _(_: object) -> None:
        order = Order(browser.look, browser.look.full)
        browser.painter.order(order)
        order.done.wait()
        if order.error is not None or order.picture is None:
            browser.tell(str(order.error))
            return
        buffer = io.BytesIO()
        Image.fromarray(as_8_bits(order.picture)).save(buffer, "PNG")
        browser.client.send_file_download("polyfield.png", buffer.getvalue(), save_immediately=True)


def _degrees(fov: float) -> int:
    """Return a field of view as the slider can have it."""
    return min(max(round(math.degrees(fov)), _FOVS[0]), _FOVS[1])
