"""Checks of the operations' arguments.

They raise PolyfieldError, one line, for tensors whose shapes do not fit. Native code trusts the shapes that
it is given. So no arguments that pass may make it read beyond a tensor's end.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.kernels.levels import Levels
from polyfield.kernels.samples import RaySamples
from polyfield.kernels.shapes import bank_of, biases_of, lattice, layers_of, lies_plain, shape, text
from polyfield.kernels.tree import LEAF, Tree

MOST_NEIGHBOURS = 16


def interpolate(table: Tensor, points: Tensor, levels: Levels) -> None:
    bank = bank_of("interpolate: table", table, "(E, F)")
    shape("interpolate: table", table, (*bank, levels.entries, None))
    shape("interpolate: points", points, (*bank, None, levels.dimensions))
    if levels.entries * table.shape[-1] >= 1 << 32:
        raise PolyfieldError(f"interpolate: table has {table.numel():,} numbers; expected fewer than 2^32")


def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None,
    modulation: Tensor | None,
    normed: bool,
) -> None:
    bank = bank_of("mlp: x", x, "(N, I)")
    layers_of("mlp: weights", weights, bank, x.shape[-1])
    if biases is not None:
        biases_of("mlp", weights, biases, bank)
    if modulation is None:
        if normed:
            raise PolyfieldError(
                "mlp: normed is set without modulation; give a modulation, which may be zero"
            )
        return
    shape("mlp: modulation", modulation, (*x.shape[:-1], len(weights) - 1, 2, None))
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
    bank = bank_of("march: origins", origins, "(R, 3)")
    shape("march: origins", origins, (*bank, None, 3))
    shape("march: directions", directions, origins.shape)
    for name, tensor in (("near", near), ("far", far), ("jitter", jitter)):
        shape(f"march: {name}", tensor, origins.shape[:-1])
    lattice("march", bank, occupancy, step, cone)


def samples(operation: str, samples: RaySamples, density: Tensor, colour: Tensor | None = None) -> None:
    count = len(samples)
    shape(f"{operation}: density", density, (count,))
    if colour is not None:
        shape(f"{operation}: colour", colour, (count, 3))
    for name in ("dt", "ray"):
        shape(f"{operation}: samples.{name}", getattr(samples, name), (count,))
    shape(f"{operation}: samples.offsets", samples.offsets, samples.counts.shape)
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
        shape(f"adam: {name}", tensor, parameter.shape)
    if half is not None:
        lies_plain("adam: half", half, parameter.shape, torch.float16)
    if step < 1:
        raise PolyfieldError(f"adam: step is {step}; expected 1 or more")


def muon(parameter: Tensor, gradient: Tensor, mean: Tensor) -> None:
    bank_of("muon: parameter", parameter, "(O, I)")
    *_, rows, columns = parameter.shape
    if not rows * columns or -(-rows // 16) * -(-columns // 16) >= 1 << 23:
        raise PolyfieldError(
            f"muon: parameter has shape {text(parameter)}; expected at least one row and one column, and fewer than 2^31 numbers"
        )
    for name, tensor in (("gradient", gradient), ("mean", mean)):
        shape(f"muon: {name}", tensor, parameter.shape)


def gather(parts: Sequence[Tensor], index: Tensor) -> None:
    shape("gather: index", index, (None,))
    if index.dtype != torch.int64:
        raise PolyfieldError(f"gather: index has dtype {index.dtype}; expected torch.int64")
    for place, part in enumerate(parts):
        shape(f"gather: parts[{place}]", part, (None, *parts[0].shape[1:]))
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
    shape("nearest: points", points, (None, axes))
    leaves = len(tree.leaves)
    shape("nearest: tree.leaves", tree.leaves, (leaves, axes, LEAF))
    shape("nearest: tree.boxes", tree.boxes, (-(-leaves // 4), 2, axes, 8))
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
    shape("rbf: points", points, (None, None))
    axes, count = points.shape[1], len(weights)
    shape("rbf: weights", weights, (None, None))
    shape("rbf: neighbours", neighbours, (len(points), None))
    shape("rbf: centres", centres, (count, axes))
    shape("rbf: shapes", shapes, (count, shapes.shape[-1]))
    if shapes.shape[-1] not in (1, axes * (axes + 1) // 2) or not 1 <= axes <= 4:
        raise PolyfieldError(
            f"rbf: shapes has shape {text(shapes)} for points with D = {axes} axes; expected 1 or D (D + 1) / 2 numbers "
            "for each kernel, and D from 1 to 4"
        )
    if multipliers is not None:
        shape("rbf: multipliers", multipliers, (weights.shape[1],))
    if neighbours.dtype != torch.int32 or not 1 <= neighbours.shape[1] <= MOST_NEIGHBOURS:
        raise PolyfieldError(
            f"rbf: neighbours has shape {text(neighbours)} and dtype {neighbours.dtype}; expected shape (N, K), K from 1 to "
            f"{MOST_NEIGHBOURS}, and dtype torch.int32"
        )
    if neighbours.device.type == "cpu" and neighbours.numel():
        low, high = (int(value) for value in neighbours.aminmax())
        if low < 0 or high >= count:
            raise PolyfieldError(f"rbf: neighbours go from {low} to {high}; expected 0 to {count - 1}")
