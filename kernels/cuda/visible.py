"""Passes along rays between a field's kernels: samples are selected, summed and compared.

A lane for each ray visits its samples front to back.
"""

from __future__ import annotations

import triton
import triton.language as tl

from polyfield.kernels.cuda.field import unit_points


@triton.jit
def _lane(ends, counts, live, BLOCK: tl.constexpr):
    """Return a block's rays, the mask of live ones, their first samples, and their numbers of samples."""
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = ray < tl.load(live)
    count = tl.load(counts + ray, mask=there, other=0)
    return ray, there, tl.load(ends + ray, mask=there, other=0) - count, count


@triton.jit
def lit_kernel(ends, counts, live, density, dt, bounds, kept, deepest, share, BLOCK: tl.constexpr):
    """Write each ray's bound on weights, and how many samples weigh more.

    The bound is `share` times the mean weight of the samples that light reaches.
    """
    ray, there, first, count = _lane(ends, counts, live, BLOCK)
    depth = tl.zeros((BLOCK,), tl.float32)
    sums, lit = tl.zeros_like(depth), tl.zeros_like(depth)
    k, most = 0, tl.max(count)
    while k < most:
        here = (k < count) & (depth < deepest)
        length = tl.load(density + first + k, mask=here, other=0.0) * tl.load(
            dt + first + k, mask=here, other=0.0
        )
        sums += tl.where(here, tl.exp(-depth) * (1 - tl.exp(-length)), 0.0)
        lit += here.to(tl.float32)
        depth += length
        k += 1
    bound = share * sums / tl.maximum(lit, 1.0)
    tl.store(bounds + ray, bound, mask=there)
    depth = tl.zeros((BLOCK,), tl.float32)
    many = tl.zeros((BLOCK,), tl.int64)
    k = 0
    while k < most:
        here = (k < count) & (depth < deepest)
        length = tl.load(density + first + k, mask=here, other=0.0) * tl.load(
            dt + first + k, mask=here, other=0.0
        )
        many += (here & (tl.exp(-depth) * (1 - tl.exp(-length)) > bound)).to(tl.int64)
        depth += length
        k += 1
    tl.store(kept + ray, many, mask=there)


