"""Crops of pictures at equal steps on all pixels: the gain of modulation (Lee et al. 2024) and of kernels (Chen et al. 2023)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.turns import Budget
from polyfield.data.pictures import Picture, open_picture
from polyfield.errors import PolyfieldError
from polyfield.fields import FieldSpec, create
from polyfield.fitting.metrics.images import psnr_of
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.points.picture_points import contrast
from polyfield.fitting.schedule import learning_rate
from polyfield.fitting.tasks.picture_task import PictureTask

SIDE = 128  # of the crop from a picture's centre
STEPS = 2000  # each on all pixels
_FOURIER = {"width": 64, "layers": 3, "fourier": 64, "sigma": 10}
_KERNELS = {
    "kernels": 220,
    "features": 32,
    "layers": 2,
    "levels": 2,
    "grid_features": 2,
    "coarsest": 16,
    "finest": 32,
}
# What is compared: an architecture and its options.
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", _FOURIER),
    "cam": ("cam", _FOURIER),
    "hashgrid": ("hashgrid", {"levels": 6, "features": 2, "entries": 1 << 11, "finest": 128}),
    "rbf": (
        "rbf",
        {"kernels": 128, "features": 8, "levels": 5, "grid_features": 2, "finest": 128, "sines": "none"},
    ),
    "rbf as published": ("rbf", {**_KERNELS, "sines": "both"}),
    "rbf, sines of the network": ("rbf", {**_KERNELS, "sines": "network"}),
    "rbf, no sines": ("rbf", {**_KERNELS, "sines": "none"}),
}


def measure(contender: str, files: list[Path], budget: Budget) -> dict[str, Any]:
    """The cell of a contender: each picture's PSNR, and the mean."""
    steps = max(round(STEPS * budget.share), 1)
    architecture, options = CONTENDERS[contender]
    found: dict[str, float] = {}
    row: dict[str, Any] = {"contender": contender}
    for file in files:
        task = PictureTask(_crop(file), 1)
        spec = FieldSpec(architecture, task.meaning, options)
        found[file.stem], row["parameters"], row["bytes stored"] = _fitted(task, spec, steps)
    row |= {f"{name} dB": psnr for name, psnr in found.items()}
    row["mean dB"] = sum(found.values()) / len(found)
    return {"rows": [row], "notes": [f"{SIDE} x {SIDE} from the centre, {steps} steps on all pixels"]}


def _crop(file: Path) -> Picture:
    """Return the centre of a picture, of its first three channels."""
    picture = open_picture(file)
    height, width, channels = picture.values.shape
    if min(height, width) < SIDE or channels < 3:
        raise PolyfieldError(
            f"{file} has {width} x {height} pixels of {channels} channels; expected RGB of {SIDE} x {SIDE} or more"
        )
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    values = picture.values[top : top + SIDE, left : left + SIDE, :3].copy()
    return Picture(picture.name, values, picture.premultiplied, picture.peak, picture.found, picture.sha256)


def _fitted(task: PictureTask, spec: FieldSpec, steps: int) -> tuple[float, int, int]:
    """Return the PSNR over all pixels after a fit, and the field's parameters and bytes."""
    values = torch.from_numpy(task.picture.values / task.picture.peak).float()
    height, width, channels = values.shape
    wanted = values.view(-1, channels)
    field = create(spec)
    field.place(partial(contrast, task.picture.values, task.picture.peak), 0)
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    points = field.points(torch.stack((x, y), -1).view(-1, 2))
    optimiser = Optimiser(field.parameter_groups(), decay=0.0)

    def error() -> Tensor:
        return (field.features(points).vector - wanted).square().mean()

    for step in range(steps):
        field.advance(step / steps)
        optimiser.clear()
        error().backward()
        optimiser.step(field.learning_rate * learning_rate(step / steps))
    with torch.no_grad():
        found = (field.features(points).vector.clamp(0, 1) - wanted).square().mean()
    return psnr_of(float(found)), field.parameter_count(), field.stored_bytes()
