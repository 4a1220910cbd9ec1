"""A field's passes: over packed samples, of which it marches all and keeps some, or over points; and backward through both networks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.kernels.cuda.corners import geometry
from polyfield.kernels.cuda.field import (
    backward_kernel,
    colour_kernel,
    density_kernel,
    latent_kernel,
    points_kernel,
)
from polyfield.kernels.cuda.launch import is_hopper, launch, processors
from polyfield.kernels.cuda.layers import backward_rows, padded, rows_of, size_of
from polyfield.kernels.cuda.march import launch_march
from polyfield.kernels.cuda.packing import Kept, Marched, packed
from polyfield.kernels.cuda.rays import rays_kernel
from polyfield.kernels.cuda.visible import keep_kernel, lit_kernel
from polyfield.kernels.levels import Levels

_HARMONICS = 16
RAYS = 32  # in a block: a warp, which needs no barrier
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
        c_sizes = (
            latent + _HARMONICS,
            *(len(weight) for weight in colour),
        )  # of values, one that is not used
        self._to_latent: dict[str, Any] = {
            "SIZES": sizes,
            "STRIDES": sizes[:-1],
            "PADDED": (code, *map(padded, sizes[1:])),
        }
        self._to_colour: dict[str, Any] = {
            "SIZES": c_sizes,
            "STRIDES": c_sizes[:-1],
            "PADDED": tuple(map(padded, c_sizes)),
        }
        self._code, self._seen = code, padded(latent + _HARMONICS)
        self._geometry = geometry(levels, table.device)  # kept because captured graphs read it
        self._rows = rows_of(self.kind, size_of(self._density)), rows_of(self.kind, size_of(self._colour))
        self._frame = table.new_tensor([*centre, *(number for axis in axes for number in axis)])
        self._contraction, self._limits = contraction, (low, high, per_length)
        self._deepest, self._share = -float(torch.tensor(least_transmittance).log()), least_share
        # Where the colour network's weights begin among all.
        self._split = sum(weight.numel() for weight in self._density)
        self.latent, self.coloured = latent, bool(colour)

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
        bad = self.densities(*local, t, of_ray, total, codes, density, weights=weights, on_rays=True)
        return Marched(local, harmonics, ends, counts, live, total, t, dt, codes, density, bad)

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
    ) -> Tensor:
        """Write codes and densities, and return (1,) how many raw densities were NaN."""
        if weights is None:
            weights = torch.cat([weight.flatten() for weight in self._density])
        bad = torch.zeros(1, dtype=torch.int32, device=density.device)
        self._launch(
            density_kernel,
            len(density),
            self._rows[0],
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
            bad,
            *self._limits,
            RAYS=on_rays,
            CONTRACTION=self._contraction,
            LEVELS=self.levels.count,
            F=self.table.shape[1],
            **self._to_latent,
        )
        return bad

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
        inputs = marched.codes.new_empty(size, self._seen)
        density_weights, colour_weights = weights[: self._split], weights[self._split :]
        of_rays = (marched.codes, sample, ray, total, density_weights, marched.harmonics, inputs)
        self._launch(latent_kernel, size, self._rows[0], *of_rays, **self._to_latent, WIDTH=self._seen)
        self._launch(
            colour_kernel, size, self._rows[1], inputs, total, colour_weights, colour, **self._to_colour
        )
        return Kept(
            ends, counts, live, total, sample, ray, kept_weights, behind, slopes, t, points, inputs, colour
        )

    def backward(
        self, marched: Marched, kept: Kept, weights: Tensor, to_colour: Tensor, to_raw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return gradients to kept codes (S, K), and to all weights in one row.

        The row has one more number, which is not finite if a gradient to a code is not.
        """
        density, colour = weights[: self._split], weights[self._split :]
        to_seen, of_colour = self._backward(kept.total, kept.inputs, colour, to_colour, self._to_colour)
        picks = (kept.sample, to_raw)
        to_codes, of_density = self._backward(
            kept.total, marched.codes, density, to_seen, self._to_latent, picks
        )
        return to_codes, torch.cat((of_density[:-1], of_colour[:-1], of_density[-1:] + of_colour[-1:]))

    def points(
        self, x: Tensor, directions: Tensor | None, weights: Tensor, total: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return unit coordinates (N, 3), codes, latent vectors (N, L), and the colour network's inputs and colours.

        Without directions the last two are empty.
        """
        count, latent = len(x), self._to_latent["SIZES"][-1]
        local, scratch = torch.empty(2, count, 3, device=x.device)
        spans = torch.empty(2, count, device=x.device)
        harmonics = x.new_empty(count, _HARMONICS, dtype=self.kind)
        seen_from = x if directions is None else directions
        where = (x.contiguous(), seen_from.contiguous(), self._frame, total, local, scratch, *spans)
        launch(rays_kernel, count, RAYS, *where, harmonics, count, 0.0, 1.0)
        unit = local * 0.5 + 0.5
        if self._contraction:
            reach = local.abs().amax(1, keepdim=True).clamp(min=1.0)
            unit = local * ((2 - 1 / reach) / reach / 4) + 0.5
        codes = x.new_empty(count, self._code, dtype=self.kind)
        vector = x.new_empty(count, latent)
        table = {"LEVELS": self.levels.count, "F": self.table.shape[1]}
        arguments = (unit, total, self.half, self._geometry, weights[: self._split], codes, vector)
        self._launch(points_kernel, count, self._rows[0], *arguments, **table, **self._to_latent)
        coloured = 0 if directions is None else count
        inputs, colour = codes.new_zeros(coloured, self._seen), x.new_empty(coloured, 3)
        if coloured:
            inputs[:, :latent] = vector.to(self.kind)
            inputs[:, latent : latent + _HARMONICS] = harmonics
            of_colour = (inputs, total, weights[self._split :], colour)
            self._launch(colour_kernel, count, self._rows[1], *of_colour, **self._to_colour)
        return unit, codes, vector, inputs, colour

    def backward_points(
        self, total: Tensor, codes: Tensor, inputs: Tensor, weights: Tensor, to_latent: Tensor, to_rgb: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what `backward` returns, from gradients to latent vectors (N, L) and to colours before their sigmoid."""
        density, colour = weights[: self._split], weights[self._split :]
        of_colour = weights.new_zeros(len(colour) + 1)
        if len(inputs):
            to_seen, of_colour = self._backward(total, inputs, colour, to_rgb, self._to_colour)
            to_latent = to_latent + to_seen[:, : to_latent.shape[1]].float()
        to_codes, of_density = self._backward(total, codes, density, to_latent, self._to_latent)
        return to_codes, torch.cat((of_density[:-1], of_colour[:-1], of_density[-1:] + of_colour[-1:]))

    def _backward(
        self,
        total: Tensor,
        inputs: Tensor,
        weights: Tensor,
        to_outputs: Tensor,
        network: dict[str, Any],
        picks: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return gradients to the inputs of one network (S, K), and in one row those to its weights and their fault.

        picks are the rows of the inputs (S,), and what is added to the gradient to the first output (S,).
        """
        size = len(to_outputs)
        sample, to_raw = picks or (total, to_outputs)
        to_inputs = inputs.new_empty(size, inputs.shape[1])
        parts = weights.new_zeros(_PROGRAMS * processors(weights.device), len(weights) + 1)
        self._launch(
            backward_kernel,
            size,
            backward_rows(self.kind, network["PADDED"], is_hopper(weights.device)),
            inputs,
            sample,
            total,
            weights,
            to_outputs,
            to_raw,
            to_inputs,
            parts,
            len(weights) + 1,
            OUTPUTS=to_outputs.shape[1],
            PICKS=picks is not None,
            **network,
        )
        return to_inputs, parts.sum(0)

    def _launch(self, kernel: Any, size: int, block: int, *arguments: Any, **constants: Any) -> None:
        """Launch a kernel of a network, whose programs take blocks of rows in turn."""
        launch(kernel, size, block, *arguments, **constants, programs=_PROGRAMS, num_warps=_WARPS)
