"""A radiance field's passes over packed samples: march all, keep some, and go backward through these."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.kernels.cuda.corners import geometry
from polyfield.kernels.cuda.field import backward_kernel, colour_kernel, density_kernel
from polyfield.kernels.cuda.launch import launch, processors
from polyfield.kernels.cuda.layers import padded, rows_of, size_of
from polyfield.kernels.cuda.march import launch_march
from polyfield.kernels.cuda.packing import Kept, Marched, packed
from polyfield.kernels.cuda.rays import rays_kernel
from polyfield.kernels.cuda.visible import keep_kernel, lit_kernel
from polyfield.kernels.levels import Levels

_HARMONICS = 16
RAYS = 64  # in a block
_PROGRAMS = 4  # programs per multiprocessor; they take blocks in turn
_WARPS = 8
_PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def precision() -> torch.dtype:
    """Return the type in which networks multiply and the table is read, by default half.

    POLYFIELD_PRECISION sets it.
    """
    name = os.environ.get("POLYFIELD_PRECISION", "float16")
    if name not in _PRECISIONS:
        raise PolyfieldError(f"POLYFIELD_PRECISION={name}: expected one of {', '.join(_PRECISIONS)}")
    return _PRECISIONS[name]


class FieldPasses:
    """The tensors of a field, and the launches of the kernels. Every pass reads the tensors again."""

    def __init__(
        self,
        table: Tensor,
        levels: Levels,
        density: Sequence[Tensor],
        colour: Sequence[Tensor],
        *,
        degree: int,
        centre: Sequence[float],
        axes: Sequence[Sequence[float]],
        contraction: bool,
        low: float,
        high: float,
        per_length: float,
        least_transmittance: float,
        least_share: float,
    ) -> None:
        self.table, self.levels = table.detach(), levels
        self._density = [weight.detach() for weight in density]
        self._colour = [weight.detach() for weight in colour]
        self.kind = precision()
        self.half = self.table if self.kind == torch.float32 else self.table.to(self.kind)
        features, latent = table.shape[1], len(density[-1])
        code = max(triton.next_power_of_2(levels.count) * features, 16)
        sizes = (levels.count * features, *(len(weight) for weight in density))
        c_sizes = (latent, *(len(weight) for weight in colour))
        self._networks: dict[str, Any] = {
            "SIZES": sizes,
            "STRIDES": sizes[:-1],
            "PADDED": (code, *map(padded, sizes[1:])),
            "C_SIZES": c_sizes,
            "C_STRIDES": (latent + _HARMONICS, *c_sizes[1:-1]),
            "C_PADDED": tuple(map(padded, c_sizes)),
        }
        self._code = code
        self._geometry = geometry(levels, table.device)  # kept because captured graphs read it
        self._rows = rows_of(self.kind, size_of(self.weights))
        self._frame = table.new_tensor([*centre, *(number for axis in axes for number in axis)])
        self._contraction, self._limits = contraction, (low, high, per_length)
        self._deepest, self._share = -float(torch.tensor(least_transmittance).log()), least_share
        # Length of a backward program's row: all weights, and one number that shows whether all is finite.
        self._size = sum(weight.numel() for weight in self.weights) + 1

    @property
    def weights(self) -> list[Tensor]:
        return [*self._density, *self._colour]

    def march(
        self, rays: dict[str, Any], occupied: Tensor, weights: Tensor, live: Tensor, capacity: int | None
    ) -> Marched:
        """Return all samples, with codes and densities. `capacity` counts samples.

        If it is too small for all rays, some of the last rays are no longer live.
        """
        origins, directions = rays["origins"].contiguous(), rays["directions"].contiguous()
        occupancy, count = occupied.contiguous().view(torch.uint8), len(origins)
        local = torch.empty_like(origins), torch.empty_like(origins)
        near, far = torch.empty(2, count, device=origins.device)
        harmonics = origins.new_empty(count, _HARMONICS, dtype=self.kind)
        reach = 2.0 ** (len(occupied) - 1)
        launch(
            rays_kernel,
            count,
            RAYS,
            origins,
            directions,
            self._frame,
            live,
            *local,
            near,
            far,
            harmonics,
            count,
            rays["near"],
            reach,
        )
        spans = (*local, near, far, rays["jitter"].contiguous())
        counts = torch.empty(count, dtype=torch.int64, device=near.device)
        lattice = {"step": rays["step"], "cone": rays["cone"]}
        launch_march(spans, occupancy, counts, counts, near, near, None, **lattice, writes=False)
        ends, live, total, size = packed(counts, live, capacity)
        t, dt, density = torch.empty(3, size, device=near.device)
        of_ray = torch.empty(size, dtype=torch.int32, device=near.device)
        launch_march(spans, occupancy, counts, ends - counts, t, dt, of_ray, **lattice, writes=True)
        codes = t.new_empty(size, self._code, dtype=self.kind)
        self.densities(*local, t, of_ray, total, codes, density, weights=weights, on_rays=True)
        return Marched(local, harmonics, ends, counts, live, total, t, dt, codes, density)

    def densities(
        self,
        origins: Tensor,
        directions: Tensor,
        t: Tensor,
        ray: Tensor,
        total: Tensor,
        codes: Tensor,
        density: Tensor,
        *,
        on_rays: bool,
        weights: Tensor | None = None,
    ) -> None:
        if weights is None:
            weights = torch.cat([weight.flatten() for weight in self._density])
        launch(
            density_kernel,
            len(density),
            self._rows,
            origins.contiguous(),
            directions.contiguous(),
            t,
            ray,
            total,
            self.half,
            self._geometry,
            weights,
            codes,
            density,
            *self._limits,
            RAYS=on_rays,
            CONTRACTION=self._contraction,
            LEVELS=self.levels.count,
            F=self.table.shape[1],
            **{name: self._networks[name] for name in ("SIZES", "STRIDES", "PADDED")},
            programs=_PROGRAMS,
            num_warps=_WARPS,
        )

    def keep(self, marched: Marched, weights: Tensor, capacity: int | None) -> Kept:
        """Return the samples that light reaches and that are not faint, with colours.

        `capacity` is their capacity.
        """
        rays, device = len(marched.counts), marched.t.device
        bounds = torch.empty(rays, device=device)
        counts = torch.zeros(rays, dtype=torch.int64, device=device)
        along = (marched.ends, marched.counts, marched.live, marched.density, marched.dt)
        # No fusion of floating-point operations, because both passes must keep exactly the same samples.
        exact: dict[str, Any] = {"enable_fp_fusion": False}
        launch(lit_kernel, rays, RAYS, *along, bounds, counts, self._deepest, self._share, **exact)
        ends, live, total, size = packed(counts, marched.live, capacity)
        sample, ray = torch.empty(2, size, dtype=torch.int32, device=device)
        kept_weights, behind, slopes, t = torch.empty(4, size, device=device)
        points, colour = torch.empty(2, size, 3, device=device)
        launch(
            keep_kernel,
            rays,
            RAYS,
            *along,
            marched.t,
            *marched.rays,
            bounds,
            ends,
            counts,
            sample,
            ray,
            kept_weights,
            behind,
            slopes,
            t,
            points,
            size,
            self._deepest,
            CONTRACTION=self._contraction,
            **exact,
        )
        inputs = (marched.codes, marched.harmonics, sample, ray, total, weights)
        launch(
            colour_kernel,
            size,
            self._rows,
            *inputs,
            colour,
            **self._networks,
            programs=_PROGRAMS,
            num_warps=_WARPS,
        )
        return Kept(ends, counts, live, total, sample, ray, kept_weights, behind, slopes, t, points, colour)

    def backward(
        self, marched: Marched, kept: Kept, weights: Tensor, to_colour: Tensor, to_raw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return gradients to kept codes (S, K), and to all weights in one row.

        The row has one more number, which is not finite if a gradient to a code is not.
        """
        size = len(kept.t)
        to_codes = marched.codes.new_empty(size, self._code)
        parts = weights.new_zeros(_PROGRAMS * processors(weights.device), self._size)
        launch(
            backward_kernel,
            size,
            self._rows,
            marched.codes,
            marched.harmonics,
            kept.sample,
            kept.ray,
            kept.total,
            weights,
            to_colour,
            to_raw,
            to_codes,
            parts,
            self._size,
            **self._networks,
            programs=_PROGRAMS,
            num_warps=_WARPS,
        )
        return to_codes, parts.sum(0)
