"""What a notebook shows of a run."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

_WIDEST = 900  # pixels
_SHOWN = (
    "psnr",
    "psnr_to_teacher",
    "ssim",
    "iou",
    "iou_to_teacher",
    "chamfer",
    "steps",
    "train_seconds",
    "bytes",
)


def as_html(run: Path, figures: dict[str, Any]) -> str:
    """Return HTML with a run's folder, its most important figures, and the newest picture in its renders, if any."""
    cells = "".join(
        f"<td style='padding-right:1em'>{key}<br><b>{_number(figures[key])}</b></td>"
        for key in _SHOWN
        if figures.get(key) is not None
    )
    pictures = sorted((run / "renders").glob("*.png"), key=lambda path: path.stat().st_mtime)
    shown = ""
    if pictures:
        data = base64.b64encode(pictures[-1].read_bytes()).decode()
        shown = f"<img style='max-width:{_WIDEST}px' src='data:image/png;base64,{data}'>"
    return f"<p><code>{html.escape(str(run))}</code></p><table><tr>{cells}</tr></table>{shown}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else html.escape(str(value))
