"""What `render` draws of a field, by the signal that it carries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.errors import PolyfieldError, naming, shown

if TYPE_CHECKING:
    from torch import Tensor

    from polyfield.cameras.cameras import Cameras
    from polyfield.fields import Field
    from polyfield.fields.field_file import FieldContext
    from polyfield.fit.runs.run import Run

PATHS = {
    "radiance": ("orbit", "test"),
    "image": ("picture",),
    "sdf": ("orbit", "slices"),
    "udf": ("orbit", "slices"),
    "occupancy": ("orbit", "slices"),
    "volume": ("orbit", "slices"),
}
_SIZE = (512, 512)  # of fields that no camera belongs to


@dataclass(frozen=True)
class Drawing:
    """Pictures (H, W, 3), made as they are taken, and how many."""

    pictures: Iterator[Tensor]
    count: int
    fps: float
    name: str  # of the file
    still: bool = False  # one picture rather than a film
    folder: bool = False  # pictures by themselves are more use than a film


def draw(
    file: Path,
    field: Field,
    context: FieldContext,
    run: Run | None,
    *,
    path: str | None,
    frames: int,
    size: tuple[int, int] | None,
    fps: float,
) -> Drawing:
    """What is drawn along a path, the signal's first if none is given. Raises PolyfieldError where there is no such."""
    signal = field.spec.signal
    path = path or PATHS[signal][0]
    if size is not None and not all(1 <= side <= 1 << 15 for side in size):
        raise PolyfieldError(f"--size is {size[0]} {size[1]}; expected 1 to 32768 pixels each")
    if not 1 <= frames <= 100_000:
        raise PolyfieldError(f"--frames is {frames}; expected 1 to 100000")
    if signal == "radiance":
        cameras, fps = _cameras(path, file, context.cameras, run, frames, size, fps)
        return Drawing(
            _radiance(file, field, context, cameras),
            len(cameras),
            fps,
            Path(path).stem,
            folder=path == "test",
        )
    if path not in PATHS[signal]:
        raise PolyfieldError(f"--path {shown(path)}: of {signal} there is {' or '.join(PATHS[signal])}")
    if path == "orbit":
        return Drawing(_orbit(field, frames, size or _SIZE), frames, fps, path)
    drawn = _image(field, context, size) if signal == "image" else _sections(field, size or _SIZE)
    return Drawing(iter([drawn]), 1, fps, path, still=True)


def _cameras(
    path: str,
    file: Path,
    fitted: dict[str, Any],
    run: Run | None,
    frames: int,
    size: tuple[int, int] | None,
    fps: float,
) -> tuple[Cameras, float]:
    """The cameras along a path, for a field file with its fitted cameras, and the frames per second to show them at."""
    from polyfield.cameras.cameras import Cameras
    from polyfield.cameras.orbit import orbit
    from polyfield.data.camera_path import read_camera_path
    from polyfield.data.views import read_views

    if path == "orbit":
        with naming(file):
            return orbit(Cameras.from_json(fitted), frames=frames, size=size), fps
    if path == "test":
        if run is None:
            raise PolyfieldError("--path test: test views belong to a run; give its folder, not a field file")
        return read_views(run.path / "scene.json", "test"), fps
    if not os.path.isfile(path):
        raise PolyfieldError(f"--path {shown(path)}: expected orbit, test, or the file of a camera path")
    return read_camera_path(path)


def _radiance(file: Path, field: Field, context: FieldContext, cameras: Cameras) -> Iterator[Tensor]:
    import torch

    from polyfield.render.radiance.rendering import render_images
    from polyfield.render.radiance.sampling import sampler_of

    device = next(field.parameters()).device
    with naming(file):
        sampler = sampler_of(field, context)
    cameras, behind = cameras.to(device), torch.tensor(context.background, device=device)
    for rendering in render_images(field, cameras, range(len(cameras)), sampler):
        yield rendering.over(behind)


def _orbit(field: Field, frames: int, size: tuple[int, int]) -> Iterator[Tensor]:
    """All the way round a shape or a volume."""
    from polyfield.render.pictures.emission import TransferFunction
    from polyfield.render.pictures.volume_pictures import emission_picture
    from polyfield.render.surfaces.shape_pictures import surface_picture
    from polyfield.render.turntable import turntable

    domain, signal = field.spec.domain, field.spec.signal
    cameras = turntable(domain, frames, size).to(next(field.parameters()).device)
    for view in range(frames):
        if signal == "volume":
            transfer = TransferFunction(field.spec.transform.range)
            yield emission_picture(field.colour_at, domain, cameras, view, transfer)
        else:
            yield surface_picture(signal, field.raw_at, domain, cameras, view)


def _sections(field: Field, size: tuple[int, int]) -> Tensor:
    """Three sections beside each other."""
    from polyfield.export.pictures import sheet
    from polyfield.render.pictures import volume_pictures
    from polyfield.render.surfaces import shape_pictures

    spec, device, side = field.spec, str(next(field.parameters()).device), max(size)
    if spec.signal == "volume":
        return sheet(
            [volume_pictures.sections(field.colour_at, spec.domain, spec.transform.range, device, side)]
        )
    return sheet([shape_pictures.sections(spec.signal, field.raw_at, spec.domain, device, side)])


def _image(field: Field, context: FieldContext, size: tuple[int, int] | None) -> Tensor:
    """The picture, as large as the one that the field was fitted to."""
    from polyfield.render.pictures.slices import as_rgb, picture

    match context.source.get("shape"):
        case [int(height), int(width), int()] if height > 0 and width > 0:
            size = size or (width, height)
    width, height = size or _SIZE
    drawn = picture(field.colour_at, width, height, device=next(field.parameters()).device)
    drawn /= field.spec.transform.scale  # the brightest is white
    return as_rgb(drawn, premultiplied=context.source.get("premultiplied") is True)
