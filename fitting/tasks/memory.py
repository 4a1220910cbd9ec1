"""Memory forecasts: how much a fit takes, before it takes it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from polyfield.fields import FieldSpec
from polyfield.fields.plan import RadialColours
from polyfield.fields.registry import build
from polyfield.fitting.points.point_objective import POINTS
from polyfield.fitting.rays.batch_size import CPU, GPU
from polyfield.fitting.rays.grid import MOST_CELLS
from polyfield.fitting.rays.source import POOL
from polyfield.rendering.radiance.queued import CAPACITY, RAYS_AT_ONCE
from polyfield.rendering.radiance.sampling import cascades

# Bytes.
_PROGRAMS = 450e6  # Python, PyTorch and their libraries
_ADAM = 4 * 4 + 2  # a parameter, its gradient and moments, and its copy in half precision
_WEIGHT = 1  # a pixel's drawing weight, beside the picture
_RAY = 400  # a ray drawn, and its temporaries
_SAMPLE = 600  # a sample in native tiles
_SAMPLE_IN_STEPS = 12_000  # a sample that passes through PyTorch operation by operation
_PICTURES = 400e6  # the rays of a picture that are rendered at once
_CELL = 16  # an occupancy cell while the grid is refined
_NUMBER = 4 * 4  # a number of a point's code or layers: itself, its gradient, and temporaries
# And on a GPU.
_PICTURE = 2 * 20 * 3840 * 2160  # a picture of 4k, and its copy
_CONTEXT = 600e6  # CUDA's own, and the kernels
_RAY_ON_GPU = 800  # a ray, drawn by rejection, and its place in every pass
_SAMPLE_ON_GPU = 16 + 8  # a sample whose density is evaluated, beside its code
_SHADED_ON_GPU = 8 * 4 + 10 * 4 + 16  # one with a colour, beside the gradient to its code


@dataclass(frozen=True)
class Memory:
    """Bytes of main memory, or of a GPU's."""

    source: float  # pixels, points or voxels
    rest: float

    def __str__(self) -> str:
        return f"{(self.source + self.rest) / 1e9:.1f} GB ({self.source / 1e9:.1f} GB of it for the source)"


def is_fused(spec: FieldSpec, form: str) -> bool:
    """Return whether steps along rays are one kernel, or a queue of them, in a form of the kernels."""
    with torch.device("meta"):
        plan = build(spec).plan()
    if plan is None:
        return False
    if form == "native":  # modulated layers are whole vectors
        return not plan.trunk.modulation or all(len(w) % 16 == 0 for w in plan.trunk.weights[:-1])
    one_table = len(plan.groups) == 1 and len(plan.groups[0]) == 1 and plan.frequencies is None
    functions = plan.functions or isinstance(plan.head, RadialColours)
    plain = not (plan.trunk.biases or plan.trunk.modulation or functions)
    return form == "cuda" and one_table and plain and not plan.meaning.moving


def predict(spec: FieldSpec, *, pixels: int, fused: bool) -> Memory:
    """Return the most that a fit to photographs takes on the CPU; `pixels` are those of all views."""
    samples = CPU.evaluated * (_SAMPLE if fused else _SAMPLE_IN_STEPS)
    rest = pixels * _WEIGHT + _PROGRAMS + _PICTURES + _field(spec, _ADAM) + POOL * _RAY + samples
    return Memory(8.0 * pixels, rest)


def predict_on_gpu(spec: FieldSpec, *, pixels: int, fused: bool, deterministic: bool) -> Memory:
    """Return the most that a fit to photographs takes of a GPU's memory."""
    evaluated, shaded = GPU.capacity
    # Bytes, for codes of up to 64 numbers.
    code = 64 * (4 if os.environ.get("POLYFIELD_PRECISION") == "float32" else 2)
    samples: float = evaluated * (_SAMPLE_ON_GPU + code) + shaded * (_SHADED_ON_GPU + code)
    pictures: float = RAYS_AT_ONCE * (CAPACITY[0] * (_SAMPLE_ON_GPU + code) + CAPACITY[1] * _SHADED_ON_GPU)
    # Captured graphs have memory of their own, beside that of the first run.
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


def predict_values(
    spec: FieldSpec, *, source: float, samples: float, evaluation: float, on_gpu: bool
) -> Memory:
    """Return the most that a fit to values takes, of main memory or of a GPU's.

    source are the bytes that the source takes already, samples those of what is made from it before the fit, evaluation
    those that measuring the field takes after the fit, in main memory.
    """
    with torch.device("meta"):
        field = build(spec)
    steps = max(POINTS[1], field.points_at_once / 4) * _NUMBER * field.numbers_per_point
    base = _CONTEXT if on_gpu else _PROGRAMS
    fit = samples + field.parameter_count() * _ADAM + steps
    return Memory(0.0, base + fit) if on_gpu else Memory(source, base + max(fit, evaluation))


def _field(spec: FieldSpec, parameter: int) -> float:
    """Return the bytes of a field, `parameter` for each of its parameters, and of its occupancy grid."""
    with torch.device("meta"):
        parameters = build(spec).parameter_count()
    return parameters * parameter + cascades(spec.meaning.domain) * MOST_CELLS**3 * _CELL


def available() -> float:
    """Return the bytes that are free, or infinity where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return float(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return float("inf")


def available_on_gpu(device: torch.device) -> float:
    """Return the bytes of a GPU's memory that are free."""
    return float(torch.cuda.mem_get_info(device)[0])
