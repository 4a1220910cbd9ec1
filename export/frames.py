"""A folder of frames: made for one rendering, and taken again for the next one only if a rendering made it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from polyfield.errors import PolyfieldError, shown
from polyfield.export.pictures import write_png
from polyfield.files.strict_json import write_json

MARK = "render.json"  # says what was rendered, and that the folder's frames may be replaced
_FRAME = re.compile(r"\d{4,}\.png")


def write_frames(folder: Path, pictures: Iterable[Tensor], rendered: dict[str, Any]) -> None:
    """Write pictures (H, W, 3) as 0000.png, 0001.png, ...; frames of an earlier rendering go, other files stay.

    Raises PolyfieldError where a folder with other content, or a file, has that name.
    """
    if folder.exists() and not (folder / MARK).is_file() and not _is_empty(folder):
        raise PolyfieldError(
            f"{shown(folder)}: is there already and no rendering made it; choose another name"
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
