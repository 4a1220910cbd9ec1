"""Checks of a fused field's arguments, as in `checks`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.kernels.checks import nearest, rbf
from polyfield.kernels.levels import Levels
from polyfield.kernels.shapes import biases_of, lattice, layers_of, lies_plain, shape
from polyfield.kernels.tree import Tree

# A table (E, F), its levels, and the axes that it is over.
Table = tuple[Tensor, Levels, Sequence[int]]
# Every factor of every group.
Groups = Sequence[Sequence[Table]]


class Radial(NamedTuple):
    """Radial functions as in `operations.rbf`, of which the tree holds the centres."""

    weights: Tensor  # (M, F)
    tree: Tree
    shapes: Tensor  # (M, S) float32
    linear: bool


def points_of_radiance(points: Tensor, times: Tensor | None, timed: bool) -> None:
    shape("fused_field: points", points, (None, 3))
    if points.dtype != torch.float32:
        raise PolyfieldError(f"fused_field: points has dtype {points.dtype}; expected torch.float32")
    _times(times, timed, len(points))


def _times(times: Tensor | None, timed: bool, count: int) -> None:
    if (times is not None) != timed:
        found, expected = ("no times", "times (N,)") if timed else ("times", "none, as the field is at rest")
        raise PolyfieldError(f"fused_field: found {found}; expected {expected}")
    if times is not None:
        shape("fused_field: times", times, (count,))
        if times.dtype != torch.float32:
            raise PolyfieldError(f"fused_field: times has dtype {times.dtype}; expected torch.float32")


def points_and_targets(
    points: Tensor,
    directions: Tensor | None,
    times: Tensor | None,
    timed: bool,
    dimensions: int,
    targets: Mapping[str, tuple[Tensor, int]],
) -> None:
    """Check the points of a fused kernel. Targets come with the width of their rows."""
    shape("fused_field: points", points, (None, dimensions))
    _times(times, timed, len(points))
    given = {**targets, "points": (points, dimensions)}
    if directions is not None:
        given["directions"] = directions, 3
    elif "colour" in targets:
        raise PolyfieldError("fused_field: colours need directions (N, 3); give them")
    for name, (tensor, width) in given.items():
        shape(f"fused_field: {name}", tensor, (len(points), width))
        if tensor.dtype != torch.float32:
            raise PolyfieldError(f"fused_field: {name} has dtype {tensor.dtype}; expected torch.float32")


def field_steps(
    tensors: Sequence[Tensor],
    tables: int,
    steps: Sequence[Mapping[str, Any] | None],
    functions: int | None = None,
) -> None:
    """Check a step for each tensor, of which the first are tables. `functions` is the place of the weights of functions."""
    if len(steps) != len(tensors):
        raise PolyfieldError(
            f"fused_field: steps has {len(steps)} entries; expected {len(tensors)}, one for each table and each layer"
        )
    for place, (tensor, step) in enumerate(zip(tensors, steps)):
        if step is None and place >= tables:
            continue
        if step is None:
            raise PolyfieldError(f"fused_field: steps[{place}] is None for a table; expected a step of adam")
        if "momentum" in step and (place < tables or tensor.dim() == 1 or place == functions):
            raise PolyfieldError(
                f"fused_field: steps[{place}] is a step of muon, and the tensor is no layer; expected one of adam"
            )
        for name in ("mean",) if "momentum" in step else ("mean", "square"):
            lies_plain(f"fused_field: steps[{place}]: {name}", step[name], tensor.shape, torch.float32)
        if isinstance(step.get("step"), int) and step["step"] < 1:
            raise PolyfieldError(f"fused_field: steps[{place}]: step is {step['step']}; expected 1 or more")


def fused_field(
    groups: Groups,
    frequencies: int | None,
    density: Sequence[Tensor],
    colour: Sequence[Tensor],
    degree: int,
    centre: Sequence[float],
    axes: Sequence[Sequence[float]],
    timed: bool,
    radial: Radial | None,
) -> None:
    dimensions = len(centre)
    if timed and dimensions != 3:
        raise PolyfieldError(f"fused_field: a timed field has {dimensions} axes of space; expected 3")
    if dimensions not in (2, 3) or [len(axis) for axis in axes] != [dimensions] * dimensions:
        raise PolyfieldError(
            f"fused_field: centre is {centre} and axes is {axes}; expected D and D x D numbers, with D = 2 or 3"
        )
    coordinates = dimensions + timed
    codes = sum(
        _group(f"fused_field: groups[{index}]", group, coordinates) for index, group in enumerate(groups)
    )
    codes += 0 if frequencies is None else coordinates * (1 + 2 * frequencies)
    codes += 0 if colour or radial is None else radial.weights.shape[-1]
    latent = layers_of("fused_field: density", density, (), codes) if density else codes
    if not colour:
        if degree and latent < 1 + 3 * degree**2:
            raise PolyfieldError(
                f"fused_field: the tables and density layers give {latent} numbers for a point; expected at least "
                f"{1 + 3 * degree**2}, a density and 3 x {degree**2} coefficients of spherical harmonics"
            )
        return
    outputs = layers_of("fused_field: colour", colour, (), latent + degree**2)
    if latent < 1 or outputs != 3:
        raise PolyfieldError(
            f"fused_field: the latent vector has {latent} numbers, and the colour network has {outputs} outputs; expected at "
            "least 1 number and exactly 3 outputs"
        )


def network_of_field(
    density: Sequence[Tensor],
    biases: Sequence[Tensor],
    modulation: Table | None,
    normed: bool,
    dimensions: int,
) -> None:
    """Check what the density network of a fused field has beside its weights."""
    if biases:
        biases_of("fused_field", density, biases, ())
    if modulation is None:
        if normed:
            raise PolyfieldError("fused_field: normed is set without modulation; give a modulation")
        return
    numbers = _group("fused_field: modulation", [modulation], dimensions)
    hidden, widths = len(density) - 1, {weight.shape[0] for weight in density[:-1]}
    if hidden < 1 or numbers not in (
        2 * hidden,
        *(2 * hidden * width for width in widths if len(widths) == 1),
    ):
        raise PolyfieldError(
            f"fused_field: modulation gives {numbers} numbers; expected 2 for each hidden layer, or 2 for each of its channels"
        )


def radial_of_field(
    radial: Radial | None, density: Sequence[Tensor], colour: Sequence[Tensor], degree: int, dimensions: int
) -> None:
    if radial is None:
        return
    points, near = radial.weights.new_empty(0, dimensions), torch.empty(0, 1 << dimensions, dtype=torch.int32)
    rbf(radial.weights, points, near, radial.tree.points, radial.shapes, None)
    nearest(radial.tree, points, 1 << dimensions)
    latent = len(density[-1]) if density else 0
    if (degree or colour) and (not colour or radial.weights.shape[1] >= latent):
        raise PolyfieldError(
            f"fused_field: radial basis functions have {radial.weights.shape[1]} features, for a latent vector of {latent} "
            f"numbers and {len(colour)} colour layers; expected fewer features than numbers, and a colour network"
        )


def _group(name: str, factors: Sequence[Table], dimensions: int) -> int:
    """Check a group of tables whose codes are multiplied or summed. Return the number of codes."""
    if not factors:
        raise PolyfieldError(f"{name}: no table; expected one or more")
    width = factors[0][1].count * factors[0][0].shape[-1]
    for index, (table, levels, axes) in enumerate(factors):
        shape(f"{name}[{index}]: table", table, (levels.entries, None))
        if len({*axes}) != len(axes) or len(axes) != levels.dimensions or not {*axes} <= {*range(dimensions)}:
            raise PolyfieldError(
                f"{name}[{index}]: axes are {(*axes,)}; expected {levels.dimensions} different axes, each from 0 to "
                f"{dimensions - 1}"
            )
        if table.numel() >= 1 << 32:
            raise PolyfieldError(
                f"{name}[{index}]: table has {table.numel():,} numbers; expected fewer than 2^32"
            )
        if levels.count * table.shape[1] != width:
            raise PolyfieldError(
                f"{name}[{index}]: {levels.count} levels of {table.shape[1]} features give "
                f"{levels.count * table.shape[1]} numbers; expected {width}, as the first table gives"
            )
    return width


def radiance_rays(
    rays: dict[str, Any], occupied: Tensor, timed: bool = False, **others: tuple[Tensor, int]
) -> None:
    """Check the rays of a fused kernel. `others` are tensors with the width of their rows."""
    shape("fused_field: origins", rays["origins"], (None, 3))
    count = len(rays["origins"])
    _times(rays.get("times"), timed, count)
    lattice("fused_field", (), occupied, rays["step"], rays["cone"])
    shape("fused_field: jitter", rays["jitter"], (count,))
    given = {name: (rays[name], 3) for name in ("origins", "directions")} | others
    for name, (tensor, width) in given.items():
        shape(f"fused_field: {name}", tensor, (count, width))
    for name, tensor in {
        "jitter": rays["jitter"],
        **{name: each for name, (each, _) in given.items()},
    }.items():
        if tensor.dtype != torch.float32:
            raise PolyfieldError(f"fused_field: {name} has dtype {tensor.dtype}; expected torch.float32")
