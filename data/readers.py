"""Readers: the format of a scene, recognised by its files, and the call that opens it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from polyfield.data import blender, transforms
from polyfield.data.placement import Box
from polyfield.data.records import brief
from polyfield.data.scene import Scene
from polyfield.errors import PolyfieldError, shown
from polyfield.progress import Progress

_SLICES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".webp")


@dataclass(frozen=True)
class Format:
    """A scene format: how to recognise it and how to read it."""

    name: str
    sign: str  # the file that identifies it
    sniff: Callable[[Path], str | None]  # the folder or file -> why it is this format, or None
    read: Callable[
        [Path, str, int, Box | None, Progress | None], Scene
    ]  # path, what was found, downscale, box, progress


FORMATS = (
    Format("blender", blender.TRAIN, blender.sniff, blender.read),
    Format("transforms", transforms.NAME, transforms.sniff, transforms.read),
)


def open_scene(
    path: str | Path, *, downscale: int = 1, box: Box | None = None, progress: Progress | None = None
) -> Scene:
    """Return the scene in a folder, or the one that a JSON file describes.

    `downscale` K takes K x K box means of all photographs. `box` (x, y, z, half size) is the region of detail; the
    cameras and points decide if it is None. `progress` follows the decoding.
    Raises PolyfieldError, one line with file, key and frame, if anything cannot be read.
    """
    if isinstance(downscale, bool) or not isinstance(downscale, int) or downscale < 1:
        raise PolyfieldError(f"--downscale is {brief(downscale)}; expected a whole number of at least 1")
    path = Path(path)
    try:
        return _open(path, downscale, box, progress)
    except OSError as error:  # a folder without permission, a name that is too long
        raise PolyfieldError(
            f"{shown(path)} cannot be read ({(error.strerror or str(error)).lower()})"
        ) from None


def _open(path: Path, downscale: int, box: Box | None, progress: Progress | None) -> Scene:
    if not path.exists():
        raise PolyfieldError(f"{shown(path)}: no such file or folder")
    for form in FORMATS:
        if (reason := form.sniff(path)) is not None:
            return form.read(
                path, f"{shown(path)} is a {form.name} scene: {reason}.", downscale, box, progress
            )
    looked = ", ".join(f"{form.sign} ({form.name})" for form in FORMATS)
    raise PolyfieldError(f"{shown(path)}: no scene found; looked for {looked}; {_contents(path)}")


def _contents(path: Path) -> str:
    if path.is_file():
        return "this file is not one of them; expected a folder or a .json file"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir())
    shown = ", ".join(repr(name) for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    slices = sum(Path(name).suffix.lower() in _SLICES for name in names)
    if slices > 1 and slices >= len(names) / 2:
        more += "; photographs need poses in a JSON file; save slices of a volume as one multi-page TIFF or one .npy file"
    return f"the folder holds {shown}{more}" if names else "the folder is empty"
