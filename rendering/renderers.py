"""Renderers: objects that draw a field, one class for each way a signal is drawn.

They are kept over frames.
"""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.errors import PolyfieldError
from polyfield.fields import Field, Points
from polyfield.fields.context import FieldContext
from polyfield.progress import Progress, silent
from polyfield.rendering.finite import finite
from polyfield.rendering.pictures.emission import TransferFunction
from polyfield.rendering.pictures.hung import hung_picture
from polyfield.rendering.pictures.slices import as_rgb, picture
from polyfield.rendering.pictures.volume_pictures import emission_picture, volume_sections
from polyfield.rendering.radiance import layers
from polyfield.rendering.radiance.layers import OWN_SCALE, Scale
from polyfield.rendering.radiance.pictures import RadiancePictures
from polyfield.rendering.radiance.rendering import Rendering
from polyfield.rendering.radiance.sampling import MarchingSampler, Sampler, in_box, sampler_of
from polyfield.rendering.surfaces.shape_pictures import shape_sections, surface_picture, surface_values

# Of a picture: 0.8 GB in float.
MOST_PIXELS, LONGEST_SIDE = 1 << 26, 1 << 15
MOST_FRAMES = 100_000
_FPS, _FRAMES = 30.0, 60  # of a video whose source is not known


class Renderer(ABC):
    """Draws one field.

    Pictures are (H, W, 3) in [0, 1], sRGB. A progress call that raises stops a picture.
    """

    paths: ClassVar[tuple[str, ...]]  # the paths that it draws, the default first
    follows_cameras: ClassVar[bool] = (
        False  # whether the field has cameras of its own, and takes camera paths
    )
    layers: ClassVar[tuple[str, ...]] = ("colour",)  # what a view can show, the default first

    def __init__(self, field: Field, context: FieldContext) -> None:
        self.field, self.context = field, context

    def picture(self, cameras: Cameras, view: int, progress: Progress = silent) -> Tensor:
        """Return a view of the field. Raises PolyfieldError where its signal has no views."""
        raise PolyfieldError(
            f"rendering: a field with the signal {self.field.meaning.signal!r} has no views; "
            "call the renderer's method flat instead of picture"
        )

    def draw(
        self, layer: str, cameras: Cameras, view: int, scale: Scale = OWN_SCALE, progress: Progress = silent
    ) -> Tensor:
        """Return a view (H, W, 3) of one of `layers`. The scale is of layers that show numbers.

        Raises PolyfieldError for another layer.
        """
        if layer not in self.layers:
            raise PolyfieldError(
                f"layer {layer!r:.80}: expected {' or '.join(self.layers)} for a field with the signal "
                f"{self.field.meaning.signal!r}"
            )
        return self.picture(cameras, view, progress)

    def scale(self, layer: str, cameras: Cameras, view: int) -> Scale:
        """Return the scale of a layer that suits a view, and that all views of a film can have."""
        return OWN_SCALE

    def flat(
        self, size: tuple[int, int] | None, progress: Progress = silent, *, time: float = 0.0
    ) -> list[Tensor]:
        """Return flat pictures, to be shown side by side, of a moving field at a time in [0, 1].

        size is (width, height), the source's if None. Raises PolyfieldError where its signal has no flat pictures.
        """
        raise PolyfieldError(
            f"rendering: a field with the signal {self.field.meaning.signal!r} has no flat image; "
            "call the renderer's method picture instead of flat"
        )

    def refresh(self) -> None:
        """Follow a field whose tensors other code changed."""


class RadianceRenderer(Renderer):
    """Volume rendering of radiance on the context's background."""

    paths = ("orbit", "spiral", "cameras", "test")
    follows_cameras = True
    layers = layers.LAYERS

    def __init__(self, field: Field, context: FieldContext, sampler: Sampler | None = None) -> None:
        """Take a sampler, by default the context's. Raises PolyfieldError if the context makes no sense."""
        super().__init__(field, context)
        self._sampler = sampler or sampler_of(field, context)
        self._pictures = RadiancePictures(field, self._sampler)
        self._features = layers.FeatureColours(field)
        self.background = torch.tensor(context.background, device=field.device)
        self.stride = 1  # times the step between a ray's samples; more for coarse pictures

    def render(self, cameras: Cameras, view: int, progress: Progress = silent) -> Rendering:
        """Return colour, opacity and depth of a view, without background."""
        return self._pictures.render(cameras, view, progress, stride=self.stride)

    def picture(self, cameras: Cameras, view: int, progress: Progress = silent) -> Tensor:
        return self.render(cameras, view, progress).over(self.background)

    def draw(
        self, layer: str, cameras: Cameras, view: int, scale: Scale = OWN_SCALE, progress: Progress = silent
    ) -> Tensor:
        if layer == "samples":
            return layers.samples(self._sampler, cameras, view, scale, progress)
        if layer == "colour" or layer not in self.layers:
            return super().draw(layer, cameras, view, scale, progress)
        drawn = self.render(cameras, view, progress)
        if layer == "opacity":
            return layers.opacity(drawn, scale)
        if layer == "depth":
            shown = layers.depth(drawn, scale)
        elif layer == "normals":
            shown = layers.normals(drawn, cameras, view)
        else:
            shown = self._features(drawn, cameras, view)
        return torch.lerp(self.background.expand_as(shown), shown, drawn.opacity[..., None])

    def scale(self, layer: str, cameras: Cameras, view: int) -> Scale:
        return layers.depth_scale(self.render(cameras, view)) if layer == "depth" else OWN_SCALE

    def refresh(self) -> None:
        self._pictures.refresh()

    def crop(self, centre: Tensor, half: Tensor) -> None:
        """Leave out what is outside of a world box, centre and half sizes (3,) each, to whole cells of the occupancy grid.

        A field without an occupancy grid stays whole.
        """
        if not isinstance(self._sampler, MarchingSampler):
            return
        inside = in_box(self._sampler.occupied, self._sampler.domain, centre, half)
        self._sampler = replace(self._sampler, occupied=self._sampler.occupied & inside)
        self._pictures.refresh(self._sampler)


