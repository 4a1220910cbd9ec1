"""Steered: what panels of controls need of a browser, and marks in its scene."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import viser
import viser.transforms
from torch import Tensor

from polyfield.viewer.look import Look
from polyfield.viewer.painter import Painter

_NEAR = 3.0  # sizes of a mark, within which it is hidden


class Marks:
    """Frustums in a browser's scene. Those that its camera is in are hidden: they would hide everything else."""

    def __init__(self, size: float) -> None:
        self.size = size
        self.wanted = True
        self._handles: list[Any] = []
        self._positions: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._handles)

    def add(self, client: viser.ClientHandle, name: str, c2w: Tensor, **options: Any) -> Any:
        """Draw the frustum of a pose (3, 4), and return viser's handle of it."""
        rotation, position = to_viser(c2w)
        handle = client.scene.add_camera_frustum(
            name, scale=self.size, wxyz=rotation, position=position, visible=False, **options
        )
        self._handles.append(handle)
        self._positions.append(c2w[:, 3])
        return handle

    def pop(self) -> None:
        """Remove the last one."""
        self._handles.pop().remove()
        self._positions.pop()

    def follow(self, eye: Tensor) -> None:
        """Show what is not too near to a camera at `eye` (3,)."""
        if not self._handles:
            return
        far = (torch.stack(self._positions) - eye).norm(dim=1) > _NEAR * self.size
        for handle, visible in zip(self._handles, (far & self.wanted).tolist(), strict=True):
            if handle.visible != visible:
                handle.visible = visible


class Steered(Protocol):
    """A browser whose look can be changed and whose camera can be moved."""

    client: viser.ClientHandle
    painter: Painter
    marks: list[Marks]
    closed: bool  # whether the browser has gone

    @property
    def look(self) -> Look: ...

    def change(self, **fields: Any) -> None: ...

    def go_to(self, c2w: Tensor, fov: float) -> None: ...

    def tell(self, line: str) -> None: ...


def to_viser(c2w: Tensor) -> tuple[Any, tuple[float, float, float]]:
    """Return the quaternion and the position, in viser's axes, of a pose (3, 4) in OpenGL axes."""
    rotation = (c2w[:, :3] * torch.tensor([1.0, -1.0, -1.0])).double().numpy()
    x, y, z = c2w[:, 3].tolist()
    return viser.transforms.SO3.from_matrix(rotation).wxyz, (x, y, z)
