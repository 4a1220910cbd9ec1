"""Every architecture on a scene, an image and a shape, at equal stored size and equal time.

Records of the built-in scene have a rendering of each field. Those of other sources have none, so that no data of others get
into the repository.
"""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

import polyfield
from benchmarks.turns import Budget
from polyfield.api.sources import BUILT_IN
from polyfield.errors import PolyfieldError

_TILE = 144  # pixels along a side of a picture's tile
_ROW = 20  # of a line of text


@dataclass(frozen=True)
class Kind:
    """What fits to a kind of source have in common, and what is told of them."""

    seconds: float
    bytes: int
    figures: dict[str, str]  # column to key of eval.json
    options: dict[str, Any]
    view: dict[str, Any]  # how its picture is rendered


KINDS = {
    "scene": Kind(
        60.0,
        4_000_000,
        {"test dB": "psnr", "ssim": "ssim"},
        {"downscale": 4},
        {"path": "orbit", "frames": 1, "size": (200, 200)},
    ),
    "picture": Kind(20.0, 200_000, {"dB": "psnr", "ms-ssim": "ms_ssim"}, {}, {"path": "picture"}),
    "shape": Kind(
        60.0,
        500_000,
        {"interior IoU": "iou", "normal error, degrees": "normal_error_degrees"},
        {"signal": "sdf"},
        {"path": "orbit", "frames": 1, "size": (200, 200)},
    ),
}


def measure(kind: str, architecture: str, source: str, budget: Budget) -> dict[str, Any]:
    """The cell of an architecture and a source."""
    how, built_in = KINDS[kind], source in BUILT_IN
    options = {} if built_in else how.options  # its photographs are small
    seconds = how.seconds * budget.share
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        try:
            fitted = polyfield.fit(
                source, field=architecture, seconds=seconds, bytes=how.bytes, out=out, **options
            )
        except PolyfieldError as error:
            return {"rows": [{"source": kind, "architecture": architecture, "why not": str(error)[:200]}]}
        tile = {"tile": _tile(out, how.view)} if built_in else {}
    found = fitted.figures
    row = {
        "source": kind,
        "architecture": architecture,
        **{column: found[key] for column, key in how.figures.items()},
        "steps": found["steps"],
        "preparing, s": found["prepare_seconds"],
        "parameters": found["parameters"],
        "bytes stored": found["bytes"],
    }
    note = f"{kind}: {seconds:g} s, at most {how.bytes:,} bytes stored; evaluation protocol {found['protocol']} (see the README)"
    return {"rows": [row], "notes": [note], **tile}


def _tile(run: Path, view: dict[str, Any]) -> str:
    """Return the middle of a picture of a run's field, JPEG in base64."""
    name = "tile.png" if view["path"] == "picture" else "tile"  # the latter a folder of frames
    rendered = Path(polyfield.render(run, out=run / name, **view)["out"])
    with Image.open(rendered if rendered.is_file() else min(rendered.glob("*.png"))) as opened:
        picture = opened.convert("RGB")
    left, top = (picture.width - _TILE) // 2, (picture.height - _TILE) // 2
    written = io.BytesIO()
    picture.crop((left, top, left + _TILE, top + _TILE)).save(written, "JPEG", quality=88)
    return base64.b64encode(written.getvalue()).decode()


def grid(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a JPEG picture of the tiles: a row for each source, a column for each architecture."""
    shown = [record for record in records if record.get("tile")]
    shown.sort(key=lambda record: record["inputs"]["options"]["order"])
    names = list(dict.fromkeys(record["rows"][0]["architecture"] for record in shown))
    sources = [kind for kind in KINDS if any(record["rows"][0]["source"] == kind for record in shown)]
    sheet = Image.new("RGB", (_TILE * len(names), (_TILE + _ROW) * len(sources) + _ROW), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for place, name in enumerate(names):
        draw.text(((place + 0.5) * _TILE, _ROW / 2), name, "black", font, anchor="mm")
    for record in shown:
        row = record["rows"][0]
        x, line = names.index(row["architecture"]) * _TILE, sources.index(row["source"])
        y = _ROW + line * (_TILE + _ROW)
        sheet.paste(Image.open(io.BytesIO(base64.b64decode(record["tile"]))), (x, y))
        column = next(iter(KINDS[row["source"]].figures))
        words = f"{row[column]:.2f} dB" if column.endswith("dB") else f"{column} {row[column]:.3f}"
        draw.text((x + _TILE / 2, y + _TILE + _ROW / 2), words, "black", font, anchor="mm")
    sheet.save(path, quality=88)
