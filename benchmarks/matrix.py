"""Fits by `polyfield.fit`: every architecture on scenes and pictures, and every signal on shapes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polyfield
from benchmarks.turns import Budget
from polyfield.fitting.runs.run import Run

SCENE_SECONDS = 120.0
DOWNSCALE = 4  # of scenes
PICTURE_SECONDS = 10.0
PICTURE_BYTES = 1_000_000
SHAPE_SECONDS = {"sdf": 300.0, "occupancy": 120.0, "udf": 120.0}
SHAPE_BYTES = 2_000_000
_CURVE = 6  # places of a curve


def scene(architecture: str, source: str, budget: Budget) -> dict[str, Any]:
    """The cell of an architecture on a scene: its figures, and how PSNR rose while it was trained."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = SCENE_SECONDS * budget.share
        run = Path(folder) / "run"
        fitted = polyfield.fit(source, field=architecture, seconds=seconds, downscale=DOWNSCALE, out=run)
        records, _ = Run.open(run).metrics()
    found = fitted.figures
    row = {
        "architecture": architecture,
        "test dB": found["psnr"],
        "ssim": found["ssim"],
        "rays/s": found["rays_per_second"],
        "parameters": found["parameters"],
        "bytes stored": found["bytes"],
    }
    for place in range(1, _CURVE + 1):
        until = seconds * place / _CURVE
        # The mean over a tenth of the fit: a step's rays are few.
        near = [r["psnr"] for r in records if until - seconds / 10 <= r["seconds"] <= until]
        row[f"training at {until:g} s, dB"] = sum(near) / len(near) if near else None
    note = f"{seconds:g} s per fit, photographs downscaled by {DOWNSCALE}, {found['views']} test views, protocol {found['protocol']}"
    return {"rows": [row], "notes": [note]}


def pictures(architecture: str, files: list[Path], budget: Budget) -> dict[str, Any]:
    """The cell of an architecture on pictures: each one's PSNR, and the mean."""
    seconds, figures = PICTURE_SECONDS * budget.share, []
    with tempfile.TemporaryDirectory() as folder:
        for number, file in enumerate(files):
            run = Path(folder) / str(number)
            fitted = polyfield.fit(file, field=architecture, seconds=seconds, bytes=PICTURE_BYTES, out=run)
            figures.append(fitted.figures)
    row: dict[str, Any] = {"architecture": architecture}
    row |= {f"{file.stem} dB": found["psnr"] for file, found in zip(files, figures)}
    for column, key in (("mean dB", "psnr"), ("mean ms-ssim", "ms_ssim"), ("mean bytes stored", "bytes")):
        known = [
            found[key] for found in figures if found[key] is not None
        ]  # none of what is perfect, or too small
        row[column] = sum(known) / len(known) if known else None
    note = f"{seconds:g} s per picture, at most {PICTURE_BYTES:,} bytes stored, protocol {figures[0]['protocol']}"
    return {"rows": [row], "notes": [note]}


def shape(signal: str, file: Path, budget: Budget) -> dict[str, Any]:
    """The cell of a mesh and what is fitted to it."""
    seconds = SHAPE_SECONDS[signal] * budget.share
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        fitted = polyfield.fit(file, signal=signal, seconds=seconds, bytes=SHAPE_BYTES, out=run)
    found = fitted.figures
    row = {
        "shape": file.stem,
        "signal": signal,
        "seconds": seconds,
        "of preparing": found["prepare_seconds"],
        "interior IoU": _digits(found.get("iou"), 4),
        "chamfer": _digits(found["chamfer"], 5),
        "F-score": _digits(found["f_score"], 4),
        "normal error, degrees": _digits(found["normal_error_degrees"], 2),
        "distance error": _digits(found.get("distance_error"), 5),
        "bytes stored": found["bytes"],
    }
    return {"rows": [row], "notes": [f"at most {SHAPE_BYTES:,} bytes stored, protocol {found['protocol']}"]}


def _digits(value: float | None, count: int) -> str:
    return "" if value is None else f"{value:.{count}f}"
