"""How much memory a fit takes, said before it is taken."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from polyfield.fields import FieldSpec
from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.registry import build, options_of
from polyfield.fit.points.values import POINTS
from polyfield.fit.rays.batch_size import CPU, GPU
from polyfield.fit.rays.batches import POOL
from polyfield.fit.rays.radiance import MOST_CELLS
from polyfield.render.radiance.queued import RAYS_AT_ONCE, ROOM
from polyfield.render.radiance.sampling import cascades

_PROGRAMS = 450e6  # Python, PyTorch and what comes with them
_ADAM = 4 * 4 + 2  # bytes of a parameter, its gradient and moments, and its copy in half precision
_WEIGHT = 1  # byte of a pixel, beside the picture
_RAY = 400  # bytes of a ray drawn, and of what it was made of
_SAMPLE = 600  # bytes of a sample in native tiles
_SAMPLE_IN_STEPS = 12_000  # and of one that passes through PyTorch operation by operation
_PICTURES = 400e6  # for the rays of a picture that are on their way at once
_CELL = 16  # bytes of an occupancy cell while the grid is refined


_PICTURE = 2 * 20 * 3840 * 2160  # bytes of one of 4k, and its copy
_CONTEXT = 600e6  # of a GPU: CUDA's own, and the kernels
_RAY_ON_GPU = 800  # bytes: drawn by rejection, and its place in every pass
_SAMPLE_ON_GPU = 16 + 8  # bytes of a sample whose density is asked, beside its code
_SHADED_ON_GPU = 8 * 4 + 10 * 4 + 16  # and of one with a colour, beside the gradient to its code


_NUMBERS = 4 * 4  # bytes of a number of a point's code or layers: itself, its gradient, and copies on the way


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory, or of a GPU's."""

    images: float  # or what else the source is
    rest: float

    def __str__(self) -> str:
        return f"{(self.images + self.rest) / 1e9:.1f} GB, {self.images / 1e9:.1f} of it the source"


def predict(spec: FieldSpec, *, pixels: int, fused: bool) -> Memory:
    """The most that a fit on the CPU takes, with all views of that many pixels."""
    samples = CPU.evaluated * (_SAMPLE if fused else _SAMPLE_IN_STEPS)
    rest = pixels * _WEIGHT + _PROGRAMS + _PICTURES + _field(spec, _ADAM) + POOL * _RAY + samples
    return Memory(8.0 * pixels, rest)


def predict_on_gpu(spec: FieldSpec, *, pixels: int, fused: bool, deterministic: bool) -> Memory:
    """The most that a fit takes of a GPU's memory."""
    evaluated, shaded = GPU.room
    # Bytes, for codes of up to 64 numbers.
    code = 64 * (4 if os.environ.get("POLYFIELD_PRECISION") == "float32" else 2)
    samples: float = evaluated * (_SAMPLE_ON_GPU + code) + shaded * (_SHADED_ON_GPU + code)
    pictures: float = RAYS_AT_ONCE * (ROOM[0] * (_SAMPLE_ON_GPU + code) + ROOM[1] * _SHADED_ON_GPU)
    # What is captured has its own memory, beside that of the first time.
    samples, pictures = 2 * samples, 2 * pictures + _PICTURE
    if not fused:
        samples, pictures = CPU.evaluated * _SAMPLE_IN_STEPS, _PICTURES
    # Fixed point takes 8 bytes for a gradient's 4.
    rest = (
        pixels * _WEIGHT
        + _CONTEXT
        + _field(spec, _ADAM + 4 * deterministic)
        + GPU.rays[1] * _RAY_ON_GPU
        + samples
        + pictures
    )
    return Memory(8.0 * pixels, rest)


def predict_values(spec: FieldSpec, *, source: float, to_come: float, on_gpu: bool) -> Memory:
    """The most that a fit to values takes, of main memory or of a GPU's.

    There already is a source of so many bytes, and as many are to come.
    """
    options = options_of(spec.architecture, spec.options)
    with torch.device("meta"):
        field = build(spec)
    code = field.encoding.width if isinstance(field, EncodedField) else 0
    point = _NUMBERS * (3 * code + (options.layers + 2) * options.width)  # factors of a code are numbers too
    steps = max(POINTS[1], field.points_at_once / 4) * point
    base = _CONTEXT if on_gpu else _PROGRAMS
    return Memory(0.0 if on_gpu else source, base + to_come + field.parameter_count() * _ADAM + steps)


def _field(spec: FieldSpec, parameter: int) -> float:
    """Bytes of a field, with so many for each parameter, and of its occupancy grid."""
    with torch.device("meta"):
        parameters = build(spec).parameter_count()
    return parameters * parameter + cascades(spec.domain) * MOST_CELLS**3 * _CELL


def available() -> float:
    """Bytes that a process can still have, or infinity where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return float(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return float("inf")


def available_on_gpu(device: torch.device) -> float:
    """Bytes of a GPU's memory that are free."""
    return float(torch.cuda.mem_get_info(device)[0])
