"""A radiance field at samples: densities, colours, and backward through both networks.

Samples are rows, and only the device knows their number. Programs take blocks of them in turn until all are
done. Codes are kept for backward. Hidden layers are computed again, because that costs less than to store and
load them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from polyfield.kernels.cuda.corners import encode
from polyfield.kernels.cuda.layers import backward, forward, network, no_gradients, store


@triton.jit
def unit(p, reach, CONTRACTION: tl.constexpr):
    """Return the unit cube's coordinate of a local one.

    reach is the largest magnitude of the point's three local coordinates, and at least 1.
    """
    if CONTRACTION:
        return p * ((2 - 1 / reach) / reach / 4) + 0.5
    return p * 0.5 + 0.5


@triton.jit
def unit_points(origins, directions, ray, t, inside, CONTRACTION: tl.constexpr):
    """Return points (BLOCK,) at distances t on local rays, in the unit cube."""
    x = tl.load(origins + ray * 3, mask=inside, other=0.0)
    y = tl.load(origins + ray * 3 + 1, mask=inside, other=0.0)
    z = tl.load(origins + ray * 3 + 2, mask=inside, other=0.0)
    x += t * tl.load(directions + ray * 3, mask=inside, other=0.0)
    y += t * tl.load(directions + ray * 3 + 1, mask=inside, other=0.0)
    z += t * tl.load(directions + ray * 3 + 2, mask=inside, other=0.0)
    reach = tl.maximum(tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z)), 1.0)
    return unit(x, reach, CONTRACTION), unit(y, reach, CONTRACTION), unit(z, reach, CONTRACTION)


@triton.jit
def density_kernel(
    origins,
    directions,
    t,
    ray,
    total,
    table,
    levels,
    weights,
    codes,
    density,
    bad,
    low,
    high,
    per_length,
    RAYS: tl.constexpr,
    CONTRACTION: tl.constexpr,
    LEVELS: tl.constexpr,
    F: tl.constexpr,
    SIZES: tl.constexpr,
    STRIDES: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write codes (C, K) and densities (C,) of samples, by look-up and the density network.

    A raw density that is NaN is treated as the lowest value, and `bad` grows by one.
    """
    LAYERS: tl.constexpr = len(STRIDES)
    CODE: tl.constexpr = PADDED[0]
    kind = codes.dtype.element_ty
    layers = network(weights, SIZES, STRIDES, PADDED, kind)
    count, block = tl.load(total), tl.program_id(0)
    while block * BLOCK < count:
        i = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = i < count
        r, at = i, tl.zeros((BLOCK,), tl.float32)  # without rays, origins are the points
        if RAYS:
            r = tl.load(ray + i, mask=inside, other=0).to(tl.int64)
            at = tl.load(t + i, mask=inside, other=0.0)
        x, y, z = unit_points(origins, directions, r, at, inside, CONTRACTION)
        code = encode(x, y, z, inside, table, levels, LEVELS, CODE // F, F).to(kind)
        if RAYS:
            tl.store(codes + i[:, None] * CODE + tl.arange(0, CODE)[None, :], code, mask=inside[:, None])
        _, latent = forward(code, layers, LAYERS)
        raw = tl.sum(tl.where(tl.arange(0, PADDED[LAYERS])[None, :] == 0, latent, 0.0), 1)
        wrong = tl.sum((inside & (raw != raw)).to(tl.int32), 0)  # noqa: PLR0124 - NaN
        if wrong > 0:
            tl.atomic_add(bad, wrong)
        raw = tl.minimum(tl.maximum(raw, low), high)
        tl.store(density + i, tl.exp(raw) * per_length, mask=inside)
        block += tl.num_programs(0)


@triton.jit
def points_kernel(
    unit,
    total,
    table,
    levels,
    weights,
    codes,
    latent,
    LEVELS: tl.constexpr,
    F: tl.constexpr,
    SIZES: tl.constexpr,
    STRIDES: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write codes (C, K) and latent vectors (C, SIZES[-1]) of points (C, 3) of the unit cube."""
    LAYERS: tl.constexpr = len(STRIDES)
    CODE: tl.constexpr = PADDED[0]
    kind = codes.dtype.element_ty
    layers = network(weights, SIZES, STRIDES, PADDED, kind)
    count, block = tl.load(total), tl.program_id(0)
    while block * BLOCK < count:
        i = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = i < count
        x = tl.load(unit + i * 3, mask=inside, other=0.0)
        y = tl.load(unit + i * 3 + 1, mask=inside, other=0.0)
        z = tl.load(unit + i * 3 + 2, mask=inside, other=0.0)
        code = encode(x, y, z, inside, table, levels, LEVELS, CODE // F, F).to(kind)
        tl.store(codes + i[:, None] * CODE + tl.arange(0, CODE)[None, :], code, mask=inside[:, None])
        _, out = forward(code, layers, LAYERS)
        column = tl.arange(0, PADDED[LAYERS])[None, :]
        there = inside[:, None] & (column < SIZES[LAYERS])
        tl.store(latent + i[:, None] * SIZES[LAYERS] + column, out, mask=there)
        block += tl.num_programs(0)


@triton.jit
def rows_of_inputs(inputs, sample, k, inside, WIDTH: tl.constexpr, PICKS: tl.constexpr):
    """Return rows k (BLOCK,) of a network's inputs (C, WIDTH), or with PICKS the rows that `sample` has there."""
    i = k
    if PICKS:
        i = tl.load(sample + k, mask=inside, other=0).to(tl.int64)
    column = tl.arange(0, WIDTH)[None, :]
    return tl.load(inputs + i[:, None] * WIDTH + column, mask=inside[:, None], other=0.0)


@triton.jit
def latent_kernel(
    codes,
    sample,
    ray,
    total,
    weights,
    harmonics,
    inputs,
    SIZES: tl.constexpr,
    STRIDES: tl.constexpr,
    PADDED: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the colour network's inputs (C, WIDTH) of the kept samples: latent vector, harmonics of the ray, zeros."""
    LAYERS: tl.constexpr = len(STRIDES)
    LATENT: tl.constexpr = SIZES[LAYERS]
    kind = codes.dtype.element_ty
    layers = network(weights, SIZES, STRIDES, PADDED, kind)
    count, block = tl.load(total), tl.program_id(0)
    while block * BLOCK < count:
        k = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = k < count
        code = rows_of_inputs(codes, sample, k, inside, PADDED[0], True)
        _, latent = forward(code, layers, LAYERS)
        row, column = inputs + k[:, None] * WIDTH, tl.arange(0, PADDED[LAYERS])[None, :]
        tl.store(row + column, latent.to(kind), mask=inside[:, None] & (column < LATENT))
        r, column = tl.load(ray + k, mask=inside, other=0), tl.arange(0, WIDTH)[None, :]
        there = inside[:, None] & (column >= LATENT)
        seen = tl.load(
            harmonics + r[:, None] * 16 + column - LATENT, mask=there & (column < LATENT + 16), other=0.0
        )
        tl.store(row + column, seen, mask=there)
        block += tl.num_programs(0)


@triton.jit
def colour_kernel(
    inputs,
    total,
    weights,
    colour,
    SIZES: tl.constexpr,
    STRIDES: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write colours (C, 3) of the kept samples, by the colour network."""
    LAYERS: tl.constexpr = len(STRIDES)
    layers = network(weights, SIZES, STRIDES, PADDED, inputs.dtype.element_ty)
    count, block = tl.load(total), tl.program_id(0)
    while block * BLOCK < count:
        k = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = k < count
        _, rgb = forward(rows_of_inputs(inputs, inputs, k, inside, PADDED[0], False), layers, LAYERS)
        column = tl.arange(0, PADDED[LAYERS])[None, :]
        tl.store(colour + k[:, None] * 3 + column, tl.sigmoid(rgb), mask=inside[:, None] & (column < 3))
        block += tl.num_programs(0)


@triton.jit
def backward_kernel(
    inputs,
    sample,
    total,
    weights,
    to_outputs,
    to_raw,
    to_inputs,
    parts,
    size,
    OUTPUTS: tl.constexpr,
    PICKS: tl.constexpr,
    SIZES: tl.constexpr,
    STRIDES: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write gradients to a network's inputs (C, K), and each program's part of the gradients to its weights.

    The first SIZES[-1] numbers of rows of OUTPUTS numbers are the gradient to the outputs. With PICKS, `sample` has the
    inputs' rows, and to_raw (C,) is added to the gradient to the first output. A program's part is a row of parts
    (P, size), in the order in which weights are stored. Its last number is not finite if a gradient to an input is not.
    """
    LAYERS: tl.constexpr = len(STRIDES)
    WIDTH: tl.constexpr = PADDED[0]
    kind = inputs.dtype.element_ty
    sums = no_gradients(PADDED)
    worst = tl.zeros((BLOCK,), tl.float32)
    count, block = tl.load(total), tl.program_id(0)
    while block * BLOCK < count:
        k = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = k < count
        # Read again for every block: kept over all of them they would fill the registers.
        layers = network(weights, SIZES, STRIDES, PADDED, kind)
        x = rows_of_inputs(inputs, sample, k, inside, WIDTH, PICKS)
        values, _ = forward(x, layers, LAYERS)
        column = tl.arange(0, PADDED[LAYERS])[None, :]
        there = inside[:, None] & (column < SIZES[LAYERS])
        g = tl.load(to_outputs + k[:, None] * OUTPUTS + column, mask=there, other=0.0).to(tl.float32)
        if PICKS:
            g += tl.where(column == 0, tl.load(to_raw + k, mask=inside, other=0.0)[:, None], 0.0)
        to_x, sums = backward(g.to(kind), values, layers, sums, LAYERS)
        to_x = to_x.to(kind)
        worst += tl.sum(to_x.to(tl.float32) * 0, 1)
        tl.store(to_inputs + k[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :], to_x, mask=inside[:, None])
        block += tl.num_programs(0)
    part = parts + tl.program_id(0).to(tl.int64) * size
    tl.store(part + size - 1, tl.sum(worst, 0))
    store(part, sums, SIZES, STRIDES, PADDED)
