"""The built-in demo scenes: Blender-format folders, made at first use and kept in the user's cache."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.demo.shading import render
from polyfield.demo.shapes import plinth, shapes
from polyfield.errors import PolyfieldError
from polyfield.files.locks import one_at_a_time
from polyfield.progress import Progress

KINDS = ("still", "moving")
RECIPE = 1  # part of the folder's name: raise it whenever a picture or a pose changes

_LEFTOVER = re.compile(rf"demo-({'|'.join(KINDS)})-\d+-[a-z0-9_]{{8}}")  # as tempfile ends its names

_ANGLE = 0.69  # horizontal field of view in radians
_RADIUS = 4.0  # of the sphere that the cameras are on
_TARGET = (0.0, 0.0, -0.12)  # the point that they look at: the middle of the scene
_SIDE = 2  # rays along each side of a pixel
_GOLDEN = math.pi * (3 - math.sqrt(5))  # the golden angle, whose multiples never repeat


def demo_scene(kind: str = "still", *, progress: Progress | None = None) -> Path:
    """Return the folder of a built-in scene, "still" or "moving".

    It has 100 training and 25 test views of 200 x 200 pixels. The first call makes it, in some seconds, below
    $POLYFIELD_CACHE, else $XDG_CACHE_HOME/polyfield, else ~/.cache/polyfield. Raises PolyfieldError for an
    unknown kind or a cache that cannot be written.
    """
    _check(kind)
    cache = _cache_folder()
    final = cache / f"demo-{kind}-{RECIPE}"
    if final.is_dir():
        return final
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(cache) as alone:
            if final.is_dir():  # made while this process waited
                return final
            if alone:
                _clean(cache)
            # Made beside its place, then moved: a kill leaves no partial scene under the final name.
            with tempfile.TemporaryDirectory(prefix=f"{final.name}-", dir=cache) as temporary:
                made = Path(temporary) / final.name
                make_scene(made, kind=kind, progress=progress)
                _move(made, final)
    except OSError as error:
        raise PolyfieldError(
            f"{cache}: the demo scene cannot be written ({error.strerror}); set POLYFIELD_CACHE to another folder"
        ) from None
    return final


def make_scene(
    folder: Path,
    *,
    kind: str = "still",
    views: int = 100,
    test_views: int = 25,
    size: int = 200,
    progress: Progress | None = None,
) -> None:
    """Render a demo scene into a new folder: `views` to train on and `test_views`, each `size` pixels square.

    The same arguments give the same bytes for any number of threads. Raises PolyfieldError for an unknown
    kind, and OSError if it cannot write. Files written by an interrupted call stay.
    """
    _check(kind)
    moving = kind == "moving"
    pictures: list[_Picture] = []
    for split, cameras in (
        ("train", _train_cameras(views, size, moving)),
        ("test", _test_cameras(test_views, size, moving)),
    ):
        (folder / split).mkdir(parents=True)
        names = [f"{split}/r_{frame:03d}" for frame in range(len(cameras))]
        _write_transforms(folder / f"transforms_{split}.json", names, cameras)
        pictures += [_Picture(cameras, i, folder / f"{name}.png") for i, name in enumerate(names)]
    _write_all(pictures, progress)


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise PolyfieldError(f"demo scene {kind!r} is not known; expected one of {', '.join(KINDS)}")


def _cache_folder() -> Path:
    if own := os.environ.get("POLYFIELD_CACHE"):
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache").absolute() / "polyfield"


def _clean(cache: Path) -> None:
    """Delete the unfinished scenes of killed processes. No other process may be making a scene."""
    for path in cache.iterdir():
        if _LEFTOVER.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _move(made: Path, final: Path) -> None:
    """Move a finished scene to its place, or keep an equal one that another process moved there."""
    try:
        made.rename(final)
    except OSError:
        if not final.is_dir():
            raise


# Cameras. Their pixels are the rays, and each pixel of a picture is the mean of several rays.


def _train_cameras(count: int, size: int, moving: bool) -> Cameras:
    """Return cameras on a golden-angle spiral from just above the plinth to nearly overhead.

    Times are spread evenly, in mixed order.
    """
    order = torch.arange(count)
    heights = 0.12 + 0.84 * (order + 0.5) / count
    mixed = (order * math.sqrt(2)).frac().argsort().argsort()
    return _cameras(heights, order * _GOLDEN, size, mixed if moving else None)


def _test_cameras(count: int, size: int, moving: bool) -> Cameras:
    """Return cameras that go round twice while they rise and sink once.

    The views in order make a film. Times are in order.
    """
    order = torch.arange(count)
    turns = (order + 0.5) / count
    heights = 0.5 - 0.25 * torch.cos(2 * math.pi * turns)
    return _cameras(heights, 4 * math.pi * turns, size, order if moving else None)


def _cameras(heights: Tensor, azimuths: Tensor, size: int, times: Tensor | None) -> Cameras:
    """Return cameras at heights (V,), in units of the radius, and azimuths (V,) about the origin.

    times (V,) int64 are ranks in time, spread over [0, 1].
    """
    flat = (1 - heights * heights).sqrt()
    eyes = _RADIUS * torch.stack((flat * azimuths.cos(), flat * azimuths.sin(), heights), -1)
    fine = size * _SIDE
    return Cameras.perspective(
        look_at(eyes, torch.tensor(_TARGET), torch.tensor([0.0, 0.0, 1.0])),
        focal=fine / 2 / math.tan(_ANGLE / 2),
        size=(fine, fine),
        times=None if times is None else times / max(len(times) - 1, 1),
    )


def _write_transforms(path: Path, names: list[str], cameras: Cameras) -> None:
    """Write the poses as in Blender scenes: file paths without suffix, 4 x 4 matrices, times if it moves."""
    frames = []
    for i, name in enumerate(names):
        frame: dict[str, object] = {"file_path": f"./{name}"}
        if cameras.times is not None:
            frame["time"] = cameras.times[i].item()
        frame["transform_matrix"] = [*cameras.c2w[i].tolist(), [0.0, 0.0, 0.0, 1.0]]
        frames.append(frame)
    path.write_text(json.dumps({"camera_angle_x": _ANGLE, "frames": frames}, indent=1) + "\n")


# Pictures.


@dataclass(frozen=True)
class _Picture:
    """One view and the file that it is written to."""

    cameras: Cameras
    frame: int
    path: Path

    def write(self) -> None:
        from PIL import Image

        Image.fromarray(self.pixels()).save(self.path, compress_level=6)

    def pixels(self) -> np.ndarray:
        """Return straight sRGB and alpha (H, W, 4) uint8.

        Alpha is the mean over a pixel's rays; the colour is the mean over those rays that hit.
        """
        time = 0.0 if self.cameras.times is None else float(self.cameras.times[self.frame])
        colours, hit = render(plinth(), shapes(time), self.cameras.image_rays(self.frame))
        size = int(self.cameras.sizes[self.frame, 0]) // _SIDE
        hits = hit.float().reshape(size, _SIDE, size, _SIDE, 1).sum((1, 3))
        total = colours.reshape(size, _SIDE, size, _SIDE, 3).sum((1, 3))
        straight = torch.cat((total / hits.clamp(min=1), hits / _SIDE**2), -1)
        return (straight * 255).round().to(torch.uint8).numpy()


def _write_all(pictures: list[_Picture], progress: Progress | None) -> None:
    """Write the pictures, one per thread.

    torch uses one thread inside each, so that rounding does not depend on the number of threads.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for done, _ in enumerate(pool.map(_Picture.write, pictures), start=1):
            if progress is not None:
                progress(done / len(pictures))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
