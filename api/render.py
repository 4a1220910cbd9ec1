"""Rendering a fitted field to pictures and videos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from polyfield.api.opening import EDIT, file_of, open_any
from polyfield.api.report import Bar, say, showing
from polyfield.errors import PolyfieldError, naming, shown

if TYPE_CHECKING:
    from torch import Tensor

    from polyfield.cameras.cameras import Cameras
    from polyfield.fitting.runs.run import Run
    from polyfield.rendering.renderers import Renderer, VideoRenderer

_SIZE = (512, 512)  # of fields without cameras
_FRAMES, _FPS = 60, 30.0  # of orbits


@dataclass(frozen=True)
class Drawing:
    """Pictures (H, W, 3), made as they are taken."""

    pictures: Iterator[Tensor]
    count: int
    fps: float
    name: str  # of the file
    suffix: str  # of the file; "" is a folder of PNG files


def render(
    source: str | os.PathLike[str],
    /,
    *,
    path: str | None = None,
    show: str = "colour",
    out: str | os.PathLike[str] | None = None,
    frames: int | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    time: float | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Render a field to a video, a folder of PNG files, or one PNG file.

    Parameters
    ----------
    source
        A run folder or a .field file.
    path
        For radiance: "orbit", "spiral", "cameras", "test", or the path of a nerfstudio camera_path.json.
        "spiral": two turns, up and down. "cameras": a path through the training cameras. "test": the test views.
        For shapes and volumes: "orbit" or "slices". For images: "picture". For videos: "video", or "picture" for one frame.
        If None, the first name above for the signal of the field.
    show
        For radiance: "colour", "depth", "opacity", "normals", "features" (principal components) or "samples" (number per
        ray). In all frames, the colour map of depth spans the range of depths in the first frame.
    out
        A video (.mp4) or a folder of PNG files. For slices and picture: a PNG file. An existing video or PNG file is
        replaced. A folder must be new, empty, or written by an earlier render. If None, the output is in the folder renders
        of the run or, for a .field file, of the current folder.
    frames
        The number of frames of an orbit, a spiral, a path through the training cameras, or a video. If None, 60, or the
        number of frames of the video that the field was fitted to.
    fps
        Frames per second, except for a camera path file, which gives the rate. If None, 30, or the rate of the video that the field was
        fitted to.
    size
        Width and height in pixels, except for test views and for a camera path file, which give the size. If None, the size
        of the first training view, picture or video; 512 x 512 for shapes and volumes.
    time
        For moving fields and videos: render the field at this time, from 0 to 1. If None, the time changes along the path,
        and each test view is rendered at the time of its photograph. In a video of F frames, frame k (from 0) is at the
        time (k + 0.5) / F.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".

    Returns
    -------
    dict
        ``out``, the path of the output; ``frames``, the number of frames; ``seconds`` and ``seconds_per_frame``, the
        rendering time in total and for each frame.

    Raises
    ------
    PolyfieldError
        If the field cannot be read, an option does not suit its signal, or the output cannot be written.

    Examples
    --------
    >>> import polyfield, tempfile
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     run = polyfield.fit("demo", steps=20, out=f"{folder}/run").run
    ...     rendered = polyfield.render(run, path="orbit", frames=2, size=(32, 32))
    >>> rendered["frames"]
    2
    """
    from polyfield.fitting.runs.devices import device_of
    from polyfield.fitting.runs.run import Run
    from polyfield.rendering.renderers import renderer_of

    source = Path(source)
    run = Run.open(source) if source.is_dir() else None
    file = file_of(source)
    field, context = open_any(source, device_of(device))
    with naming(file):
        renderer = renderer_of(field, context)
    drawing = _drawing(renderer, file, run, _path(renderer, path, time), show, frames, size, fps, time)
    folder = run.renders if run else Path("renders")
    target = folder / f"{drawing.name}{drawing.suffix}" if out is None else Path(out)
    start = perf_counter()
    with showing("rendering") as progress:
        _write(
            drawing, target, progress, {"source": str(source), "path": drawing.name, "frames": drawing.count}
        )
    seconds = perf_counter() - start
    say(f"{target}" if drawing.suffix == ".png" else f"{target}: {drawing.count} frames")
    return {
        "out": str(target),
        "frames": drawing.count,
        "seconds": seconds,
        "seconds_per_frame": seconds / drawing.count,
    }


def _path(renderer: Renderer, path: str | None, time: float | None) -> str:
    """Return the requested path, or the default. Raises PolyfieldError where the field has no such time."""
    if time is None:
        return path or renderer.paths[0]
    if not renderer.field.meaning.moving:
        raise PolyfieldError(f"--time {time:g}: the field does not move; omit --time")
    if not 0 <= time <= 1:
        raise PolyfieldError(f"--time is {time:g}; expected 0 to 1")
    if path == "video" and "picture" in renderer.paths:
        raise PolyfieldError(f"--time {time:g}: a video shows all times; use --path picture for one frame")
    return path or ("picture" if "picture" in renderer.paths else renderer.paths[0])


