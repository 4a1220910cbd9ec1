"""Browser: one connected browser: its camera, its panels, and the canvas that the painter fills."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import viser
import viser.transforms
from torch import Tensor

from polyfield.export.pictures import as_8_bits
from polyfield.viewer import (
    cameras_panel,
    compare_panel,
    path_panel,
    time_panel,
    training_panel,
    view_panel,
    volume_panel,
)
from polyfield.viewer.live import Training
from polyfield.viewer.look import ALONE, FIELD, Look, from_viser
from polyfield.viewer.painter import Canvas, Painter
from polyfield.viewer.steered import Marks, to_viser

_QUALITY = {False: 70, True: 92}  # of JPEG, while moving and when finished


class Browser:
    """A browser that is connected. Its callbacks run on viser's threads; pictures come from the painter's."""

    def __init__(
        self, client: viser.ClientHandle, painter: Painter, title: str, training: Training | None
    ) -> None:
        self.client, self.painter = client, painter
        self.closed = False
        domain = painter.subjects[0].field.meaning.domain
        self._scale = max(domain.half_size) if domain.dimensions == 3 else 1.0
        self.marks: list[Marks] = []
        self._training = training
        self._follow: Callable[[], None] | None = None
        self.canvas = Canvas(self._show, self.tell)
        self._changing = threading.Lock()
        self._look = Look(**self._seen(), beside=FIELD if len(painter.subjects) > 1 else ALONE)
        gui = client.gui
        gui.configure_theme(control_width="medium", show_logo=False, show_share_button=False)
        gui.main_panel.dock_right()
        gui.add_markdown(f"**{title}**")
        tabs = gui.add_tab_group()
        if training is not None:
            with tabs.add_tab("Training"):
                self._follow = training_panel.add(training, gui)
        with tabs.add_tab("View"):
            view_panel.add(self, gui)
        if painter.subjects[0].field.meaning.kind.drawn in ("surface", "emission"):
            with tabs.add_tab("Inside"):
                volume_panel.add(self, gui)
        if painter.subjects[0].field.meaning.moving:
            with tabs.add_tab("Time"):
                time_panel.add(self, gui)
        with tabs.add_tab("Compare"):
            compare_panel.add(self, gui)
        if painter.photographed:
            with tabs.add_tab("Cameras"):
                cameras_panel.add(self, gui)
        with tabs.add_tab("Path"):
            path_panel.add(self, gui)
        self._told = gui.add_markdown("")
        camera = client.camera  # viser's own limits are for scenes of size 1
        camera.min_orbit_distance, camera.max_orbit_distance = 1e-5 * self._scale, 1e4 * self._scale
        camera.near, camera.far = 1e-3 * self._scale, 1e4 * self._scale
        camera.on_update(self._moved)
        painter.add(self.canvas)
        self.change()

    def close(self) -> None:
        """Draw for it no more."""
        self.closed = True
        self.painter.remove(self.canvas)
        if self._training is not None and self._follow is not None:
            self._training.forget(self._follow)

    @property
    def look(self) -> Look:
        """What it looks at."""
        return self._look

    def change(self, **fields: Any) -> None:
        """Ask for another look."""
        with self._changing:
            self._look = replace(self._look, **fields)
            self.painter.ask(self.canvas, self._look)

    def go_to(self, c2w: Tensor, fov: float) -> None:
        """Move the browser's camera to a pose (3, 4)."""
        camera = self.client.camera
        with self.client.atomic():
            rotation, camera.position = to_viser(c2w)
            camera.wxyz = rotation
            camera.fov = fov

    def tell(self, line: str) -> None:
        """Show a line below the panels."""
        self._told.content = line

    def _seen(self) -> dict[str, Any]:
        camera = self.client.camera
        rotation = torch.from_numpy(viser.transforms.SO3(camera.wxyz).as_matrix())
        return {
            "c2w": from_viser(rotation, torch.from_numpy(np.asarray(camera.position))),
            "fov": float(camera.fov),
            "window": (max(camera.image_width, 1), max(camera.image_height, 1)),
        }

    async def _moved(self, _: viser.CameraHandle) -> None:
        seen, photographs = self._seen(), self.painter.photographs
        eye = seen["c2w"][:, 3]
        if photographs is not None and self._look.photograph is not None:
            there = photographs.cameras.c2w[self._look.photograph, :, 3].cpu()
            if (eye - there).norm() > 1e-3 * self._scale:
                seen["photograph"] = None
        self.change(**seen)
        for marks in self.marks:
            marks.follow(eye)

    def _show(self, picture: Tensor, finished: bool) -> None:
        image = as_8_bits(picture)
        self.client.scene.set_background_image(image, format="jpeg", jpeg_quality=_QUALITY[finished])
        self.client.flush()
