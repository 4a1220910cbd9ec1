"""8 bits: every architecture on a scene, stored in the default format and as 8-bit numbers after as many steps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polyfield
from benchmarks.turns import Budget

SECONDS = 60.0  # of the first fit
DOWNSCALE = 4


def measure(architecture: str, source: str, budget: Budget) -> dict[str, Any]:
    """The cell of an architecture: a fit of a fixed time, and one of as many steps with 8 bits."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = SECONDS * budget.share
        common: dict[str, Any] = {"field": architecture, "downscale": DOWNSCALE}
        plain, eight = Path(folder) / "plain", Path(folder) / "eight"
        before = polyfield.fit(source, out=plain, seconds=seconds, **common).figures
        steps = before["steps"]
        after = polyfield.fit(source, bits=8, out=eight, steps=steps, **common).figures
        files = [(run / "field.field").stat().st_size for run in (plain, eight)]
    row = {
        "architecture": architecture,
        "steps": steps,
        "test dB": before["psnr"],
        "8 bits dB": after["psnr"],
        "lost dB": before["psnr"] - after["psnr"],
        "bytes stored": before["bytes"],
        "8 bits, bytes stored": after["bytes"],
        "file, bytes": files[0],
        "8 bits, file, bytes": files[1],
        "share of the file": files[1] / files[0],
    }
    note = f"{seconds:g} s without 8 bits, photographs at 1/{DOWNSCALE}; {before['views']} test views, {before['protocol']}"
    return {"rows": [row], "notes": [note]}
