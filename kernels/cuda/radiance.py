"""Radiance fields as a whole: a training step, or a picture, as a queue of kernels that the host need not wait for.

Rays are marched through the occupancy grid to packed samples, whose densities say which of them are kept; kept samples get
colours, are compared along their rays, and take gradients back through the networks to the table. How many samples there
are is known on the device alone. Buffers have room for so many, or for as many as there are, which the host then asks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.kernels import checks
from polyfield.kernels.checks import Groups
from polyfield.kernels.cuda.adam import corrections, move
from polyfield.kernels.cuda.corners import geometry
from polyfield.kernels.cuda.field import backward_kernel, colour_kernel, density_kernel
from polyfield.kernels.cuda.interpolate import add_to_table
from polyfield.kernels.cuda.launch import launch, processors
from polyfield.kernels.cuda.layers import padded, rows_of, size_of
from polyfield.kernels.cuda.march import launch_march
from polyfield.kernels.cuda.packing import Kept, Marched, packed
from polyfield.kernels.cuda.rays import rays_kernel
from polyfield.kernels.cuda.visible import compare_kernel, keep_kernel, lit_kernel, picture_kernel
from polyfield.kernels.levels import Levels

_FEATURES = (2, 4, 8)
_HARMONICS = 16
_MOST_WIDTH = 64
_MOST_WEIGHTS = 20_480  # of both networks, filled up: their gradients are summed in registers
_RAYS = 64  # of a block
_PROGRAMS = 4  # for each multiprocessor, that take blocks in turn
_WARPS = 8
_PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def precision() -> torch.dtype:
    """What networks multiply and the table is read in: POLYFIELD_PRECISION, half unless it says otherwise."""
    name = os.environ.get("POLYFIELD_PRECISION", "float16")
    if name not in _PRECISIONS:
        raise PolyfieldError(f"POLYFIELD_PRECISION={name}: expected one of {', '.join(_PRECISIONS)}")
    return _PRECISIONS[name]


class FusedRadiance:
    """What `operations.QueuedRadiance` promises. Reads its tensors anew at every call, so they may be trained."""

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
        self._table, self._levels = table.detach(), levels
        self._density = [weight.detach() for weight in density]
        self._colour = [weight.detach() for weight in colour]
        self._kind = precision()
        self._half = self._table if self._kind == torch.float32 else self._table.to(self._kind)
        self.halves = [self._half]
        features, latent = table.shape[1], len(density[-1])
        room = max(triton.next_power_of_2(levels.count) * features, 16)
        sizes = (levels.count * features, *(len(weight) for weight in density))
        c_sizes = (latent, *(len(weight) for weight in colour))
        self._networks: dict[str, Any] = {
            "SIZES": sizes,
            "STRIDES": sizes[:-1],
            "PADDED": (room, *map(padded, sizes[1:])),
            "C_SIZES": c_sizes,
            "C_STRIDES": (latent + _HARMONICS, *c_sizes[1:-1]),
            "C_PADDED": tuple(map(padded, c_sizes)),
        }
        self._code = room
        self._geometry = geometry(levels, table.device)  # graphs read it
        self._rows = rows_of(self._kind, size_of(self._weights))
        self._frame = table.new_tensor([*centre, *(number for axis in axes for number in axis)])
        self._contraction, self._limits = contraction, (low, high, per_length)
        self._deepest, self._share = -float(torch.tensor(least_transmittance).log()), least_share
        # One row for each program of the backward kernel, and one number more for whether all is finite.
        self._size = sum(weight.numel() for weight in self._weights) + 1
        self._to_table: Tensor | None = None

    @property
    def _weights(self) -> list[Tensor]:
        return [*self._density, *self._colour]

    def refresh(self) -> None:
        if self._half is not self._table:
            self._half.copy_(self._table)

    def density(self, points: Tensor) -> Tensor:
        checks.points_of_radiance(points)
        total = torch.full((1,), len(points), device=points.device)
        out = points.new_empty(len(points))
        codes = out.new_empty(0, dtype=self._kind)
        self._densities(
            points, points, out, out.new_empty(0, dtype=torch.int32), total, codes, out, on_rays=False
        )
        return out

    def train(
        self,
        rays: dict[str, Any],
        occupied: Tensor,
        *,
        target: Tensor,
        background: Tensor,
        huber: float,
        steps: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[dict[str, Any], Tensor, list[Tensor]]:
        live = torch.full((1,), len(target), device=target.device)
        figures, errors, gradients = self.queue(
            rays, occupied, target=target, background=background, huber=huber, live=live, steps=steps
        )
        del figures["rays"], figures["moved"]
        return {name: figure.item() for name, figure in figures.items()}, errors, gradients

    def queue(
        self,
        rays: dict[str, Any],
        occupied: Tensor,
        *,
        target: Tensor,
        background: Tensor,
        huber: float,
        live: Tensor,
        room: tuple[int, int] | None = None,
        steps: Sequence[Mapping[str, Any]] = (),
        deterministic: bool = False,
    ) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
        checks.radiance_rays(rays, occupied, target=(target, 4), background=(background, 3))
        if steps:
            checks.radiance_steps([self._table, *self._weights], steps)
        weights = torch.cat([weight.flatten() for weight in self._weights])
        marched = self._march(rays, occupied, weights, live, room and room[0])
        kept = self._keep(marched, weights, room and room[1])
        losses, errors = torch.empty(2, len(target), device=target.device)
        to_colour, to_raw = torch.empty_like(kept.colour), torch.empty_like(kept.t)
        launch(
            compare_kernel,
            len(losses),
            _RAYS,
            kept.ends,
            kept.counts,
            kept.live,
            kept.weights,
            kept.t,
            kept.colour,
            kept.behind,
            kept.slopes,
            target.contiguous(),
            background.contiguous(),
            losses,
            errors,
            to_colour,
            to_raw,
            len(losses),
            huber,
        )
        to_codes, to_weights = self._backward(marched, kept, weights, to_colour, to_raw)
        # Gradients are of the sum over rays and channels so far, which half precision holds better.
        scale = 1 / (3 * kept.live.clamp(min=1)).float()
        loss = losses.sum()[None] * scale
        finite = to_weights.sum()[None].isfinite()
        moves = finite & loss.isfinite() & (kept.total > 0)
        to_table = self._gradients(deterministic and bool(steps))
        add_to_table(to_codes[None], kept.points[None], self._levels, to_table[None], kept.total)
        figures = {
            "loss": loss,
            "evaluated": marched.total,
            "shaded": kept.total,
            "finite": finite,
            "rays": kept.live,
            "moved": moves,
        }
        split = to_weights[:-1].split([weight.numel() for weight in self._weights])
        if not steps:
            found = [to_table * scale, *(x.view(w.shape) * scale for x, w in zip(split, self._weights))]
            self._to_table = None
            return figures, errors, found
        self._move([to_table, *split], steps, scale, moves.float())
        return figures, errors, []

    def _gradients(self, deterministic: bool) -> Tensor:
        """The table's gradients so far: none, for each step clears them."""
        kind = torch.int64 if deterministic else torch.float32
        if self._to_table is None or self._to_table.dtype != kind:
            self._to_table = torch.zeros_like(self._table, dtype=kind)
        return self._to_table

    def render(self, rays: dict[str, Any], occupied: Tensor) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        live = torch.full((1,), len(rays["origins"]), device=rays["origins"].device)
        figures, *picture = self.queue_picture(rays, occupied, live=live)
        colour, opacity, depth = picture
        return {name: figures[name].item() for name in ("evaluated", "shaded")}, colour, opacity, depth

    def queue_picture(
        self, rays: dict[str, Any], occupied: Tensor, *, live: Tensor, room: tuple[int, int] | None = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        checks.radiance_rays(rays, occupied)
        count, device = len(rays["origins"]), rays["origins"].device
        weights = torch.cat([weight.flatten() for weight in self._weights])
        marched = self._march(rays, occupied, weights, live, room and room[0])
        kept = self._keep(marched, weights, room and room[1])
        colour, opacity, depth = (torch.empty(count, *n, device=device) for n in ((3,), (), ()))
        launch(
            picture_kernel,
            count,
            _RAYS,
            kept.ends,
            kept.counts,
            kept.live,
            kept.weights,
            kept.t,
            kept.colour,
            colour,
            opacity,
            depth,
        )
        figures = {"evaluated": marched.total, "shaded": kept.total, "rays": kept.live}
        return figures, colour, opacity, depth

    def _march(
        self, rays: dict[str, Any], occupied: Tensor, weights: Tensor, live: Tensor, room: int | None
    ) -> Marched:
        """All samples, with codes and densities. Without room for those of all rays, some of the last are no longer live."""
        origins, directions = rays["origins"].contiguous(), rays["directions"].contiguous()
        occupancy, count = occupied.contiguous().view(torch.uint8), len(origins)
        local = torch.empty_like(origins), torch.empty_like(origins)
        near, far = torch.empty(2, count, device=origins.device)
        harmonics = origins.new_empty(count, _HARMONICS, dtype=self._kind)
        reach = 2.0 ** (len(occupied) - 1)
        launch(
            rays_kernel,
            count,
            _RAYS,
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
        ends, live, total, size = packed(counts, live, room)
        t, dt, density = torch.empty(3, size, device=near.device)
        of_ray = torch.empty(size, dtype=torch.int32, device=near.device)
        launch_march(spans, occupancy, counts, ends - counts, t, dt, of_ray, **lattice, writes=True)
        codes = t.new_empty(size, self._code, dtype=self._kind)
        self._densities(*local, t, of_ray, total, codes, density, weights=weights, on_rays=True)
        return Marched(local, harmonics, ends, counts, live, total, t, dt, codes, density)

    def _densities(
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
            self._half,
            self._geometry,
            weights,
            codes,
            density,
            *self._limits,
            RAYS=on_rays,
            CONTRACTION=self._contraction,
            LEVELS=self._levels.count,
            F=self._table.shape[1],
            **{name: self._networks[name] for name in ("SIZES", "STRIDES", "PADDED")},
            programs=_PROGRAMS,
            num_warps=_WARPS,
        )

    def _keep(self, marched: Marched, weights: Tensor, room: int | None) -> Kept:
        """The samples that light reaches and that are not faint, with colours."""
        rays, device = len(marched.counts), marched.t.device
        bounds = torch.empty(rays, device=device)
        counts = torch.zeros(rays, dtype=torch.int64, device=device)
        along = (marched.ends, marched.counts, marched.live, marched.density, marched.dt)
        # Without fusion: both passes must keep exactly the same samples.
        alike: dict[str, Any] = {"enable_fp_fusion": False}
        launch(lit_kernel, rays, _RAYS, *along, bounds, counts, self._deepest, self._share, **alike)
        ends, live, total, size = packed(counts, marched.live, room)
        sample, ray = torch.empty(2, size, dtype=torch.int32, device=device)
        kept_weights, behind, slopes, t = torch.empty(4, size, device=device)
        points, colour = torch.empty(2, size, 3, device=device)
        launch(
            keep_kernel,
            rays,
            _RAYS,
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
            **alike,
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

    def _backward(
        self, marched: Marched, kept: Kept, weights: Tensor, to_colour: Tensor, to_raw: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients to kept codes (S, K), and to all weights, one after the other, with one number more."""
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

    def _move(
        self, gradients: Sequence[Tensor], steps: Sequence[Mapping[str, Any]], scale: Tensor, moves: Tensor
    ) -> None:
        """Adam's step for the table, which clears its gradients, and for every layer."""
        tensors = [self._table, *self._weights]
        for place, (tensor, gradient, step) in enumerate(zip(tensors, gradients, steps, strict=True)):
            if not place or step["step"] is not steps[place - 1]["step"]:
                found = corrections(step["betas"], step["step"])
            move(
                tensor,
                gradient,
                step["mean"],
                step["square"],
                self._half if place == 0 and self._half is not self._table else None,
                rate=step["learning_rate"],
                betas=step["betas"],
                corrections=found,
                eps=step["eps"],
                decay=step["decay"],
                sparse=step["sparse"],
                scale=scale,
                moves=moves,
                clears=place == 0,
            )


def fused_radiance(
    groups: Groups,
    density: Sequence[Tensor],
    colour: Sequence[Tensor],
    *,
    summed: bool,
    frequencies: int | None,
    **settings: Any,
) -> FusedRadiance | None:
    """Of one table over all three axes; None for other groups, and for sines and cosines."""
    if [len(group) for group in groups] != [1] or frequencies is not None:
        return None
    table, levels, axes = groups[0][0]
    layers = (*density, *colour)
    fits = (
        settings["degree"] == 4
        and tuple(axes) == (0, 1, 2)
        and table.shape[1] in _FEATURES
        and max(map(len, layers)) <= _MOST_WIDTH
        and size_of(layers) <= _MOST_WEIGHTS
        and all(tensor.is_contiguous() for tensor in (table, *layers))
    )
    return FusedRadiance(table, levels, density, colour, **settings) if fits else None
