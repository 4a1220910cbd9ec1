"""How much memory a fit takes, said before it is taken."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from polyfield.fields import FieldSpec
from polyfield.fields.registry import build
from polyfield.fit.batches import POOL
from polyfield.fit.radiance import MOST_CELLS, MOST_SAMPLES
from polyfield.render.sampling import cascades

_PROGRAMS = 450e6  # Python, PyTorch and what comes with them
_ADAM = 4 * 4 + 2  # bytes of a parameter, its gradient and moments, and its copy in half precision
_WEIGHT = 1  # byte of a pixel, beside the picture
_RAY = 400  # bytes of a ray drawn, and of what it was made of
_SAMPLE = 600  # bytes of a sample in native tiles
_SAMPLE_IN_STEPS = 12_000  # and of one that passes through PyTorch operation by operation
_PICTURES = 400e6  # for the rays of a picture that are on their way at once
_CELL = 16  # bytes of an occupancy cell while the grid is refined


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory."""

    images: float
    rest: float

    def __str__(self) -> str:
        return f"{(self.images + self.rest) / 1e9:.1f} GB, {self.images / 1e9:.1f} of it images"


def predict(spec: FieldSpec, *, pixels: int, fused: bool) -> Memory:
    """The most that a fit on the CPU takes, with all views of that many pixels."""
    with torch.device("meta"):
        parameters = build(spec).parameter_count()
    cells = cascades(spec.domain) * MOST_CELLS**3
    samples = MOST_SAMPLES * (_SAMPLE if fused else _SAMPLE_IN_STEPS)
    rest = (
        pixels * _WEIGHT + _PROGRAMS + _PICTURES + parameters * _ADAM + cells * _CELL + POOL * _RAY + samples
    )
    return Memory(8.0 * pixels, rest)


def available() -> float:
    """Bytes that a process can still have, or infinity where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return float(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return float("inf")
