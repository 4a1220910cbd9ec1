"""Opening what a verb is given as SOURCE, and saying what it turned out to be."""

from __future__ import annotations

from dataclasses import replace

from polyfield.apps.progress import say, showing
from polyfield.data.demo import demo_scene
from polyfield.data.readers import open_scene
from polyfield.data.scene import Scene
from polyfield.errors import PolyfieldError
from polyfield.fit.run import Run

BUILT_IN = {"demo": "still", "demo-moving": "moving"}


def open_source(source: str, downscale: int) -> Scene:
    """The scene at a path, or a built-in one by its name."""
    path = source
    if source in BUILT_IN:
        with showing("making the demo scene") as progress:
            path = str(demo_scene(BUILT_IN[source], progress=lambda done, total: progress(done / total)))
    with showing("reading photographs") as progress:
        scene = open_scene(path, downscale=downscale, progress=lambda done, total: progress(done / total))
    if source in BUILT_IN:
        scene = replace(scene, name=source)
    sizes = sorted({tuple(size) for size in scene.cameras.sizes.tolist()})
    size = f"{sizes[0][0]}x{sizes[0][1]}" + (f" to {sizes[-1][0]}x{sizes[-1][1]}" if len(sizes) > 1 else "")
    say(f"{scene.found}")
    say(
        f"{len(scene.train)} training and {len(scene.test)} test views, {size}, {scene.bytes / 1e6:.0f} MB in memory"
    )
    for note in scene.notes:
        say(f"warning: {note}")
    if scene.cameras.times is not None:
        say(
            "warning: the scene moves, and no architecture here models time yet: it is fitted as if it stood still"
        )
    return scene


def open_again(run: Run, source: str, downscale: int) -> Scene:
    """The scene that a run was made from. Raises PolyfieldError if its photographs or poses are no longer the same."""
    scene = open_source(source, downscale)
    now, then = scene.summary(), run.scene
    for key in ("frames", "domain", "background", "downscale"):
        if now[key] != then.get(key):
            raise PolyfieldError(
                f"{run.path / 'scene.json'}: {key} of {source} are not what the run was fitted to; "
                "bring the scene back as it was, or begin a new run"
            )
    return scene