def _drawing(
    renderer: Renderer,
    file: Path,
    run: Run | None,
    path: str,
    show: str,
    frames: int | None,
    size: tuple[int, int] | None,
    fps: float | None,
    time: float | None,
) -> Drawing:
    """Return what is drawn along a path. Raises PolyfieldError where the field has no such path."""
    import torch

    from polyfield.rendering.renderers import LONGEST_SIDE, MOST_FRAMES, MOST_PIXELS, VideoRenderer

    if show not in renderer.layers:
        raise PolyfieldError(
            f"--show {shown(show)[:200]}: expected {' or '.join(renderer.layers)} for a field with the signal "
            f"{renderer.field.meaning.signal!r}"
        )
    if size is not None and not all(1 <= side <= LONGEST_SIDE for side in size):
        raise PolyfieldError(
            f"--size is {size[0]} {size[1]}; expected a width and a height of 1 to {LONGEST_SIDE} pixels"
        )
    if size is not None and size[0] * size[1] > MOST_PIXELS:
        raise PolyfieldError(f"--size {size[0]} {size[1]}: expected at most {MOST_PIXELS:,} pixels in all")
    if frames is not None and not 1 <= frames <= MOST_FRAMES:
        raise PolyfieldError(f"--frames is {frames}; expected 1 to {MOST_FRAMES}")
    if path == "slices" and size is not None and 3 * max(size) ** 2 > MOST_PIXELS:
        raise PolyfieldError(
            f"--size {size[0]} {size[1]}: three slices of {max(size)} x {max(size)} pixels have "
            f"{3 * max(size) ** 2:,} pixels; expected at most {MOST_PIXELS:,}"
        )
    if path in renderer.paths and path in ("picture", "slices"):
        return Drawing(iter([_side_by_side(renderer, size, time)]), 1, _FPS, path, ".png")
    if isinstance(renderer, VideoRenderer) and path == "video":
        return _film(renderer, frames or renderer.frames, fps or renderer.fps, size)
    cameras, fps = _cameras(renderer, path, file, run, frames or _FRAMES, size, fps or _FPS)
    if time is not None:
        cameras = replace(cameras, times=torch.full((len(cameras),), float(time)))
    width, height = cameras.sizes[cameras.sizes.prod(1).argmax()].tolist()
    if width * height > MOST_PIXELS:
        raise PolyfieldError(
            f"--path {shown(path)[:200]}: its largest camera has {width} x {height} pixels; expected at most "
            f"{MOST_PIXELS:,} pixels; reduce render_width and render_height if this is a camera path file, or use "
            "--path orbit with --size"
        )
    there = cameras.to(renderer.field.device)
    scale = renderer.scale(show, there, 0)
    pictures = (renderer.draw(show, there, view, scale) for view in range(len(cameras)))
    name = Path(path).stem if show == "colour" else f"{Path(path).stem}-{show}"
    return Drawing(pictures, len(cameras), fps, name, "" if path == "test" else ".mp4")


def _film(renderer: VideoRenderer, frames: int, fps: float, size: tuple[int, int] | None) -> Drawing:
    """Return the frames of a video field: frame k of F is at the time (k + 0.5) / F."""
    pictures = (renderer.flat(size, time=(frame + 0.5) / frames)[0] for frame in range(frames))
    return Drawing(pictures, frames, fps, "video", ".mp4")


def _side_by_side(renderer: Renderer, size: tuple[int, int] | None, time: float | None) -> Tensor:
    from polyfield.export.pictures import sheet

    return sheet([renderer.flat(size, time=time or 0.0)])


def _cameras(
    renderer: Renderer,
    path: str,
    file: Path,
    run: Run | None,
    frames: int,
    size: tuple[int, int] | None,
    fps: float,
) -> tuple[Cameras, float]:
    """Return the cameras along a path, and the frames per second to show them at."""
    from polyfield.cameras.cameras import Cameras
    from polyfield.cameras.keyframes import tour
    from polyfield.cameras.orbit import orbit
    from polyfield.data.camera_path import read_camera_path
    from polyfield.data.views import read_views
    from polyfield.rendering.turntable import turntable

    if path not in renderer.paths and not (renderer.follows_cameras and os.path.isfile(path)):
        kinds = [repr(name) for name in renderer.paths]
        kinds += ["an existing camera path file"] * renderer.follows_cameras
        raise PolyfieldError(
            f"--path {shown(path)[:200]}: expected {' or '.join(kinds)} for a field with the signal {renderer.field.meaning.signal!r}"
        )
    if path == "test":
        if run is None:
            raise PolyfieldError(
                "--path test: test views belong to a run; give the run's folder instead of a .field file"
            )
        if EDIT in run.config or run.scene.get("kind") == "field":
            raise PolyfieldError(
                "--path test: an edited or converted field has no test views of its own; use --path orbit"
            )
        return read_views(run.path / "scene.json", "test"), fps
    if path not in renderer.paths:
        return read_camera_path(path)
    if not renderer.follows_cameras:
        return turntable(renderer.field.meaning.domain, frames, size or _SIZE), fps
    with naming(file):
        if not renderer.context.cameras:
            raise PolyfieldError(
                f"the field stores no training cameras, which --path {path} needs; give --path a camera path file"
            )
        training = Cameras.from_json(renderer.context.cameras)
        if path == "cameras":
            return tour(training, frames=frames, size=size), fps
        return orbit(training, frames=frames, size=size, spiral=path == "spiral"), fps


def _write(drawing: Drawing, out: Path, progress: Bar, rendered: dict[str, Any]) -> None:
    from polyfield.export.frames import write_frames
    from polyfield.export.pictures import write_png, write_video

    pictures = _followed(drawing, progress)
    if drawing.suffix == ".png":
        if out.suffix != ".png":
            raise PolyfieldError(f"--out {out}: expected a name that ends in .png")
        write_png(out, next(pictures))
    elif out.suffix == ".mp4":
        write_video(out, pictures, fps=drawing.fps)
    elif out.suffix:
        raise PolyfieldError(
            f"--out {out}: expected a name that ends in .mp4, or a name without a dot for a folder of PNG files"
        )
    else:
        write_frames(out, pictures, rendered)


def _followed(drawing: Drawing, progress: Bar) -> Iterator[Tensor]:
    """Yield the pictures, with progress."""
    for number, image in enumerate(drawing.pictures):
        yield image
        progress((number + 1) / drawing.count)
