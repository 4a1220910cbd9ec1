"""Whole fields: a training step along rays or at points, or a picture, as a queue of kernels.

The host need not wait for steps along rays and for pictures.
Rays are marched through the occupancy grid to packed samples. The samples' densities decide which of them are
kept. Kept samples get colours and are compared along their rays; gradients then go back through the networks
to the table. Only the device knows the number of samples. Buffers have a given capacity, or the host waits to
read that number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polyfield.kernels import field_checks
from polyfield.kernels.cuda.adam import corrections, move
from polyfield.kernels.cuda.compared import compared
from polyfield.kernels.cuda.field_passes import RAYS, FieldPasses
from polyfield.kernels.cuda.interpolate import add_to_table
from polyfield.kernels.cuda.launch import launch
from polyfield.kernels.cuda.layers import MOST_WEIGHTS, size_of
from polyfield.kernels.cuda.muon import move as move_matrix
from polyfield.kernels.cuda.visible import compare_kernel, picture_kernel
from polyfield.kernels.field_checks import Groups, Radial, Table

_FEATURES = (2, 4, 8)
_MOST_WIDTH = 64


class FusedKernel:
    """An implementation of `operations.QueuedKernel`.

    It reads its tensors at every call, so they may be trained.
    """

    def __init__(self, passes: FieldPasses) -> None:
        self._passes = passes
        self._table, self._half = passes.table, passes.half
        self.halves = [self._half]
        self._to_table: Tensor | None = None

    def refresh(self) -> None:
        if self._half is not self._table:
            self._half.copy_(self._table)

    def density(self, points: Tensor, times: Tensor | None = None) -> Tensor:
        field_checks.points_of_radiance(points, times, False)
        total = torch.full((1,), len(points), device=points.device)
        out = points.new_empty(len(points))
        codes = out.new_empty(0, dtype=self._passes.kind)
        self._passes.densities(
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

    def train_points(
        self,
        points: Tensor,
        directions: Tensor | None,
        times: Tensor | None = None,
        *,
        targets: Mapping[str, Tensor],
        terms: Sequence[tuple[str, str, float, Mapping[str, float]]],
        steps: Sequence[Mapping[str, Any] | None] = (),
    ) -> tuple[dict[str, Any], Tensor, list[Tensor]]:
        passes, count = self._passes, len(points)
        widths = {"raw": 1 if passes.coloured else passes.latent, "features": passes.latent, "colour": 3}
        field_checks.points_and_targets(
            points, directions, times, False, 3, {name: (t, widths[name]) for name, t in targets.items()}
        )
        if steps:
            field_checks.field_steps([self._table, *passes.weights], 1, steps)
        layers = torch.cat([weight.flatten() for weight in passes.weights])
        total = torch.full((1,), count, device=points.device)
        unit, codes, vector, inputs, colour = passes.points(points, directions, layers, total)
        found = {"raw": vector[:, : widths["raw"]], "features": vector, "colour": colour}
        loss, errors, slopes = compared(found, targets, terms)
        to_latent = torch.zeros_like(vector)
        for part in slopes.keys() - {"colour"}:
            to_latent[:, : widths[part]] += slopes[part]
        to_rgb = slopes["colour"] * colour * (1 - colour) if "colour" in slopes else colour
        to_codes, to_weights = passes.backward_points(total, codes, inputs, layers, to_latent, to_rgb)
        scale = torch.full((1,), 1 / count, device=points.device)
        finite = to_weights.sum()[None].isfinite()
        moves = finite & loss.isfinite()
        to_table = self._gradients(deterministic=False)
        add_to_table(to_codes[None], unit[None], passes.levels, to_table[None], total)
        figures = {"loss": loss.item(), "evaluated": 0, "shaded": count, "finite": bool(finite)}
        split = to_weights[:-1].split([weight.numel() for weight in passes.weights])
        if not steps:
            return figures, errors, self._taken(to_table, split, scale)
        self._move([to_table, *split], steps, scale, moves.float())
        return figures, errors, []

    def evaluate(
        self, points: Tensor, directions: Tensor | None = None, times: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        field_checks.points_and_targets(points, directions, times, False, 3, {})
        weights = torch.cat([weight.flatten() for weight in self._passes.weights])
        total = torch.full((1,), len(points), device=points.device)
        _, _, vector, _, colour = self._passes.points(points, directions, weights, total)
        return vector, None if directions is None else colour

    def _taken(self, to_table: Tensor, split: Sequence[Tensor], scale: Tensor) -> list[Tensor]:
        """Return the gradients; the next step gets a new buffer for those of the table."""
        self._to_table = None
        weights = self._passes.weights
        return [to_table * scale, *(x.view(w.shape) * scale for x, w in zip(split, weights))]

    def queue(
        self,
        rays: dict[str, Any],
        occupied: Tensor,
        *,
        target: Tensor,
        background: Tensor,
        huber: float,
        live: Tensor,
        capacity: tuple[int, int] | None = None,
        steps: Sequence[Mapping[str, Any]] = (),
        deterministic: bool = False,
    ) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
        field_checks.radiance_rays(rays, occupied, target=(target, 4), background=(background, 3))
        if steps:
            field_checks.field_steps([self._table, *self._passes.weights], 1, steps)
        weights = torch.cat([weight.flatten() for weight in self._passes.weights])
        marched = self._passes.march(rays, occupied, weights, live, capacity and capacity[0])
        kept = self._passes.keep(marched, weights, capacity and capacity[1])
        losses, errors = torch.empty(2, len(target), device=target.device)
        to_colour, to_raw = torch.empty_like(kept.colour), torch.empty_like(kept.t)
        launch(
            compare_kernel,
            len(losses),
            RAYS,
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
        to_codes, to_weights = self._passes.backward(marched, kept, weights, to_colour, to_raw)
        # Until here gradients are of the sum over rays and channels, which half precision holds better.
        scale = 1 / (3 * kept.live.clamp(min=1)).float()
        loss = losses.sum()[None] * scale
        finite = to_weights.sum()[None].isfinite() & (marched.bad == 0)
        moves = finite & loss.isfinite() & (kept.total > 0)
        to_table = self._gradients(deterministic and bool(steps))
        add_to_table(to_codes[None], kept.points[None], self._passes.levels, to_table[None], kept.total)
        figures = {
            "loss": loss,
            "evaluated": marched.total,
            "shaded": kept.total,
            "finite": finite,
            "rays": kept.live,
            "moved": moves,
        }
        split = to_weights[:-1].split([weight.numel() for weight in self._passes.weights])
        if not steps:
            return figures, errors, self._taken(to_table, split, scale)
        self._move([to_table, *split], steps, scale, moves.float())
        return figures, errors, []

    def _gradients(self, deterministic: bool) -> Tensor:
        """Return the buffer of the table's gradients. It is zero, because each step clears it."""
        kind = torch.int64 if deterministic else torch.float32
        if self._to_table is None or self._to_table.dtype != kind:
            self._to_table = torch.zeros_like(self._table, dtype=kind)
        return self._to_table

    def render(self, rays: dict[str, Any], occupied: Tensor) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        live = torch.full((1,), len(rays["origins"]), device=rays["origins"].device)
        figures, *picture = self.queue_picture(rays, occupied, live=live)
        colour, opacity, depth = picture
        found = {name: figures[name].item() for name in ("evaluated", "shaded", "finite")}
        return found, colour, opacity, depth

    def queue_picture(
        self, rays: dict[str, Any], occupied: Tensor, *, live: Tensor, capacity: tuple[int, int] | None = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        field_checks.radiance_rays(rays, occupied)
        count, device = len(rays["origins"]), rays["origins"].device
        weights = torch.cat([weight.flatten() for weight in self._passes.weights])
        marched = self._passes.march(rays, occupied, weights, live, capacity and capacity[0])
        kept = self._passes.keep(marched, weights, capacity and capacity[1])
        colour, opacity, depth = (torch.empty(count, *n, device=device) for n in ((3,), (), ()))
        launch(
            picture_kernel,
            count,
            RAYS,
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
        figures = {
            "evaluated": marched.total,
            "shaded": kept.total,
            "rays": kept.live,
            "finite": marched.bad == 0,
        }
        return figures, colour, opacity, depth

    def _move(
        self,
        gradients: Sequence[Tensor],
        steps: Sequence[Mapping[str, Any] | None],
        scale: Tensor,
        moves: Tensor,
    ) -> None:
        """Take the steps of the table, which clear its gradients, and of every layer that has one."""
        tensors = [self._table, *self._passes.weights]
        found, number = None, None
        for place, (tensor, gradient, step) in enumerate(zip(tensors, gradients, steps, strict=True)):
            if step is None:
                continue
            if "momentum" in step:
                move_matrix(
                    tensor,
                    gradient,
                    step["mean"],
                    rate=step["learning_rate"],
                    momentum=step["momentum"],
                    scale=scale,
                    moves=moves,
                )
                continue
            if found is None or step["step"] is not number:
                found, number = corrections(step["betas"], step["step"]), step["step"]
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


def fused_field(
    groups: Groups,
    density: Sequence[Tensor],
    colour: Sequence[Tensor] = (),
    *,
    summed: bool,
    frequencies: int | None,
    biases: Sequence[Tensor],
    modulation: Table | None,
    normed: bool,
    radial: Radial | None,
    timed: bool,
    **settings: Any,
) -> FusedKernel | None:
    """Return the fused form of one table over all three axes and plain networks, at rest, or None for any other field."""
    if [len(group) for group in groups] != [1] or frequencies is not None or not density:
        return None
    if biases or modulation or radial or timed:
        return None
    table, levels, axes = groups[0][0]
    if levels.index is not None:
        return None
    layers = (*density, *colour)
    fits = (
        (settings["degree"] == 4 or not colour)
        and tuple(axes) == (0, 1, 2)
        and table.shape[1] in _FEATURES
        and max(levels.count * table.shape[1], *map(len, layers)) <= _MOST_WIDTH
        and max(size_of(density), size_of(colour)) <= MOST_WEIGHTS
        and all(tensor.is_contiguous() for tensor in (table, *layers))
    )
    return FusedKernel(FieldPasses(table, levels, density, colour, **settings)) if fits else None
