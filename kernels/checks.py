"""Checks of the operations' arguments.

They raise PolyfieldError, one line, for tensors whose shapes do not fit. Native code trusts the shapes that
it is given. So no arguments that pass may make it read beyond a tensor's end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.kernels.levels import Levels
from polyfield.kernels.samples import RaySamples
from polyfield.kernels.tree import LEAF, Tree

# A table (E, F), its levels, and the axes that it is over.
Table = tuple[Tensor, Levels, Sequence[int]]
# Every factor of every group.
Groups = Sequence[Sequence[Table]]

MOST_NEIGHBOURS = 16


def interpolate(table: Tensor, points: Tensor, levels: Levels) -> None:
    bank = _bank("interpolate: table", table, "(E, F)")
    _shape("interpolate: table", table, (*bank, levels.entries, None))
    _shape("interpolate: points", points, (*bank, None, levels.dimensions))
    if levels.entries * table.shape[-1] >= 1 << 32:
        raise PolyfieldError(f"interpolate: table has {table.numel():,} numbers; expected fewer than 2^32")


def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None,
    modulation: Tensor | None,
    normed: bool,
) -> None:
    bank = _bank("mlp: x", x, "(N, I)")
    _layers("mlp: weights", weights, bank, x.shape[-1])
    if biases is not None:
        _biases("mlp", weights, biases, bank)
    if modulation is None:
        if normed:
            raise PolyfieldError(
                "mlp: normed is set without modulation; give a modulation, which may be zero"
            )
        return
    _shape("mlp: modulation", modulation, (*x.shape[:-1], len(weights) - 1, 2, None))
    channels = modulation.shape[-1]
    for layer, weight in enumerate(weights[:-1]):
        if channels not in (1, weight.shape[-2]):
            raise PolyfieldError(
                f"mlp: modulation has {channels} channels; expected 1, or {weight.shape[-2]}, the width of layer {layer}"
            )


def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    *,
    step: float,
    cone: float,
    jitter: Tensor,
) -> None:
    bank = _bank("march: origins", origins, "(R, 3)")
    _shape("march: origins", origins, (*bank, None, 3))
    _shape("march: directions", directions, origins.shape)
    for name, tensor in (("near", near), ("far", far), ("jitter", jitter)):
        _shape(f"march: {name}", tensor, origins.shape[:-1])
    _lattice("march", bank, occupancy, step, cone)


def _lattice(name: str, bank: tuple[int, ...], occupancy: Tensor, step: float, cone: float) -> None:
    cells = occupancy.shape[-1] if occupancy.dim() else None
    _shape(f"{name}: occupancy", occupancy, (*bank, None, cells, cells, cells))
    if occupancy.dtype != torch.bool or not occupancy[..., :1, :1, :1].numel():
        raise PolyfieldError(
            f"{name}: occupancy has shape {_text(occupancy)} and dtype {occupancy.dtype}; expected at least one cell, "
            "and dtype torch.bool"
        )
    if not (0 < step < math.inf and 0 <= cone < math.inf):
        raise PolyfieldError(
            f"{name}: step is {step} and cone is {cone}; expected a finite step above 0 and a finite cone of at least 0"
        )


def samples(operation: str, samples: RaySamples, density: Tensor, colour: Tensor | None = None) -> None:
    count = len(samples)
    _shape(f"{operation}: density", density, (count,))
    if colour is not None:
        _shape(f"{operation}: colour", colour, (count, 3))
    for name in ("dt", "ray"):
        _shape(f"{operation}: samples.{name}", getattr(samples, name), (count,))
    _shape(f"{operation}: samples.offsets", samples.offsets, samples.counts.shape)
    if density.device.type != "cpu":
        return  # to read the counts would make the host wait for the device
    ends = samples.counts.cumsum(0)
    packed = samples.counts.dtype == samples.offsets.dtype == torch.int64
    packed = packed and (int(ends[-1]) if len(ends) else 0) == count and bool((samples.counts >= 0).all())
    if not packed or not torch.equal(samples.offsets, ends - samples.counts):
        raise PolyfieldError(
            f"{operation}: samples.counts and samples.offsets are not the torch.int64 counts and offsets of {count} "
            "samples that are packed one ray after the other; make the samples with RaySamples.pack"
        )


def adam(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    step: int,
    half: Tensor | None,
) -> None:
    for name, tensor in (("gradient", gradient), ("mean", mean), ("square", square)):
        _shape(f"adam: {name}", tensor, parameter.shape)
    if half is not None:
        _lies_plain("adam: half", half, parameter.shape, torch.float16)
    if step < 1:
        raise PolyfieldError(f"adam: step is {step}; expected 1 or more")


def muon(parameter: Tensor, gradient: Tensor, mean: Tensor) -> None:
    _bank("muon: parameter", parameter, "(O, I)")
    *_, rows, columns = parameter.shape
    if not rows * columns or -(-rows // 16) * -(-columns // 16) >= 1 << 23:
        raise PolyfieldError(
            f"muon: parameter has shape {_text(parameter)}; expected at least one row and one column, and fewer than 2^31 numbers"
        )
    for name, tensor in (("gradient", gradient), ("mean", mean)):
        _shape(f"muon: {name}", tensor, parameter.shape)


def gather(parts: Sequence[Tensor], index: Tensor) -> None:
    _shape("gather: index", index, (None,))
    if index.dtype != torch.int64:
        raise PolyfieldError(f"gather: index has dtype {index.dtype}; expected torch.int64")
    for place, part in enumerate(parts):
        _shape(f"gather: parts[{place}]", part, (None, *parts[0].shape[1:]))
        if part.dtype != parts[0].dtype or part.device != index.device:
            raise PolyfieldError(
                f"gather: parts[{place}] has dtype {part.dtype} and is on {part.device}; "
                f"expected {parts[0].dtype} on {index.device}"
            )
    rows = sum(len(part) for part in parts)
    if len(index) and not (0 <= int(index.min()) and int(index.max()) < rows):
        raise PolyfieldError(
            f"gather: index goes from {int(index.min())} to {int(index.max())}; expected 0 to {rows - 1}"
        )


def nearest(tree: Tree, points: Tensor, count: int) -> None:
    found, axes = tree.points.shape
    _shape("nearest: points", points, (None, axes))
    leaves = len(tree.leaves)
    _shape("nearest: tree.leaves", tree.leaves, (leaves, axes, LEAF))
    _shape("nearest: tree.boxes", tree.boxes, (2 * leaves, 2, axes))
    if not (1 <= count <= min(found, MOST_NEIGHBOURS) and 1 <= axes <= 4 and leaves & (leaves - 1) == 0):
        raise PolyfieldError(
            f"nearest: count is {count}, and the tree has {found} points in {axes} dimensions and {leaves} leaves; expected "
            f"a count from 1 to {min(MOST_NEIGHBOURS, found)}, 1 to 4 dimensions, and a number of leaves that is a power of two"
        )


def rbf(
    weights: Tensor,
    points: Tensor,
    neighbours: Tensor,
    centres: Tensor,
    shapes: Tensor,
    multipliers: Tensor | None,
) -> None:
    _shape("rbf: points", points, (None, None))
    axes, count = points.shape[1], len(weights)
    _shape("rbf: weights", weights, (None, None))
    _shape("rbf: neighbours", neighbours, (len(points), None))
    _shape("rbf: centres", centres, (count, axes))
    _shape("rbf: shapes", shapes, (count, shapes.shape[-1]))
    if shapes.shape[-1] not in (1, axes * (axes + 1) // 2) or not 1 <= axes <= 4:
        raise PolyfieldError(
            f"rbf: shapes has shape {_text(shapes)} for points with D = {axes} axes; expected 1 or D (D + 1) / 2 numbers "
            "for each kernel, and D from 1 to 4"
        )
    if multipliers is not None:
        _shape("rbf: multipliers", multipliers, (weights.shape[1],))
    if neighbours.dtype != torch.int32 or not 1 <= neighbours.shape[1] <= MOST_NEIGHBOURS:
        raise PolyfieldError(
            f"rbf: neighbours has shape {_text(neighbours)} and dtype {neighbours.dtype}; expected shape (N, K), K from 1 to "
            f"{MOST_NEIGHBOURS}, and dtype torch.int32"
        )
    if neighbours.device.type == "cpu" and neighbours.numel():
        low, high = (int(value) for value in neighbours.aminmax())
        if low < 0 or high >= count:
            raise PolyfieldError(f"rbf: neighbours go from {low} to {high}; expected 0 to {count - 1}")


def points_of_radiance(points: Tensor) -> None:
    _shape("fused_field: points", points, (None, 3))
    if points.dtype != torch.float32:
        raise PolyfieldError(f"fused_field: points has dtype {points.dtype}; expected torch.float32")


def points_and_targets(
    points: Tensor,
    directions: Tensor | None,
    targets: Mapping[str, tuple[Tensor, int]],
) -> None:
    """Check the points of a fused kernel. Targets come with the width of their rows."""
    _shape("fused_field: points", points, (None, None))
    given = {**targets, "points": (points, points.shape[1])}
    if directions is not None:
        given["directions"] = directions, 3
    elif "colour" in targets:
        raise PolyfieldError("fused_field: colours need directions (N, 3); give them")
    for name, (tensor, width) in given.items():
        _shape(f"fused_field: {name}", tensor, (len(points), width))
        if tensor.dtype != torch.float32:
            raise PolyfieldError(f"fused_field: {name} has dtype {tensor.dtype}; expected torch.float32")


def field_steps(tensors: Sequence[Tensor], tables: int, steps: Sequence[Mapping[str, Any] | None]) -> None:
    """Check a step for each tensor, of which the first are tables."""
    if len(steps) != len(tensors):
        raise PolyfieldError(
            f"fused_field: steps has {len(steps)} entries; expected {len(tensors)}, one for each table and each layer"
        )
    for place, (tensor, step) in enumerate(zip(tensors, steps)):
        if step is None:
            continue
        if "momentum" in step and (place < tables or tensor.dim() == 1):
            raise PolyfieldError(
                f"fused_field: steps[{place}] is a step of muon for a table or a bias; expected one of adam"
            )
        for name in ("mean",) if "momentum" in step else ("mean", "square"):
            _lies_plain(f"fused_field: steps[{place}]: {name}", step[name], tensor.shape, torch.float32)
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
) -> None:
    dimensions = len(centre)
    if dimensions not in (2, 3) or [len(axis) for axis in axes] != [dimensions] * dimensions:
        raise PolyfieldError(
            f"fused_field: centre is {centre} and axes is {axes}; expected D and D x D numbers, with D = 2 or 3"
        )
    codes = sum(
        _group(f"fused_field: groups[{index}]", group, dimensions) for index, group in enumerate(groups)
    )
    codes += 0 if frequencies is None else dimensions * (1 + 2 * frequencies)
    latent = _layers("fused_field: density", density, (), codes) if density else codes
    if not colour:
        if degree and latent < 1 + 3 * degree**2:
            raise PolyfieldError(
                f"fused_field: the tables and density layers give {latent} numbers for a point; expected at least "
                f"{1 + 3 * degree**2}, a density and 3 x {degree**2} coefficients of spherical harmonics"
            )
        return
    outputs = _layers("fused_field: colour", colour, (), latent + degree**2)
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
        _biases("fused_field", density, biases, ())
    if modulation is None:
        if normed:
            raise PolyfieldError("fused_field: normed is set without modulation; give a modulation")
        return
    numbers = _group("fused_field: modulation", [modulation], dimensions)
    hidden, widths = len(density) - 1, {weight.shape[0] for weight in density[:-1]}
    if numbers not in (2 * hidden, *(2 * hidden * width for width in widths if len(widths) == 1)):
        raise PolyfieldError(
            f"fused_field: modulation gives {numbers} numbers; expected 2 for each hidden layer, or 2 for each of its channels"
        )


def _biases(name: str, weights: Sequence[Tensor], biases: Sequence[Tensor], bank: tuple[int, ...]) -> None:
    if len(biases) != len(weights):
        raise PolyfieldError(
            f"{name}: {len(biases)} biases for {len(weights)} weights; expected one bias for each weight"
        )
    for layer, (weight, bias) in enumerate(zip(weights, biases)):
        _shape(f"{name}: biases[{layer}]", bias, (*bank, weight.shape[-2]))


def _group(name: str, factors: Sequence[Table], dimensions: int) -> int:
    """Check a group of tables whose codes are multiplied or summed. Return the number of codes."""
    if not factors:
        raise PolyfieldError(f"{name}: no table; expected one or more")
    width = factors[0][1].count * factors[0][0].shape[-1]
    for index, (table, levels, axes) in enumerate(factors):
        _shape(f"{name}[{index}]: table", table, (levels.entries, None))
        if len(axes) != levels.dimensions or not {*axes} <= {*range(dimensions)}:
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


def radiance_rays(rays: dict[str, Any], occupied: Tensor, **others: tuple[Tensor, int]) -> None:
    """Check the rays of a fused kernel. `others` are tensors with the width of their rows."""
    _shape("fused_field: origins", rays["origins"], (None, 3))
    count = len(rays["origins"])
    _lattice("fused_field", (), occupied, rays["step"], rays["cone"])
    _shape("fused_field: jitter", rays["jitter"], (count,))
    given = {name: (rays[name], 3) for name in ("origins", "directions")} | others
    for name, (tensor, width) in given.items():
        _shape(f"fused_field: {name}", tensor, (count, width))
    for name, tensor in {
        "jitter": rays["jitter"],
        **{name: each for name, (each, _) in given.items()},
    }.items():
        if tensor.dtype != torch.float32:
            raise PolyfieldError(f"fused_field: {name} has dtype {tensor.dtype}; expected torch.float32")


def _layers(name: str, weights: Sequence[Tensor], bank: tuple[int, ...], width: int) -> int:
    """Check that weights take `width` numbers, and then each other's outputs.

    Return the last output's width.
    """
    if not weights:
        raise PolyfieldError(f"{name}: found no layers; expected at least one")
    for layer, weight in enumerate(weights):
        _shape(f"{name}[{layer}]", weight, (*bank, None, width))
        width = weight.shape[-2]
    return width


def _bank(name: str, tensor: Tensor, shape: str) -> tuple[int, ...]:
    """Return the bank axis as (B,), or () without one."""
    if tensor.dim() not in (2, 3) or (tensor.dim() == 3 and not len(tensor)):
        raise PolyfieldError(
            f"{name} has shape {_text(tensor)}; expected {shape}, or (B, {shape[1:]} for a bank of B fields, with B at least 1"
        )
    return tuple(tensor.shape[:-2])


def _shape(name: str, tensor: Tensor, expected: Sequence[int | None]) -> None:
    """Refuse a tensor of another shape. None means any number."""
    if len(expected) != tensor.dim() or any(n not in (None, m) for n, m in zip(expected, tensor.shape)):
        sizes = ", ".join("any" if n is None else str(n) for n in expected)
        raise PolyfieldError(
            f"{name} has shape {_text(tensor)}; expected ({sizes}{',' * (len(expected) == 1)})"
        )


def _lies_plain(name: str, tensor: Tensor, shape: Sequence[int], dtype: torch.dtype) -> None:
    """Refuse a tensor of another shape or type, or one that is not contiguous.

    Kernels use its memory directly.
    """
    _shape(name, tensor, shape)
    if tensor.dtype != dtype or not tensor.is_contiguous():
        raise PolyfieldError(
            f"{name} is a {'' if tensor.is_contiguous() else 'non-'}contiguous tensor of {tensor.dtype}; "
            f"expected a contiguous tensor of {dtype}"
        )


def _text(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