class PictureRenderer(Renderer):
    """The reconstructed image of an image field, flat or hung in space."""

    paths: ClassVar[tuple[str, ...]] = ("picture",)

    def picture(self, cameras: Cameras, view: int, progress: Progress = silent) -> Tensor:
        """Return a view of the image as it hangs in the plane z = 0, one unit high, its middle at the origin, on white."""
        width, height = self._size()
        time = 0.0 if cameras.times is None else float(cameras.times[view])

        def colours(x: Tensor) -> Tensor:
            return self._shown(finite(self._colours(x, time)))

        return hung_picture(colours, width / height, cameras, view, progress)

    def flat(
        self, size: tuple[int, int] | None, progress: Progress = silent, *, time: float = 0.0
    ) -> list[Tensor]:
        width, height = size or self._size()

        def colours(x: Tensor) -> Tensor:
            return self._colours(x, time)

        return [self._shown(finite(picture(colours, width, height, device=self.field.device)))]

    def _colours(self, x: Tensor, time: float) -> Tensor:
        """Return colours (N, C) at points (N, 2), of a moving field at a time."""
        return self.field.colour_at(x, x.new_full((len(x),), time) if self.field.meaning.moving else None)

    def _shown(self, colours: Tensor) -> Tensor:
        """Return (..., C) as (..., 3): the brightest is white."""
        colours = colours / self.field.meaning.transform.scale
        return as_rgb(colours, premultiplied=self.context.source.get("premultiplied") is True)

    def _size(self) -> tuple[int, int]:
        """Return the source's width and height, divided by a whole number where they are too large to draw."""
        shape = self._shape(3)
        if shape is None:
            return 512, 512
        height, width, _ = shape
        times = math.ceil(
            max(math.sqrt(width * height / MOST_PIXELS), width / LONGEST_SIDE, height / LONGEST_SIDE)
        )
        return max(width // times, 1), max(height // times, 1)

    def _shape(self, axes: int) -> list[int] | None:
        """Return the source's shape, its last axes, or None where the context has none that makes sense."""
        shape = self.context.source.get("shape")
        if not isinstance(shape, list) or not all(type(n) is int and 0 < n < 2**31 for n in shape):
            return None
        return shape[-axes:] if len(shape) == 3 + self.field.meaning.moving else None


class VideoRenderer(PictureRenderer):
    """The frames of a video field, flat or hung in space."""

    paths = ("video", "picture")

    @property
    def fps(self) -> float:
        """The source's frames per second, or 30."""
        fps = self.context.source.get("fps")
        return float(fps) if isinstance(fps, int | float) and 0 < fps < math.inf else _FPS

    @property
    def frames(self) -> int:
        """The source's number of frames, or 60."""
        shape = self._shape(4)
        return _FRAMES if shape is None else min(shape[0], MOST_FRAMES)


class SurfaceRenderer(Renderer):
    """The shaded surface of distances or occupancy, and sections."""

    paths = ("orbit", "slices")

    def picture(self, cameras: Cameras, view: int, progress: Progress = silent) -> Tensor:
        meaning = self.field.meaning
        return surface_picture(
            meaning.kind, surface_values(self.field), meaning.domain, cameras, view, progress
        )

    def flat(
        self, size: tuple[int, int] | None, progress: Progress = silent, *, time: float = 0.0
    ) -> list[Tensor]:
        meaning, longest = self.field.meaning, max(size or (512, 512))
        return shape_sections(
            meaning.kind, surface_values(self.field), meaning.domain, self.field.device, longest
        )


class EmissionRenderer(Renderer):
    """A volume that emits and absorbs light, and sections."""

    paths = ("orbit", "slices")

    def __init__(self, field: Field, context: FieldContext, transfer: TransferFunction | None = None) -> None:
        """Take a transfer function, by default a ramp over the source's own range."""
        super().__init__(field, context)
        self.transfer = transfer or TransferFunction(field.meaning.transform.range)

    def _values(self, x: Tensor) -> Tensor:
        return finite(self.field.colour_in_chunks(Points(x)))

    def picture(self, cameras: Cameras, view: int, progress: Progress = silent) -> Tensor:
        return emission_picture(
            self._values, self.field.meaning.domain, cameras, view, self.transfer, progress
        )

    def flat(
        self, size: tuple[int, int] | None, progress: Progress = silent, *, time: float = 0.0
    ) -> list[Tensor]:
        meaning, longest = self.field.meaning, max(size or (512, 512))
        window, device = meaning.transform.range, self.field.device
        return volume_sections(meaning.kind, self._values, meaning.domain, window, device, longest)


# Renderer classes by `Signal.drawn`.
RENDERERS: dict[str, type[Renderer]] = {
    "rays": RadianceRenderer,
    "picture": PictureRenderer,
    "video": VideoRenderer,
    "surface": SurfaceRenderer,
    "emission": EmissionRenderer,
}


def renderer_of(field: Field, context: FieldContext) -> Renderer:
    """Return the renderer of a field's signal. Raises PolyfieldError if the context makes no sense.

    >>> from polyfield.fields import Domain, FieldSpec, create
    >>> field = create(FieldSpec.of("densegrid", "image", Domain("box", (0.5, 0.5), (0.5, 0.5))))
    >>> renderer_of(field, FieldContext()).flat((4, 3))[0].shape
    torch.Size([3, 4, 3])
    """
    return RENDERERS[field.meaning.kind.drawn](field, context)
