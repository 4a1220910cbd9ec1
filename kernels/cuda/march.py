"""Marching, with a lane for each ray.

One pass counts the samples, and a second writes them at the counts' sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels.cuda.launch import launch
from polyfield.kernels.samples import RaySamples

_BLOCK = 32  # rays: a warp, which needs no barrier


@triton.jit
def _distance(u, step, cone):
    """Return the distance at u steps along a ray, as in `operations.march`."""
    bent = step / tl.where(cone > 0, cone, 1.0) * tl.exp(tl.maximum(cone * u - 1, 0.0))
    return tl.where(u * cone < 1, u * step, bent)


@triton.jit
def _steps(at, step, cone):
    """Return the inverse of `_distance`."""
    bent = (tl.log(tl.maximum(at * cone / step, 1.0)) + 1) / tl.where(cone > 0, cone, 1.0)
    return tl.where(at * cone < step, at / step, bent)


@triton.jit
def _inverse(slope):
    """Return 1 / slope. A ray along a face never crosses it; a tiny slope gives a crossing far away."""
    return 1 / tl.where(tl.abs(slope) < 1e-12, 1e-12, slope)


@triton.jit
def _cell(p, size, CELLS: tl.constexpr):
    """Return the cell that holds p, along an axis of a cascade that reaches to `size`."""
    cell = (p / size * (CELLS / 2) + CELLS / 2).to(tl.int32)
    return tl.minimum(tl.maximum(cell, 0), CELLS - 1)


@triton.jit
def _exit(cell, size, origin, inverse, CELLS: tl.constexpr):
    """Return the distance at which a ray leaves a cell along an axis."""
    face = (cell + (inverse > 0).to(tl.int32)).to(tl.float32)
    return (face * (2 * size / CELLS) - size - origin) * inverse


@triton.jit(do_not_specialize=["rays", "capacity"])
def march_kernel(
    origins,
    directions,
    near,
    far,
    jitter,
    occupancy,
    counts,
    offsets,
    t,
    dt,
    of_ray,
    rays,
    capacity,
    step,
    cone,
    CASCADES: tl.constexpr,
    CELLS: tl.constexpr,
    WRITES: tl.constexpr,  # whether samples are written, or only counted
    NAMES: tl.constexpr,  # whether the ray of each sample is written too
    BLOCK: tl.constexpr,
):
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = ray < rays
    ox = tl.load(origins + ray * 3, mask=there, other=0.0)
    oy = tl.load(origins + ray * 3 + 1, mask=there, other=0.0)
    oz = tl.load(origins + ray * 3 + 2, mask=there, other=0.0)
    dx = tl.load(directions + ray * 3, mask=there, other=1.0)
    dy = tl.load(directions + ray * 3 + 1, mask=there, other=1.0)
    dz = tl.load(directions + ray * 3 + 2, mask=there, other=1.0)
    ix, iy, iz = _inverse(dx), _inverse(dy), _inverse(dz)
    shift = tl.load(jitter + ray, mask=there, other=0.0)
    first = tl.ceil(_steps(tl.load(near + ray, mask=there, other=0.0), step, cone) - shift)
    last = tl.ceil(_steps(tl.load(far + ray, mask=there, other=0.0), step, cone) - (first + shift))
    index = first.to(tl.int32)
    end = index + tl.maximum(last, 0.0).to(tl.int32)
    count = tl.zeros((BLOCK,), tl.int64)
    to = tl.load(offsets + ray, mask=there, other=0) if WRITES else count
    if WRITES:  # rays whose samples exceed the capacity have none
        there = there & (to + tl.load(counts + ray, mask=there, other=0) <= capacity)
    going = there & (index < end)
    while tl.max(going.to(tl.int32)) > 0:
        u = index.to(tl.float32) + shift
        at = _distance(u, step, cone)
        x, y, z = ox + at * dx, oy + at * dy, oz + at * dz
        reach = tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z))
        cascade = tl.zeros((BLOCK,), tl.int32)
        size = tl.full((BLOCK,), 1.0, tl.float32)
        for k in tl.static_range(CASCADES - 1):
            further = reach > 2.0**k
            cascade += further.to(tl.int32)
            size = tl.where(further, 2.0 ** (k + 1), size)
        inside = reach <= 2.0 ** (CASCADES - 1)
        i, j, k = _cell(x, size, CELLS), _cell(y, size, CELLS), _cell(z, size, CELLS)
        place = ((cascade * CELLS + k) * CELLS + j) * CELLS + i
        hit = going & (tl.load(occupancy + place, mask=going & inside, other=0) != 0)
        if WRITES:
            tl.store(t + to + count, at, mask=hit)
            tl.store(
                dt + to + count, _distance(u + 0.5, step, cone) - _distance(u - 0.5, step, cone), mask=hit
            )
            if NAMES:
                tl.store(of_ray + to + count, ray, mask=hit)
        count += hit.to(tl.int64)
        leave = tl.minimum(_exit(i, size, ox, ix, CELLS), _exit(j, size, oy, iy, CELLS))
        leave = tl.maximum(tl.minimum(leave, _exit(k, size, oz, iz, CELLS)), at)
        # Rounding may leave the first sample beyond the cell just inside it.
        beyond = tl.ceil(_steps(leave, step, cone) * (1 - 1e-6) - shift - 1e-3)
        beyond = tl.minimum(beyond, end.to(tl.float32)).to(tl.int32)
        # A cell of an odd grid may reach into the next finer cascade.
        skips = inside & (hit == 0)
        if CELLS % 4 != 0:
            skips = skips & (cascade == 0)
        index = tl.maximum(index + 1, tl.where(skips, beyond, 0))
        going = there & (index < end)
    if WRITES == 0:
        tl.store(counts + ray, count, mask=there)


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
) -> RaySamples:
    given = (origins, directions, near, far, jitter, occupancy)
    banks = zip(*given) if origins.dim() == 3 else [given]
    return RaySamples.join(_march_one(*bank, step=step, cone=cone) for bank in banks)


def _march_one(*given: Tensor, step: float, cone: float) -> tuple[Tensor, Tensor, Tensor]:
    *rays, occupied = (tensor.detach().contiguous() for tensor in given)
    count, occupancy = len(rays[0]), occupied.view(torch.uint8)
    counts = torch.empty(count, dtype=torch.int64, device=rays[0].device)

    def walk(offsets: Tensor, t: Tensor, dt: Tensor, writes: bool) -> None:
        launch_march(rays, occupancy, counts, offsets, t, dt, None, step=step, cone=cone, writes=writes)

    walk(counts, rays[0], rays[0], False)
    t, dt = torch.empty(2, int(counts.sum()), device=counts.device)
    walk(counts.cumsum(0) - counts, t, dt, True)
    return t, dt, counts


def launch_march(
    rays: Sequence[Tensor],
    occupancy: Tensor,
    counts: Tensor,
    offsets: Tensor,
    t: Tensor,
    dt: Tensor,
    of_ray: Tensor | None,
    *,
    step: float,
    cone: float,
    writes: bool,
) -> None:
    """Count the samples of rays (R,), or write them from offsets (R,), in the order of `operations.march`."""
    launch(
        march_kernel,
        len(counts),
        _BLOCK,
        *rays,
        occupancy,
        counts,
        offsets,
        t,
        dt,
        counts if of_ray is None else of_ray,
        len(counts),
        len(t),
        step,
        cone,
        CASCADES=occupancy.shape[0],
        CELLS=occupancy.shape[-1],
        WRITES=writes,
        NAMES=of_ray is not None,
        enable_fp_fusion=False,  # the second pass must find exactly the samples of the first
    )
