"""Sources: opening what a fit is given, and saying what it turned out to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.api.report import say, showing
from polyfield.errors import PolyfieldError, shown

if TYPE_CHECKING:
    from polyfield.data.placement import Box
    from polyfield.data.scene import Scene
    from polyfield.fitting.tasks.task import Task

BUILT_IN = {"demo": "still", "demo-moving": "moving"}


def open_task(
    source: str,
    signal: str | None,
    downscale: int,
    *,
    kind: str | None = None,
    box: Box | None = None,
) -> Task:
    """Return the task of the source at a path, or of a built-in scene.

    The path and its content decide the kind of source if it is None. Raises PolyfieldError where none fits.
    """
    from polyfield.data.kinds import kind_of
    from polyfield.fields.signals import signals_of
    from polyfield.fitting.tasks.scene_task import SceneTask

    if source in BUILT_IN and kind not in (None, "scene"):
        raise PolyfieldError(f"--as {kind:.80}: {source} is a built-in scene; omit --as")
    found = None if source in BUILT_IN else kind_of(source, kind)
    read_as = found.name if found else "scene"
    signals = signals_of(read_as)
    if signal is not None and signal not in signals:
        raise PolyfieldError(
            f"--signal {signal:.80}: {shown(source)} is a {read_as}; expected {' or '.join(signals)}"
        )
    if downscale != 1 and read_as not in ("scene", "picture", "video"):
        raise PolyfieldError(
            f"--downscale {downscale}: {shown(source)} is a {read_as}; only scenes, pictures and videos can be downscaled"
        )
    if found and read_as != "scene":  # scenes say more, once they are looked into
        say(f"{shown(source)} is read as a {read_as}: {found.reason}")
    if read_as == "scene":
        return SceneTask(open_scene(source, downscale, box))
    if box is not None:
        raise PolyfieldError(f"--box: {shown(source)} is a {read_as}; --box is for scenes only; omit it")
    return _OPEN[read_as](source, signal, downscale)


def open_scene(source: str, downscale: int, box: Box | None = None) -> Scene:
    """Return the scene at a path, or a built-in one by its name."""
    from polyfield.data import readers
    from polyfield.demo.scenes import demo_scene

    path = source
    if source in BUILT_IN:
        with showing("making the demo scene") as progress:
            path = str(demo_scene(BUILT_IN[source], progress=progress))
    with showing("reading photographs") as progress:
        scene = readers.open_scene(path, downscale=downscale, box=box, progress=progress)
    if source in BUILT_IN:
        scene = replace(scene, name=source)
    sizes = sorted({tuple(size) for size in scene.cameras.sizes.tolist()})
    size = f"{sizes[0][0]}x{sizes[0][1]}" + (f" to {sizes[-1][0]}x{sizes[-1][1]}" if len(sizes) > 1 else "")
    say(f"{scene.found}")
    say(
        f"{len(scene.train)} training and {len(scene.test)} test views, {size}, {scene.bytes / 1e6:.0f} MB in memory"
    )
    if scene.cameras.times is not None:
        say("the photographs have times, so the field is a moving one")
    for note in scene.notes:
        say(f"warning: {note}")
    return scene


def _picture(source: str, signal: str | None, downscale: int) -> Any:
    from polyfield.data.pictures import open_picture
    from polyfield.fitting.tasks.picture_task import PictureTask

    with showing("reading the picture") as progress:
        picture = open_picture(source, downscale=downscale, progress=progress)
    say(picture.found)
    return PictureTask(picture, downscale)


def _video(source: str, signal: str | None, downscale: int) -> Any:
    from polyfield.data.videos import open_video
    from polyfield.fitting.tasks.video_task import VideoTask

    with showing("reading the video") as progress:
        video = open_video(source, downscale=downscale, progress=progress)
    say(video.found)
    for note in video.notes:
        say(f"warning: {note}")
    return VideoTask(video, downscale)


def _mesh(source: str, signal: str | None, downscale: int) -> Any:
    from polyfield.data.meshes import open_mesh
    from polyfield.fields.signals import SIGNALS, signals_of
    from polyfield.fitting.tasks.shape_task import ShapeTask

    mesh = open_mesh(source)
    say(mesh.found)
    for note in mesh.notes:
        say(f"warning: {note}")
    if mesh.why_open and signal is not None and SIGNALS[signal].inside:
        raise PolyfieldError(
            f"--signal {signal}: {shown(source)} has no inside ({mesh.why_open}); repair the mesh, or use --signal udf"
        )
    if mesh.why_open and signal is None:
        say(f"warning: unsigned distances are fitted, because the mesh has no inside ({mesh.why_open})")
    fitting = [name for name in signals_of("mesh") if not (mesh.why_open and SIGNALS[name].inside)]
    task = ShapeTask.of_mesh(mesh, signal or fitting[0])
    if task.union:
        say("the mesh's bodies overlap; the field is fitted to their union")
    return task


def _cloud(source: str, signal: str | None, downscale: int) -> Any:
    from polyfield.data.clouds import open_cloud
    from polyfield.fitting.tasks.shape_task import ShapeTask

    cloud = open_cloud(source)
    say(cloud.found)
    for note in cloud.notes:
        say(f"warning: {note}")
    return ShapeTask.of_cloud(cloud)


def _volume(source: str, signal: str | None, downscale: int) -> Any:
    from polyfield.data.volumes import open_volume
    from polyfield.fitting.tasks.volume_task import VolumeTask

    volume = open_volume(source)
    say(volume.found)
    for note in volume.notes:
        say(f"warning: {note}")
    return VolumeTask(volume)


_OPEN = {"picture": _picture, "video": _video, "mesh": _mesh, "cloud": _cloud, "volume": _volume}


def absolute(source: str) -> str:
    """Return a source as a run keeps it."""
    return source if source in BUILT_IN else str(Path(source).resolve())
