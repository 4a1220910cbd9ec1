"""Subjects: what is drawn: fields with their renderers, and photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from polyfield.cameras.cameras import Cameras
from polyfield.fields import Field
from polyfield.fields.context import FieldContext
from polyfield.progress import Progress, silent
from polyfield.rendering.pictures.emission import TransferFunction
from polyfield.rendering.renderers import RENDERERS, EmissionRenderer, RadianceRenderer, Renderer, renderer_of
from polyfield.viewer.look import Look

_STRIDE = 2  # times the step between samples in coarse pictures: a third less time for a difference of 48 dB


class Subject:
    """A field that is looked at. Its renderer is kept until the field changes, or another crop is asked for."""

    def __init__(self, name: str, field: Field, context: Callable[[], FieldContext]) -> None:
        self.name, self.field, self._context = name, field, context
        self.context = context()
        self._renderer: Renderer | None = None
        self._cropped: object = None

    @property
    def layers(self) -> tuple[str, ...]:
        """What can be shown of it."""
        return RENDERERS[self.field.meaning.kind.drawn].layers

    def renew(self) -> None:
        """Follow a field that is being fitted."""
        self.context, self._renderer = self._context(), None

    def renderer(self, crop: tuple[tuple[float, ...], tuple[float, ...]] | None) -> Renderer:
        """Return the renderer of the field inside a box, or of the whole field."""
        if self._renderer is None or crop != self._cropped:
            self._renderer, self._cropped = renderer_of(self.field, self.context), crop
            if crop is not None and isinstance(self._renderer, RadianceRenderer):
                centre, half = (torch.tensor(numbers, device=self.field.device) for numbers in crop)
                self._renderer.crop(centre, half)
        return self._renderer

    def draw(
        self, look: Look, cameras: Cameras, progress: Progress = silent, *, coarse: bool = False
    ) -> Tensor:
        """Return a picture (H, W, 3) in [0, 1] of the first camera, on the CPU. A coarse one takes fewer samples."""
        renderer = self.renderer(look.crop)
        if isinstance(renderer, RadianceRenderer):
            background = look.background or self.context.background
            renderer.background = torch.tensor(background, device=self.field.device)
            renderer.stride = _STRIDE if coarse else 1
        if isinstance(renderer, EmissionRenderer):
            renderer.transfer = look.transfer or TransferFunction(self.field.meaning.transform.range)
        layer = look.layer if look.layer in renderer.layers else "colour"
        there = cameras.to(self.field.device)
        return renderer.draw(layer, there, 0, look.scale, progress).clamp(0, 1).cpu()


@dataclass(frozen=True)
class Photographs:
    """The photographs that a field was fitted to, and their cameras."""

    cameras: Cameras  # (V,)
    images: Sequence[np.ndarray]  # V of (H, W, 4) uint16 premultiplied RGBA
    names: Sequence[str]
    background: tuple[float, float, float]

    def small(self, index: int, longest: int) -> tuple[Cameras, Tensor]:
        """Return one camera and its photograph (H, W, 3), reduced by a whole number to at most `longest` pixels a side."""
        image = self.images[index]
        times = max(-(-max(image.shape[:2]) // longest), 1)
        height, width = (side // times * times for side in image.shape[:2])
        blocks = image[:height, :width].reshape(height // times, times, width // times, times, 4)
        picture = torch.from_numpy(blocks.mean((1, 3), dtype=np.float32) / 65535)
        shown = picture[..., :3] + (1 - picture[..., 3:]) * torch.tensor(self.background)
        one = self.cameras[[index]]
        return replace(
            one, intrinsics=one.intrinsics / times, sizes=torch.tensor([[width // times, height // times]])
        ), shown

    def seen_by(self, index: int, camera: Cameras) -> Tensor:
        """Return a photograph (H, W, 3) as another camera at its place sees it. White is where it has no pixels."""
        own, picture = self.small(index, 1 << 11)
        rays = camera.image_rays(0)
        uv, _ = own.project(0, own.c2w[0, :, 3] + rays.directions)
        width, height = own.sizes[0].tolist()
        place = uv / torch.tensor([width, height]) * 2 - 1
        inside = (place.abs() <= 1).all(-1)
        place = torch.where(inside[:, None], place, 0.0)
        found = grid_sample(
            picture.permute(2, 0, 1)[None], place[None, None], align_corners=False, padding_mode="border"
        )[0, :, 0].T
        columns, rows = camera.sizes[0].tolist()
        return torch.where(inside[:, None], found, 1.0).view(rows, columns, 3)
