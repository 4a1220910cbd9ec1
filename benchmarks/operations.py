"""The main operations of `polyfield.kernels` in every implementation, at the sizes of a radiance fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.forms import REFERENCE, forms, using, within
from benchmarks.turns import Budget, Figures, in_turns, rate
from polyfield.kernels import Levels, RaySamples, adam, composite, interpolate, march, mlp

LEVELS = Levels.geometric(8, 16, 1024, 3, 1 << 17)
FEATURES = 4
SIZES = (32, 64, 64, 16)  # of the network: inputs, widths, outputs
_SAMPLES_OF_RAY = 16
_CELLS = 128  # of the occupancy grid, along an axis

# What is done each time, and how much of which unit that is. Made in the form that it is then measured in.
Work = tuple[Callable[[], object], int, str]


def _numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def _points(count: int) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0))


def weights() -> list[Tensor]:
    """Of a network of SIZES."""
    return [_numbers(out, inputs) / inputs**0.5 for inputs, out in itertools.pairwise(SIZES)]


def _backward(out: Tensor, to: Sequence[Tensor]) -> Callable[[], object]:
    gradient = torch.ones_like(out)
    return lambda: torch.autograd.grad(out, to, gradient, retain_graph=True)


def _interpolate(size: int) -> Work:
    table, points = _numbers(LEVELS.entries, FEATURES), _points(size)
    return lambda: interpolate(table, points, LEVELS), size, "points"


def _interpolate_to_table(size: int) -> Work:
    table = _numbers(LEVELS.entries, FEATURES).requires_grad_()
    return _backward(interpolate(table, _points(size), LEVELS), [table]), size, "points"


def _interpolate_to_points(size: int) -> Work:
    table, points = _numbers(LEVELS.entries, FEATURES), _points(size).requires_grad_()
    return _backward(interpolate(table, points, LEVELS), [points]), size, "points"


def _mlp(size: int) -> Work:
    x, layers = _numbers(size, SIZES[0]), weights()
    return lambda: mlp(x, layers), size, "rows"


def _mlp_backward(size: int) -> Work:
    x, layers = _numbers(size, SIZES[0]).requires_grad_(), [w.requires_grad_() for w in weights()]
    return _backward(mlp(x, layers), [x, *layers]), size, "rows"


def _march(size: int) -> Work:
    """Rays from all around through a shell of occupied cells."""
    count = max(size // _SAMPLES_OF_RAY, 1)
    axis = (torch.arange(_CELLS) + 0.5) * (2 / _CELLS) - 1
    distance = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    occupied = ((distance - 0.7).abs() < 0.05)[None]
    origins = torch.nn.functional.normalize(_numbers(count, 3), dim=1) * 3
    directions = torch.nn.functional.normalize(_numbers(count, 3) * 0.3 - origins, dim=1)
    near, far, jitter = torch.full((count,), 1.0), torch.full((count,), 5.0), torch.rand(count)
    rays: tuple[Any, ...] = (origins, directions, near, far, occupied)
    return lambda: march(*rays, step=2 * 3**0.5 / 1024, cone=0.0, jitter=jitter), count, "rays"


def _composited(size: int) -> tuple[RaySamples, Tensor, Tensor]:
    rays = max(size // _SAMPLES_OF_RAY, 1)
    ray = torch.arange(rays).repeat_interleave(_SAMPLES_OF_RAY)
    dt = torch.full((len(ray),), 0.01)
    samples = RaySamples.pack(1 + torch.arange(len(ray)) % _SAMPLES_OF_RAY * dt, dt, ray, rays)
    return samples, _numbers(len(ray)).exp(), torch.rand(len(ray), 3)


def _composite(size: int) -> Work:
    samples, density, colour = _composited(size)
    return lambda: composite(samples, density, colour), len(samples), "samples"


def _composite_backward(size: int) -> Work:
    samples, density, colour = _composited(size)
    given = [density.requires_grad_(), colour.requires_grad_()]
    return _backward(composite(samples, *given).colour, given), len(samples), "samples"


def _adam(size: int) -> Work:
    parameter, gradient, mean, square = (_numbers(size * 8) for _ in range(4))
    settings: dict[str, Any] = {"learning_rate": 1e-2, "betas": (0.9, 0.99), "eps": 1e-12, "decay": 0.0}
    square.square_()
    return lambda: adam(parameter, gradient, mean, square, step=9, **settings), size * 8, "numbers"


OPERATIONS: dict[str, Callable[[int], Work]] = {
    "interpolate": _interpolate,
    "interpolate to table": _interpolate_to_table,
    "interpolate to points": _interpolate_to_points,
    "mlp": _mlp,
    "mlp backward": _mlp_backward,
    "march": _march,
    "composite": _composite,
    "composite backward": _composite_backward,
    "adam": _adam,
}


def measure(operation: str, budget: Budget) -> dict[str, object]:
    """The cell of one operation: how much of its unit a second in every form, in one row."""
    contenders: dict[str, Callable[[], Figures]] = {}
    unit = ""
    for form in forms():
        with using(form):
            work, amount, unit = OPERATIONS[operation](budget.size)
        contenders[form] = within(form, _rated(work, amount, budget.least_seconds))
    found = {form: figures["rate"] for form, figures in in_turns(contenders, budget.rounds).items()}
    best = max(found.values()) / found[REFERENCE]
    return {"rows": [{"operation": operation, "per second": unit, **found, "best / reference": best}]}


def _rated(work: Callable[[], object], amount: int, seconds: float) -> Callable[[], Figures]:
    return lambda: {"rate": rate(work, amount, seconds)}
