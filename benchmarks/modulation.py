"""What modulation adds: an mlp of Fourier features, and cam over the same, fitted to crops of pictures (Lee et al. 2024, section 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.turns import Budget
from polyfield.data.pictures import open_picture
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, FieldSpec, Meaning, Points, create
from polyfield.fields.heads.encoded import EncodedField
from polyfield.fitting.metrics.images import psnr_of
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.schedule import learning_rate

ARCHITECTURES = ("mlp", "cam")
SIDE = 128  # of the crop from a picture's centre
STEPS = 2000  # each on all pixels
OPTIONS = {"width": 64, "layers": 3, "fourier": 64, "sigma": 10}


def measure(architecture: str, files: list[Path], budget: Budget) -> dict[str, Any]:
    """The cell of one of the two: each picture's PSNR, and the mean."""
    steps = max(round(STEPS * budget.share), 1)
    spec = FieldSpec(
        architecture, Meaning.of("image", Domain("box", (0.5, 0.5), (0.5, 0.5)), channels=3), OPTIONS
    )
    found = {file.stem: _fitted(spec, _crop(file), steps) for file in files}
    row: dict[str, Any] = {"architecture": architecture, "parameters": create(spec).parameter_count()}
    row |= {f"{name} dB": psnr for name, psnr in found.items()}
    row["mean dB"] = sum(found.values()) / len(found)
    return {
        "rows": [row],
        "notes": [f"{SIDE} x {SIDE} from the centre, {steps} steps on all pixels; {OPTIONS}"],
    }


def _crop(file: Path) -> Tensor:
    """Return the centre's colours (SIDE^2, 3) in [0, 1]."""
    picture = open_picture(file)
    height, width, channels = picture.values.shape
    if min(height, width) < SIDE or channels < 3:
        raise PolyfieldError(
            f"{file}: {width} x {height} x {channels}; expected RGB of {SIDE} x {SIDE} or more"
        )
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    values = picture.values[top : top + SIDE, left : left + SIDE, :3] / picture.peak
    return torch.from_numpy(values).float().reshape(-1, 3)


def _fitted(spec: FieldSpec, wanted: Tensor, steps: int) -> float:
    """Return the PSNR over all pixels after a fit. Codes have no parameters, so they are computed once."""
    field = create(spec)
    assert isinstance(field, EncodedField)
    middle = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    points = Points(torch.stack((x, y), -1).view(-1, 2))
    code = field.encoding(field.unit(points))
    optimiser = Optimiser(field.parameter_groups(), decay=0.0)
    for step in range(steps):
        optimiser.clear()
        (field.trunk(code, points) - wanted).square().mean().backward()
        optimiser.step(field.learning_rate * learning_rate(step / steps))
    with torch.no_grad():
        return psnr_of(float((field.trunk(code, points).clamp(0, 1) - wanted).square().mean()))