@triton.jit(do_not_specialize=["capacity"])
def keep_kernel(
    ends,
    counts,
    live,
    density,
    dt,
    t,
    origins,
    directions,
    bounds,
    kept_ends,
    kept,
    sample,
    of_ray,
    weights,
    behind,
    slopes,
    at,
    points,
    capacity,
    deepest,
    CONTRACTION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the kept samples, packed.

    For each: its index, its ray, its weight, the transmittance behind it, density times dt, its distance, and
    its point in the unit cube.
    """
    ray, there, first, count = _lane(ends, counts, live, BLOCK)
    bound = tl.load(bounds + ray, mask=there, other=0.0)
    to = tl.load(kept_ends + ray, mask=there, other=0)
    count = tl.where(to <= capacity, count, 0)  # rays beyond the capacity have none
    to -= tl.load(kept + ray, mask=there, other=0)
    depth = tl.zeros((BLOCK,), tl.float32)
    k, most = 0, tl.max(count)
    while k < most:
        here = (k < count) & (depth < deepest)
        i = first + k
        length = tl.load(density + i, mask=here, other=0.0) * tl.load(dt + i, mask=here, other=0.0)
        weight = tl.exp(-depth) * (1 - tl.exp(-length))
        depth += length
        here = here & (weight > bound)
        distance = tl.load(t + i, mask=here, other=0.0)
        tl.store(sample + to, i.to(tl.int32), mask=here)
        tl.store(of_ray + to, ray, mask=here)
        tl.store(weights + to, weight, mask=here)
        tl.store(behind + to, tl.exp(-depth), mask=here)
        tl.store(slopes + to, length, mask=here)
        tl.store(at + to, distance, mask=here)
        x, y, z = unit_points(origins, directions, ray, distance, here, CONTRACTION)
        tl.store(points + to * 3, x, mask=here)
        tl.store(points + to * 3 + 1, y, mask=here)
        tl.store(points + to * 3 + 2, z, mask=here)
        to += here.to(tl.int64)
        k += 1


@triton.jit
def _sums(first, count, weights, at, colour, BLOCK: tl.constexpr):
    """Return the sums over a ray's kept samples: colour, opacity, and weight times distance."""
    red, green, blue = (
        tl.zeros((BLOCK,), tl.float32),
        tl.zeros((BLOCK,), tl.float32),
        tl.zeros((BLOCK,), tl.float32),
    )
    opacity, distance = tl.zeros_like(red), tl.zeros_like(red)
    k, most = 0, tl.max(count)
    while k < most:
        here, i = k < count, first + k
        weight = tl.load(weights + i, mask=here, other=0.0)
        red += weight * tl.load(colour + i * 3, mask=here, other=0.0)
        green += weight * tl.load(colour + i * 3 + 1, mask=here, other=0.0)
        blue += weight * tl.load(colour + i * 3 + 2, mask=here, other=0.0)
        opacity += weight
        distance += weight * tl.load(at + i, mask=here, other=0.0)
        k += 1
    return red, green, blue, opacity, distance


@triton.jit
def picture_kernel(ends, counts, live, weights, at, colour, seen, opacity, depth, BLOCK: tl.constexpr):
    """Write colour (R, 3) without background, opacity (R,), and sum of weight times distance (R,)."""
    ray, there, first, count = _lane(ends, counts, live, BLOCK)
    red, green, blue, solid, distance = _sums(first, count, weights, at, colour, BLOCK)
    tl.store(seen + ray * 3, red, mask=there)
    tl.store(seen + ray * 3 + 1, green, mask=there)
    tl.store(seen + ray * 3 + 2, blue, mask=there)
    tl.store(opacity + ray, solid, mask=there)
    tl.store(depth + ray, distance, mask=there)


@triton.jit
def _channel(c, found, opacity, target, background, ray, there, huber):
    """Return one channel's Huber loss and squared error, the gradient to the colour, and the background."""
    behind = tl.load(background + ray * 3 + c, mask=there, other=0.0)
    alpha = tl.load(target + ray * 4 + 3, mask=there, other=0.0)
    error = found - tl.load(target + ray * 4 + c, mask=there, other=0.0) + (alpha - opacity) * behind
    size = tl.abs(error)
    loss = tl.where(size <= huber, 0.5 * error * error, huber * (size - 0.5 * huber))
    return loss, error * error, tl.minimum(tl.maximum(error, -huber), huber), behind


@triton.jit(do_not_specialize=["rays"])
def compare_kernel(
    ends,
    counts,
    live,
    weights,
    at,
    colour,
    behind,
    slopes,
    target,
    background,
    losses,
    errors,
    to_colour,
    to_raw,
    rays,
    huber,
    BLOCK: tl.constexpr,
):
    """Write rays' losses and errors, and gradients.

    A ray's loss is the sum of the channels' Huber losses. Its error is the mean of the channels' squared
    errors. Both are 0 for rays that are not live. Gradients are of the sum of all losses to the samples'
    colours, before their sigmoid, and to raw densities.

    With v_i = g . (colour_i - background), g the gradient to the ray's colour:
    dL/draw_i = density_i dt_i (T_{i+1} v_i - sum_{j > i} w_j v_j).
    """
    ray, there, first, count = _lane(ends, counts, live, BLOCK)
    red, green, blue, opacity, _ = _sums(first, count, weights, at, colour, BLOCK)
    r_loss, r_error, r_g, r_behind = _channel(0, red, opacity, target, background, ray, there, huber)
    g_loss, g_error, g_g, g_behind = _channel(1, green, opacity, target, background, ray, there, huber)
    b_loss, b_error, b_g, b_behind = _channel(2, blue, opacity, target, background, ray, there, huber)
    tl.store(losses + ray, tl.where(there, r_loss + g_loss + b_loss, 0.0), mask=ray < rays)
    tl.store(errors + ray, tl.where(there, (r_error + g_error + b_error) / 3, 0.0), mask=ray < rays)
    # The part behind, from back to front, so that it is a sum, not a difference.
    hidden = tl.zeros((BLOCK,), tl.float32)
    k, most = 0, tl.max(count)
    while k < most:
        here, i = k < count, first + (count - 1 - k)
        weight = tl.load(weights + i, mask=here, other=0.0)
        r = tl.load(colour + i * 3, mask=here, other=0.0)
        g = tl.load(colour + i * 3 + 1, mask=here, other=0.0)
        b = tl.load(colour + i * 3 + 2, mask=here, other=0.0)
        tl.store(to_colour + i * 3, weight * r_g * r * (1 - r), mask=here)
        tl.store(to_colour + i * 3 + 1, weight * g_g * g * (1 - g), mask=here)
        tl.store(to_colour + i * 3 + 2, weight * b_g * b * (1 - b), mask=here)
        value = r_g * (r - r_behind) + g_g * (g - g_behind) + b_g * (b - b_behind)
        passed = tl.load(behind + i, mask=here, other=0.0) * value
        tl.store(to_raw + i, tl.load(slopes + i, mask=here, other=0.0) * (passed - hidden), mask=here)
        hidden += weight * value
        k += 1
