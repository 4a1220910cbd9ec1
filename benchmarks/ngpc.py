"""Time per frame of four applications with three encodings, by part (Mubarik et al. 2023, NGPC, figure 3).

The applications are NeRF, a signed distance, a volume, and a gigapixel image. The encodings are a multi-level hash grid, and
dense grids of several levels and of one. Each frame is timed twice: as polyfield draws it, and operation by operation with
timers on encoding and networks. The rest of the time is rays, marching, compositing, tracing and shading.
"""

from __future__ import annotations

import time
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import polyfield
from benchmarks.turns import Budget, Figures, in_turns
from polyfield.cameras.cameras import Cameras, look_at
from polyfield.fields import SIGNALS, Domain
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.network import Layers
from polyfield.rendering.fused import FusedField
from polyfield.rendering.pictures.emission import TransferFunction
from polyfield.rendering.pictures.slices import picture
from polyfield.rendering.pictures.volume_pictures import emission_picture
from polyfield.rendering.radiance.pictures import RadiancePictures
from polyfield.rendering.radiance.sampling import Lattice, MarchingSampler
from polyfield.rendering.surfaces.shape_pictures import surface_picture

SIZE = (1920, 1080)
ENCODINGS = {
    "multi-level hash": ("hashgrid", {"levels": 8, "features": 4, "entries": 1 << 19, "finest": 1024}),
    "multi-level dense": ("densegrid", {"levels": 8, "features": 4, "coarsest": 16, "finest": 128}),
    "one-level dense": ("densegrid", {"levels": 1, "features": 8, "finest": 128}),
}
APPLICATIONS = ("NeRF", "signed distance", "volume", "gigapixel image")
_SIGNALS = dict(zip(APPLICATIONS, ("radiance", "sdf", "volume", "image")))
_BOX = Domain("box", (0.0,) * 3, (1.0,) * 3)
_FLAT = Domain("box", (0.5, 0.5), (0.5, 0.5))
_STEP = 1 / 256  # between samples of a ray of radiance, in the box's diagonal; a volume's are as far apart


def measure(application: str, budget: Budget) -> dict[str, Any]:
    """The cell of an application: one row for each encoding."""
    size = SIZE if budget.share == 1 else (32, 18)
    rows = []
    for encoding, (architecture, options) in ENCODINGS.items():
        frame = _Frame(application, architecture, options, size)
        found = in_turns({"as it is": frame.timed, "in parts": frame.in_parts}, min(budget.rounds, 3))
        parts = found["in parts"]
        encode, network = (parts[part] / parts["seconds"] for part in ("encode", "network"))
        rows.append(
            {
                "application": application,
                "encoding": encoding,
                "frame, s": found["as it is"]["seconds"],
                "in parts, s": parts["seconds"],
                "points asked": parts["asked"],
                "encode, share": encode,
                "network, share": network,
                "rest, share": 1 - encode - network,
            }
        )
    note = (
        f"frames of {size[0]} x {size[1]}; fields as they begin, over shapes that are set, so no figure is of their quality; "
        "shares are of frames that are drawn operation by operation, as all but radiance is anyhow"
    )
    return {"rows": rows, "notes": [note]}


class _Frame:
    """A frame of an application: the same shape whatever the encoding, so that all ask for as many points."""

    def __init__(self, application: str, architecture: str, options: dict[str, Any], size: tuple[int, int]):
        domain = _FLAT if application == "gigapixel image" else _BOX
        if application == "gigapixel image":
            options = options | {"finest": 8 * options["finest"]}
        channels = 3 if domain is _FLAT else None
        self.field = polyfield.create(
            architecture, _SIGNALS[application], domain, channels=channels, **options
        )
        self.field.requires_grad_(False)
        self._application, self._size = application, size
        pose = look_at(torch.tensor([[1.6, 1.2, 2.4]]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
        self._cameras = Cameras.perspective(pose, focal=1.2 * size[1], size=size)

    def timed(self) -> Figures:
        """A frame as polyfield draws it."""
        start = time.perf_counter()
        self.draw()
        return {"seconds": time.perf_counter() - start}

    def in_parts(self) -> Figures:
        """A frame without fused kernels, and the seconds of it that go into the encoding and the networks."""
        spent = {"encode": 0.0, "network": 0.0, "asked": 0.0}
        hooks = []
        for module in self.field.modules():
            part = (
                "encode"
                if isinstance(module, Encoding)
                else "network"
                if isinstance(module, Layers)
                else None
            )
            if part:
                hooks += _watch(module, part, spent)
        with mock.patch.object(FusedField, "of", lambda field: None):
            figures = self.timed()
        for hook in hooks:
            hook.remove()
        return figures | spent

    def draw(self) -> None:
        if self._application == "NeRF":
            cells = (torch.arange(128) + 0.5) / 64 - 1
            distance = (cells[:, None, None] ** 2 + cells[:, None] ** 2 + cells**2).sqrt()
            sampler = MarchingSampler(_BOX, (distance < 0.8)[None], Lattice(_STEP * 12**0.5, 0.0, 0.1))
            RadiancePictures(self.field, sampler).render(self._cameras, 0)
        elif self._application == "signed distance":

            def ball(x: Tensor) -> Tensor:
                # The field's own value is all but 0, and is asked as it would be.
                return (self.field.raw_at(x) * 1e-6 + x.norm(dim=1) - 0.8) / _BOX.size

            surface_picture(SIGNALS["sdf"], ball, _BOX, self._cameras, 0)
        elif self._application == "volume":

            def cloud(x: Tensor) -> Tensor:
                return self.field.raw_at(x)[:, None] * 1e-6 + (1 - x.norm(dim=1, keepdim=True)).clamp(min=0)

            emission_picture(cloud, _BOX, self._cameras, 0, TransferFunction())
        else:
            width, height = self._size
            picture(self.field.colour_at, width, height)


def _watch(module: nn.Module, part: str, spent: dict[str, float]) -> list[Any]:
    """Hooks that add a module's seconds to its part, and the points that an encoding is asked for."""
    began = [0.0]

    def before(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        began[0] = time.perf_counter()
        spent["asked"] += len(given[0]) * (part == "encode")

    def after(*_: Any) -> None:
        spent[part] += time.perf_counter() - began[0]

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
