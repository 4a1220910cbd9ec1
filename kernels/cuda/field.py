"""A radiance field at samples: densities, colours, and backward through both networks.

Samples are rows, and only the device knows their number. Programs take blocks of them in turn until all are
done. Codes are kept for backward. Hidden layers are computed again, because that costs less than to store and
load them.
"""

from __future__ import annotations

import triton
import triton.language as tl

from polyfield.kernels.cuda.corners import encode
from polyfield.kernels.cuda.layers import (
    backward,
    forward,
    matrix,
    network,
    no_gradients,
    product,
    store,
    store_matrix,
    zeros,
)


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
    """Write codes (C, K) and densities (C,) of samples, by look-up and the density network."""
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
        _, latent = forward(code, layers, 0.0, LAYERS)
        raw = tl.sum(tl.where(tl.arange(0, PADDED[LAYERS])[None, :] == 0, latent, 0.0), 1)
        raw = tl.minimum(tl.maximum(raw, low), high)
        tl.store(density + i, tl.exp(raw) * per_length, mask=inside)
        block += tl.num_programs(0)


@triton.jit
def both_networks(
    weights,
    kind,
    SIZES: tl.constexpr,
    STRIDES: tl.constexpr,
    PADDED: tl.constexpr,
    C_SIZES: tl.constexpr,
    C_STRIDES: tl.constexpr,
    C_PADDED: tl.constexpr,
):
    """Return the density network, the colour network of the latent vector, and the harmonics' first layer."""
    colour = weights
    for l in tl.static_range(len(STRIDES)):
        colour += SIZES[l + 1] * STRIDES[l]
    return (
        network(weights, SIZES, STRIDES, PADDED, kind),
        network(colour, C_SIZES, C_STRIDES, C_PADDED, kind),
        matrix(colour + C_SIZES[0], C_STRIDES[0], C_SIZES[1], 16, C_PADDED[1], 16, kind),
    )


@triton.jit
def through(code, seen, density, colour, harmonic, LAYERS: tl.constexpr, C_LAYERS: tl.constexpr):
    """Return both networks' layer inputs, and colours before their sigmoid, from codes and harmonics."""
    inputs, latent = forward(code, density, 0.0, LAYERS)
    start = product(seen, tl.trans(harmonic))
    c_inputs, rgb = forward(latent.to(code.dtype), colour, start, C_LAYERS)
    return inputs, c_inputs, rgb


@triton.jit
def inputs_of(codes, harmonics, sample, ray, k, inside, CODE: tl.constexpr):
    """Return codes and harmonics of kept samples k (BLOCK,)."""
    i = tl.load(sample + k, mask=inside, other=0).to(tl.int64)
    r = tl.load(ray + k, mask=inside, other=0)
    code = tl.load(codes + i[:, None] * CODE + tl.arange(0, CODE)[None, :], mask=inside[:, None], other=0.0)
    seen = tl.load(harmonics + r[:, None] * 16 + tl.arange(0, 16)[None, :], mask=inside[:, None], other=0.0)
    return code, seen


@triton.jit
def colour_kernel(
    codes,
    harmonics,
    sample,
    ray,
    total,
    weights,
    colour,
    SIZES: tl.constexpr,
    STRIDES: tl.constexpr,
    PADDED: tl.constexpr,
    C_SIZES: tl.constexpr,
    C_STRIDES: tl.constexpr,
    C_PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write colours (C, 3) of the kept samples."""
    LAYERS: tl.constexpr = len(STRIDES)
    C_LAYERS: tl.constexpr = len(C_STRIDES)
    layers, c_layers, harmonic = both_networks(
        weights, codes.dtype.element_ty, SIZES, STRIDES, PADDED, C_SIZES, C_STRIDES, C_PADDED
    )
    count, block = tl.load(total), tl.program_id(0)
    while block * BLOCK < count:
        k = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = k < count
        code, seen = inputs_of(codes, harmonics, sample, ray, k, inside, PADDED[0])
        _, _, rgb = through(code, seen, layers, c_layers, harmonic, LAYERS, C_LAYERS)
        column = tl.arange(0, C_PADDED[C_LAYERS])[None, :]
        tl.store(colour + k[:, None] * 3 + column, tl.sigmoid(rgb), mask=inside[:, None] & (column < 3))
        block += tl.num_programs(0)


@triton.jit
def backward_kernel(
    codes,
    harmonics,
    sample,
    ray,
    total,
    weights,
    to_colour,
    to_raw,
    to_codes,
    parts,
    size,
    SIZES: tl.constexpr,
    STRIDES: tl.constexpr,
    PADDED: tl.constexpr,
    C_SIZES: tl.constexpr,
    C_STRIDES: tl.constexpr,
    C_PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write gradients to codes (C, K), and each program's part of the gradients to the weights.

    The inputs are gradients to colours (C, 3), before their sigmoid, and to raw densities (C,). A program's
    part is a row of parts (P, size), in the order in which weights are stored. The last number of a row is
    not finite if a gradient to a code is not.
    """
    LAYERS: tl.constexpr = len(STRIDES)
    C_LAYERS: tl.constexpr = len(C_STRIDES)
    CODE: tl.constexpr = PADDED[0]
    kind = codes.dtype.element_ty
    layers, c_layers, harmonic = both_networks(
        weights, kind, SIZES, STRIDES, PADDED, C_SIZES, C_STRIDES, C_PADDED
    )
    sums, c_sums = no_gradients(PADDED), no_gradients(C_PADDED)
    harmonic_sums = zeros(C_PADDED[1], 16)
    worst = tl.zeros((BLOCK,), tl.float32)
    count, block = tl.load(total), tl.program_id(0)
    while block * BLOCK < count:
        k = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = k < count
        code, seen = inputs_of(codes, harmonics, sample, ray, k, inside, CODE)
        inputs, c_inputs, _ = through(code, seen, layers, c_layers, harmonic, LAYERS, C_LAYERS)
        column = tl.arange(0, C_PADDED[C_LAYERS])[None, :]
        g = tl.load(to_colour + k[:, None] * 3 + column, mask=inside[:, None] & (column < 3), other=0.0)
        to_latent, to_first, c_sums = backward(g.to(kind), c_inputs, c_layers, c_sums, C_LAYERS)
        harmonic_sums += product(tl.trans(to_first), seen)
        raw = tl.load(to_raw + k, mask=inside, other=0.0)
        to_latent += tl.where(tl.arange(0, PADDED[LAYERS])[None, :] == 0, raw[:, None], 0.0)
        to_code, _, sums = backward(to_latent.to(kind), inputs, layers, sums, LAYERS)
        to_code = to_code.to(kind)
        worst += tl.sum(to_code.to(tl.float32) * 0, 1)
        tl.store(to_codes + k[:, None] * CODE + tl.arange(0, CODE)[None, :], to_code, mask=inside[:, None])
        block += tl.num_programs(0)
    part = parts + tl.program_id(0).to(tl.int64) * size
    tl.store(part + size - 1, tl.sum(worst, 0))
    store(part, sums, SIZES, STRIDES, PADDED)
    for l in tl.static_range(LAYERS):
        part += SIZES[l + 1] * STRIDES[l]
    store(part, c_sums, C_SIZES, C_STRIDES, C_PADDED)
    store_matrix(part + C_SIZES[0], harmonic_sums, C_STRIDES[0], C_SIZES[1], 16, C_PADDED[1], 16)
