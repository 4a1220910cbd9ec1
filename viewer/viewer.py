"""Viewer: the door, the painter and the browsers of one or two fields."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import torch
import viser

from polyfield.cameras.cameras import Cameras
from polyfield.cameras.orbit import up_of
from polyfield.errors import PolyfieldError
from polyfield.rendering.turntable import turntable
from polyfield.viewer.browser import Browser
from polyfield.viewer.door import LOOPBACK, Door
from polyfield.viewer.live import Training
from polyfield.viewer.painter import Painter
from polyfield.viewer.subject import Photographs, Subject


class Viewer:
    """Shows fields to every browser that comes with the link."""

    def __init__(
        self,
        subjects: list[Subject],
        *,
        host: str = LOOPBACK,
        port: int = 0,
        training: Training | None = None,
    ) -> None:
        """Open the door, on any free port if it is 0. Raises PolyfieldError if the address cannot be listened on."""
        self.painter = Painter(subjects)
        for subject in subjects:
            subject.renderer(None)  # now, and not when the first browser waits for it
        self._training = training
        self._title = " and ".join(subject.name for subject in subjects)
        self._browsers: dict[int, Browser] = {}
        self._door = Door(host, port, f"polyfield: {self._title}", coming=self.painter.expect)
        self._place_camera(subjects[0])
        self._door.server.on_client_connect(self._arrived)
        self._door.server.on_client_disconnect(self._left)

    @property
    def link(self) -> str:
        """The address for a browser."""
        return self._door.link

    def photographs_from(self, read: Callable[[], Photographs | None]) -> None:
        """Read the photographs in a thread of their own: that can take seconds. Browsers that come later offer them."""
        self.painter.photographed = True

        def work() -> None:
            try:
                self.painter.photographs = read()
            except (PolyfieldError, OSError):  # the source is gone: the field can be looked at without it
                self.painter.photographed = False

        threading.Thread(target=work, daemon=True).start()

    def serve(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Draw until `stopped` returns true, or a signal raises."""
        while not stopped():
            if not self.painter.paint():
                self.painter.wait()

    def close(self) -> None:
        """End all connections and threads."""
        for browser in list(self._browsers.values()):
            browser.close()
        self.painter.close()
        self._door.close()

    def _place_camera(self, subject: Subject) -> None:
        """Let browsers begin where the first training camera was, or in front of the box."""
        server, domain = self._door.server, subject.field.meaning.domain
        stored = subject.context.cameras
        if stored:
            cameras = Cameras.from_json(stored)
            focus, up = cameras.focus(), up_of(cameras)
        elif len(domain.centre) == 3:
            cameras = turntable(domain, 1, (512, 512))
            focus, up = torch.tensor(domain.centre), torch.tensor([0.0, 1.0, 0.0])
        else:
            eye = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.4]])
            cameras = Cameras.perspective(eye[None], focal=600.0, size=(512, 512))
            focus, up = torch.zeros(3), torch.tensor([0.0, 1.0, 0.0])
        camera, height = server.initial_camera, int(cameras.sizes[0, 1])
        server.scene.set_up_direction(tuple(up.tolist()))
        # Nothing in the scene is lit. Shadow maps are expensive in a browser without a GPU.
        server.scene.configure_default_lights(enabled=False, cast_shadow=False)
        server.scene.configure_environment_map(None)
        camera.position = tuple(cameras.c2w[0, :, 3].tolist())
        camera.look_at = tuple(focus.tolist())
        camera.up = tuple(up.tolist())
        camera.fov = 2 * math.atan(height / 2 / float(cameras.intrinsics[0, 1]))

    def _arrived(self, client: viser.ClientHandle) -> None:
        browser = Browser(client, self.painter, self._title, self._training)
        self._browsers[client.client_id] = browser
        if client.client_id not in self._door.server.get_clients():  # it left while its panels were made
            self._left(client)

    def _left(self, client: viser.ClientHandle) -> None:
        browser = self._browsers.pop(client.client_id, None)
        if browser is not None:
            browser.close()
