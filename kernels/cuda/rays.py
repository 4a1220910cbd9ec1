"""World rays -> rays in the domain's local frame, and the distances at which they cross its cube."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _along(frame, row, x, y, z):
    """Return one local coordinate of a vector. frame holds the centre (3,) and then the axes (3, 3)."""
    axis = frame + 3 + row * 3
    return tl.load(axis) * x + tl.load(axis + 1) * y + tl.load(axis + 2) * z


@triton.jit
def _cut(origin, slope, reach, near, far):
    """Return the part of a ray's span in which one coordinate is between -reach and reach."""
    inverse = 1 / tl.where(tl.abs(slope) < 1e-12, 1e-12, slope)
    a, b = (-reach - origin) * inverse, (reach - origin) * inverse
    return tl.maximum(near, tl.minimum(a, b)), tl.minimum(far, tl.maximum(a, b))


@triton.jit(do_not_specialize=["rays"])
def rays_kernel(
    origins,
    directions,
    frame,
    live,
    from_,
    towards,
    near,
    far,
    harmonics,
    rays,
    least,
    reach,
    BLOCK: tl.constexpr,
):
    """Write local origins and directions (R, 3), spans (R,), and spherical harmonics (R, 16).

    The harmonics are the 16 real ones of world directions. A span is where a ray is in [-reach, reach]^3 and
    not nearer than `least`. The spans of rays from `live` on are empty.
    """
    ray = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = ray < rays
    x = tl.load(origins + ray * 3, mask=inside, other=0.0) - tl.load(frame)
    y = tl.load(origins + ray * 3 + 1, mask=inside, other=0.0) - tl.load(frame + 1)
    z = tl.load(origins + ray * 3 + 2, mask=inside, other=0.0) - tl.load(frame + 2)
    dx = tl.load(directions + ray * 3, mask=inside, other=0.0)
    dy = tl.load(directions + ray * 3 + 1, mask=inside, other=0.0)
    dz = tl.load(directions + ray * 3 + 2, mask=inside, other=0.0)
    start, end = tl.full((BLOCK,), least, tl.float32), tl.full((BLOCK,), 1e30, tl.float32)
    for d in tl.static_range(3):
        origin, slope = _along(frame, d, x, y, z), _along(frame, d, dx, dy, dz)
        start, end = _cut(origin, slope, reach, start, end)
        tl.store(from_ + ray * 3 + d, origin, mask=inside)
        tl.store(towards + ray * 3 + d, slope, mask=inside)
    there = ray < tl.load(live)
    tl.store(near + ray, start, mask=inside)
    tl.store(far + ray, tl.where(there & (end > start), end, start), mask=inside)
    # In order of l and then of m = -l..l, orthonormal, without the Condon-Shortley phase.
    to = harmonics + ray * 16
    xx, yy, zz = dx * dx, dy * dy, dz * dz
    tl.store(to, 0.28209479177387814 + 0 * dx, mask=inside)
    tl.store(to + 1, 0.4886025119029199 * dy, mask=inside)
    tl.store(to + 2, 0.4886025119029199 * dz, mask=inside)
    tl.store(to + 3, 0.4886025119029199 * dx, mask=inside)
    tl.store(to + 4, 1.0925484305920792 * dx * dy, mask=inside)
    tl.store(to + 5, 1.0925484305920792 * dy * dz, mask=inside)
    tl.store(to + 6, 0.31539156525252005 * (3 * zz - 1), mask=inside)
    tl.store(to + 7, 1.0925484305920792 * dx * dz, mask=inside)
    tl.store(to + 8, 0.5462742152960396 * (xx - yy), mask=inside)
    tl.store(to + 9, 0.5900435899266435 * dy * (3 * xx - yy), mask=inside)
    tl.store(to + 10, 2.890611442640554 * dx * dy * dz, mask=inside)
    tl.store(to + 11, 0.4570457994644658 * dy * (5 * zz - 1), mask=inside)
    tl.store(to + 12, 0.3731763325901154 * dz * (5 * zz - 3), mask=inside)
    tl.store(to + 13, 0.4570457994644658 * dx * (5 * zz - 1), mask=inside)
    tl.store(to + 14, 1.445305721320277 * dz * (xx - yy), mask=inside)
    tl.store(to + 15, 0.5900435899266435 * dx * (xx - 3 * yy), mask=inside)
