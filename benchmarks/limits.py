"""The limits of this machine, and the shortest time that a training step could take at these limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from benchmarks.forms import instruction_sets, within
from benchmarks.turns import Budget, Figures, in_turns, rate_by_count
from polyfield.fields.plan import ColourNetwork, Plan

FOOTPRINTS = tuple(1 << bits for bits in range(14, 27))  # bytes, 16 KB to 64 MB
_MOST_MEMORY = 1 << 30  # bytes that updates by all threads may take together


@dataclass(frozen=True)
class Limits:
    """What an instruction set does at most, per second and on all threads."""

    multiply_adds: float  # in the number format of the radiance step's networks
    reads: dict[int, float]  # random ones of 8 bytes, by the bytes of memory they go to
    updates: dict[int, float]  # random ones of 16 bytes, read and written, by the bytes that a thread has
    number_bytes: int  # of a number in the table as the step reads it


@dataclass(frozen=True)
class Shape:
    """What of a field the arithmetic of a step depends on."""

    density: tuple[tuple[int, int], ...]  # (out, in) of each layer
    colour: tuple[
        tuple[int, int], ...
    ]  # the first takes the density network's outputs and then the harmonics
    harmonics: int
    entries: tuple[int, ...]  # of each level
    corners: int  # of a cell
    features: int

    @staticmethod
    def of(plan: Plan) -> Shape:
        ((factor,),) = plan.groups
        assert isinstance(plan.head, ColourNetwork)

        def sizes(layers: tuple[Tensor, ...]) -> tuple[tuple[int, int], ...]:
            return tuple((weight.shape[0], weight.shape[1]) for weight in layers)

        return Shape(
            density=sizes(plan.trunk.weights),
            colour=sizes(plan.head.layers),
            harmonics=plan.head.degree**2,
            entries=factor.levels.sizes,
            corners=1 << factor.levels.dimensions,
            features=factor.table.shape[1],
        )


def step_seconds(shape: Shape, limits: Limits, *, rays: float, evaluated: float, trained: float) -> Figures:
    """Seconds that so many rays with their samples take at the limits: multiply_adds, reads and updates, one after another.

    Multiply-adds: every evaluated sample goes through the density network. Every trained one, which is evaluated too,
    goes through the colour network as well, and backward through both, which costs twice the way forward: gradients
    to the weights and gradients to the inputs. The harmonics belong to the ray, so their columns of the first colour
    layer cost once a ray, and once more for the gradient to the weights. Widths are the field's, not those that
    kernels fill them up to.

    Reads: one in each level for each corner of each evaluated sample's cell, at the rate of random reads in as much
    memory as the level has. Updates: the same for each trained sample, in the level's gradient in single precision.
    An entry of four features is 8 or 16 bytes; others are taken to be as fast in as much memory.

    Nothing else is counted: no marching, compositing, optimiser, occupancy, and no waiting for one another.
    """
    density = sum(out * inputs for out, inputs in shape.density)
    of_rays = shape.colour[0][0] * shape.harmonics
    colour = sum(out * inputs for out, inputs in shape.colour) - of_rays
    products = evaluated * density + trained * (colour + 2 * (density + colour)) + rays * 2 * of_rays
    reads = updates = 0.0
    for entries in shape.entries:
        numbers = entries * shape.features
        reads += evaluated * shape.corners / rate_at(limits.reads, numbers * limits.number_bytes)
        updates += trained * shape.corners / rate_at(limits.updates, numbers * 4)
    return {"multiply_adds": products / limits.multiply_adds, "reads": reads, "updates": updates}


def rate_at(rates: dict[int, float], size: int) -> float:
    """The rate in `size` bytes, on straight lines between logarithms of sizes and rates; beyond the ends as there."""
    sizes = sorted(rates)
    size = min(max(size, sizes[0]), sizes[-1])
    upper = next(each for each in sizes if each >= size)
    lower = max((each for each in sizes if each < upper), default=upper)
    if lower == upper:
        return rates[upper]
    share = math.log(size / lower) / math.log(upper / lower)
    return rates[lower] ** (1 - share) * rates[upper] ** share


def contenders(budget: Budget) -> dict[str, Callable[[], Figures]]:
    """By instruction set, a function that measures all its limits once."""
    return {name: within(name, lambda: _measure(budget.least_seconds / 3)) for name in instruction_sets()}


def _measure(seconds: float) -> Figures:
    from polyfield import _core

    def figure(work: Callable[[int], int]) -> float:
        return rate_by_count(work, seconds)

    figures = {"float32": figure(_core.multiply_adds)}
    brain = figure(lambda count: _core.multiply_adds(count, True))
    if brain:
        figures["bfloat16"] = brain
    for size in FOOTPRINTS:
        figures[f"reads {size}"] = figure(partial(_core.random_reads, size))
        if size * _core.threads() <= _MOST_MEMORY:
            figures[f"updates {size}"] = figure(partial(_core.random_updates, size))
    return figures


def limits_of(name: str, figures: Figures) -> Limits:
    """The limits of an instruction set from what its contender measured."""
    from polyfield import _core

    brain, half = within(name, lambda: (_core.brain(), _core.reads_half()))()
    curves = [
        {int(key.removeprefix(kind)): value for key, value in figures.items() if key.startswith(kind)}
        for kind in ("reads ", "updates ")
    ]
    return Limits(figures["bfloat16" if brain else "float32"], curves[0], curves[1], 2 if half else 4)


def measure(budget: Budget) -> dict[str, object]:
    """The cell: every limit of every instruction set, a row each."""
    found = in_turns(contenders(budget), budget.rounds)
    names = {key: None for figures in found.values() for key in figures}
    rows = [
        {"per second": _named(key), **{name: figures.get(key) for name, figures in found.items()}}
        for key in names
    ]
    return {"rows": rows, "notes": [] if rows else ["polyfield was installed without its native part"]}


def _named(key: str) -> str:
    if key in ("float32", "bfloat16"):
        return f"multiply-adds, {key}"
    kind, size = key.split()
    width = {"reads": "8-byte reads", "updates": "16-byte updates"}[kind]
    return f"random {width}, {int(size) >> 10:,} KB"
