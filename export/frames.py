"""A folder of frames. A rendering replaces the frames in it only if an earlier rendering made the folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from polyfield.errors import PolyfieldError, shown
from polyfield.export.pictures import write_png
from polyfield.files.strict_json import write_json

MARK = "render.json"  # records the rendering, and marks the folder's frames as replaceable
_FRAME = re.compile(r"\d{4,}\.png")


def write_frames(folder: Path, pictures: Iterable[Tensor], rendered: dict[str, Any]) -> None:
    """Write pictures (H, W, 3) as 0000.png, 0001.png, ...

    Frames of an earlier rendering are deleted; other files stay. Raises PolyfieldError if a folder with other
    content, or a file, has that name.
    """
    if folder.exists() and not (folder / MARK).is_file() and not _is_empty(folder):
        raise PolyfieldError(
            f"{shown(folder)} already exists and does not hold rendered frames; choose another name with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MARK, rendered)
    for path in folder.iterdir():
        if _FRAME.fullmatch(path.name):
            path.unlink()
    for number, picture in enumerate(pictures):
        write_png(folder / f"{number:04d}.png", picture)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
