"""Fitting a radiance field to photographs: one step after the other, and all the state that a checkpoint needs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from polyfield.cameras.cameras import Cameras
from polyfield.errors import PolyfieldError
from polyfield.fields import Field, FieldSpec, Points, create
from polyfield.fit.optimiser import Optimiser
from polyfield.fit.rays import batch_size as step_size
from polyfield.fit.rays.batches import POOL, Batch, Batches
from polyfield.fit.rays.lattice import lattice
from polyfield.fit.rays.pixels import PixelStore
from polyfield.fit.rays.queued import TOTALS, QueuedSteps
from polyfield.fit.rays.visible import visible
from polyfield.fit.runs import restoring
from polyfield.fit.runs.loop import PATIENCE, Diverged
from polyfield.fit.schedule import Length, learning_rate
from polyfield.render.radiance.fused import FusedField
from polyfield.render.radiance.occupancy import OccupancyGrid
from polyfield.render.radiance.rendering import render_rays
from polyfield.render.radiance.sampling import Lattice, MarchingSampler, Sampler, cascades, sampler_for

_HUBER = 0.3  # errors beyond it count linearly
_DECAY = 1e-6
_GRID_EVERY = 16  # steps between updates of the occupancy grid
_GRID_CELLS = 1 << 15  # looked at in each
# Occupancy cells along an axis, from which part of the fit on.
_GRID_RESOLUTIONS = ((0.0, 32), (0.2, 64), (0.7, 128))
_UNBOUNDED_CELLS = 64  # at most, of an unbounded scene: more could not be looked at often enough
_COUNTS = (
    "pool",
    "steps",
    "seconds",
    "prepare_seconds",
    "grid_seconds",
    "grid_updates",
    "adam_steps",
    "bad_in_a_row",
)
# The least and the most that numbers of a fit's state can be; "totals.rays" is rays in totals.
RANGES: dict[str, tuple[float, float]] = {
    "rays": (1, POOL),
    "rays_of_pool": (0, POOL),
    **{key: (0, 10**9) for key in _COUNTS},
    **{f"totals.{key}": (0, 1 << 62) for key in TOTALS},
}
MOST_CELLS = _GRID_RESOLUTIONS[-1][1]
# Steps along a ray are so many times as long, until which part of the fit.
_STEP_SIZES = ((0.15, 8.0), (0.5, 4.0), (0.85, 2.0), (1.0, 1.0))


@dataclass(frozen=True)
class Step:
    """What one step did, or the last of some that were queued."""

    step: int  # counted from 1
    loss: float
    psnr: float  # of the step's rays, as if pixels were drawn alike, on random backgrounds
    rays: int
    evaluated: int
    shaded: int
    skipped: bool  # because there was no sample, or loss or gradients were not finite


class RadianceFit:
    """A field on its way. `step` is a function of its state and the seed alone, so a restored fit goes on exactly."""

    def __init__(
        self,
        spec: FieldSpec,
        cameras: Cameras,
        pixels: PixelStore,
        *,
        near: float,
        length: Length,
        seed: int,
        device: str = "cpu",
        deterministic: bool = False,
    ) -> None:
        self.field: Field = create(spec, seed=seed, device=device)
        self.field.advance(0.0, None)
        self.lattice = lattice(cameras, spec.domain, near)
        self.grid = OccupancyGrid(cascades(spec.domain), _GRID_RESOLUTIONS[0][1], device)
        unbounded = self.grid.cascades > 1
        self._visible = visible(cameras, spec.domain, self.grid.cascades).to(device) if unbounded else None
        self.optimiser = Optimiser(self.field, decay=_DECAY)
        self.length = length
        self.seed = seed
        self.steps = 0
        self.seconds = 0.0  # of training
        self.prepare_seconds = 0.0
        self.totals = dict.fromkeys(TOTALS, 0)
        self.grid_seconds = 0.0
        self._fused = FusedField.of(self.field)
        self._batches, self._pixels = Batches(pixels, seed), pixels
        self._queue: QueuedSteps | None = None
        # The general path takes far more memory for a sample.
        on_gpu = self._queues and self.device.type != "cpu"
        self._size = step_size.GPU if on_gpu else step_size.CPU
        self._rays = self._size.first_rays
        self._bad_in_a_row = 0
        self.deterministic = deterministic
        if self._queues:
            self._open_queue()
        elif deterministic and device != "cpu":
            raise PolyfieldError(
                f"--deterministic: {spec.architecture} has no kernels on {device} that are; expected --device cpu"
            )

    @property
    def progress(self) -> float:
        """How far the fit has come, in [0, 1]."""
        return self.length.progress(self.steps, self.seconds)

    @property
    def device(self) -> torch.device:
        return self.grid.density.device

    @property
    def rate(self) -> str:
        """How fast it goes."""
        return f"{self.totals['rays'] / max(self.seconds, 1e-9):,.0f} rays/s"

    def sampler(self) -> Sampler:
        """How rays are sampled at this moment."""
        return sampler_for(self.field, self.grid.occupied, self._lattice_now())

    def _lattice_now(self) -> Lattice:
        """Coarse steps at first, while most of space is still occupied and the field is smooth."""
        times = next(times for until, times in _STEP_SIZES if self.progress <= until)
        return Lattice(self.lattice.step * times, self.lattice.cone * times, self.lattice.near)

    @property
    def _queues(self) -> bool:
        """Whether steps can be queued, so that the host waits for the device between some of them only."""
        return self._fused is not None and self._fused.queues and self.field.penalties() is None

    def _open_queue(self) -> None:
        """A queue that goes on from where the fit is."""
        assert self._fused is not None
        if self._queue is not None:
            self._queue.close()
        self._queue = QueuedSteps(
            self._fused,
            self.optimiser,
            self._pixels,
            self._size,
            seed=self.seed,
            huber=_HUBER,
            deterministic=self.deterministic,
        )
        self._queue.begin(
            step=self.steps,
            updates=self.grid.updates,
            rays=self._rays,
            moved=self.optimiser.step_count,
            bad_in_a_row=self._bad_in_a_row,
            totals=self.totals,
        )

    def step(self) -> Step:
        """Draw rays, render them, compare, and move the parameters. Raises Diverged.

        Steps that can be queued are taken up to the occupancy grid's next update.
        """
        report = self._step() if self._queue is None else self._steps(self._queue)
        if self._bad_in_a_row >= PATIENCE:
            raise Diverged(
                f"step {self.steps}: no sample, or no finite loss, in {PATIENCE} steps in a row; stopped"
            )
        return report

    def _steps(self, queue: QueuedSteps) -> Step:
        """Queue steps until the grid is to be updated or the fit ends, and wait for them."""
        start = time.perf_counter()
        self._keep_grid()
        sampler = self.sampler()
        assert isinstance(sampler, MarchingSampler)
        ahead = _GRID_EVERY - self.steps % _GRID_EVERY
        if self.length.steps is not None:
            ahead = min(ahead, self.length.steps - self.steps)
        for step in range(self.steps, self.steps + ahead):
            progress = self.length.progress(step, self.seconds)
            rate = learning_rate(progress) * self.field.learning_rate
            queue.take(sampler, rate=rate, wanted=self._size.wanted(progress))
        done = queue.read()
        self.steps += ahead
        self._rays, self._bad_in_a_row, self.totals = done.rays, done.bad_in_a_row, done.totals
        self.optimiser.step_count = done.moved
        self.seconds += time.perf_counter() - start
        self._advance()  # by the seconds that a checkpoint of now has
        last = done.last
        return Step(
            self.steps,
            done.loss,
            _psnr(done.mse),
            last["rays"],
            last["evaluated"],
            last["shaded"],
            bool(last["skipped"]),
        )

    def _advance(self) -> None:
        """Let the field change its structure."""
        maps = self.field.advance(self.progress, self.grid.occupied)
        if maps:
            self.optimiser.follow(self.field, maps)
            self._fused = FusedField.of(self.field)
            if self._queue is not None:
                self._open_queue()

    def _step(self) -> Step:
        """One step, whose outcome is waited for."""
        start = time.perf_counter()
        self._keep_grid()
        self.optimiser.clear()
        rate = learning_rate(self.progress) * self.field.learning_rate
        loss, mse, evaluated, shaded, finite = self._descend(self._batches.take(self._rays), rate)
        # A step that shaded nothing teaches nothing: the grid has lost the scene.
        bad = not (shaded and math.isfinite(loss) and finite)
        if not bad:
            self.optimiser.step(rate)
        self._bad_in_a_row = self._bad_in_a_row + 1 if bad else 0
        self.steps += 1
        done = {"rays": self._rays, "evaluated": evaluated, "shaded": shaded, "skipped": int(bad)}
        self.totals = {key: total + done[key] for key, total in self.totals.items()}
        report = Step(self.steps, loss, _psnr(mse), self._rays, evaluated, shaded, bad)
        wanted = self._size.wanted(self.progress)
        self._rays = int(self._size.next_rays(*map(torch.tensor, (self._rays, evaluated, shaded, wanted))))
        self.seconds += time.perf_counter() - start
        self._advance()
        return report

    def _descend(self, batch: Batch, rate: float) -> tuple[float, float, int, int, bool]:
        """Leave the gradients of a Huber loss over random backgrounds; a fused field has then moved already.

        Returns it, the mean squared error as of pixels drawn alike, the samples evaluated and shaded, and whether all
        gradients are finite.
        """
        sampler = self.sampler()
        penalty = self.field.penalties()
        if self._fused and penalty is None and isinstance(sampler, MarchingSampler):
            done, errors = self._fused.train(
                batch.rays,
                batch.jitter,
                sampler,
                batch.target,
                batch.background,
                _HUBER,
                [self.optimiser.arguments(tensor, rate) for tensor in self._fused.tensors],
            )
            mse = float((errors / batch.odds).mean())
            return done["loss"], mse, done["evaluated"], done["shaded"], done["finite"]
        rendering = render_rays(self.field, batch.rays, sampler, jitter=batch.jitter)
        wanted = batch.target[:, :3] + (1 - batch.target[:, 3:]) * batch.background
        found = rendering.over(batch.background)
        total = huber_loss(found, wanted, delta=_HUBER)
        if penalty is not None:
            total = total + penalty
        if rendering.shaded:
            total.backward()
        errors = (found.detach() - wanted).square().mean(1)
        mse = float((errors / batch.odds).mean())
        finite = self.optimiser.finite()
        return float(total.detach()), mse, rendering.evaluated, rendering.shaded, finite

    def _keep_grid(self) -> None:
        """Refine and update the occupancy grid when it is time to."""
        if not self.field.traits.pointwise or self.steps % _GRID_EVERY or self.steps == 0:
            return
        start = time.perf_counter()
        resolution = max(cells for since, cells in _GRID_RESOLUTIONS if self.progress >= since)
        if self._visible is not None:
            resolution = min(resolution, _UNBOUNDED_CELLS)
        if resolution > self.grid.resolution:
            self.grid.refine(resolution)
            if self._queue is not None:
                self._open_queue()  # what was captured looks at the old grid
        domain = self.field.spec.domain
        size = max(domain.half_size)
        reach = [2.0 ** (cascade - 1) * size if cascade else 0.0 for cascade in range(self.grid.cascades)]
        now = self._lattice_now()
        steps = tuple(max(now.step, now.cone * r) for r in reach)

        def density(local: Tensor) -> Tensor:
            if self._fused:
                return self._fused.density(local)
            return self.field.density(self.field.raw(Points(domain.to_world(local))))

        options: dict[str, Any] = {"seed": self.seed, "cells": _GRID_CELLS, "visible": self._visible}
        if self._queue is not None:  # how long it takes is then not known here
            self._queue.update(self.grid, density, steps, **options)
            return
        self.grid.update(density, torch.tensor(steps, device=self.device), **options)
        self.grid_seconds += time.perf_counter() - start

    # -- checkpoints

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is a tensor."""
        return restoring.joined(
            field=self.field.state_dict(), adam=self.optimiser.tensors(), grid=self.grid.tensors()
        )

    def state(self) -> dict[str, Any]:
        """Everything else, as plain data."""
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "prepare_seconds": self.prepare_seconds,
            "totals": self.totals,
            "grid_seconds": self.grid_seconds,
            "grid_updates": self.grid.updates,
            "adam_steps": self.optimiser.step_count,
            "rays": self._rays,
            "pool": self._batches.position[0],
            "rays_of_pool": self._batches.position[1],
            "bad_in_a_row": self._bad_in_a_row,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take back what `tensors` and `state` were. Raises PolyfieldError if they are of another field."""
        device = self.device
        restoring.check_state(state, self.state())
        self.steps, self.seconds = state["steps"], state["seconds"]
        self._advance()  # the structure that the field then had
        self._check(tensors)

        self.field.load_state_dict(restoring.part(tensors, "field", device))
        if self._fused:
            self._fused.refresh()
        self.optimiser.restore(restoring.part(tensors, "adam", device), state["adam_steps"])
        grid = restoring.part(tensors, "grid", device)
        self.grid = OccupancyGrid.restored(grid["density"], grid["occupied"], state["grid_updates"])
        self.totals, self.grid_seconds = dict(state["totals"]), state["grid_seconds"]
        self._rays, self._bad_in_a_row = state["rays"], state["bad_in_a_row"]
        self._batches.position = (state["pool"], state["rays_of_pool"])
        if self._queue is not None:
            self._open_queue()

    def _check(self, tensors: dict[str, Tensor]) -> None:
        """Refuse a checkpoint of another field."""
        ours = {name: {restoring.shape(tensor)} for name, tensor in self.tensors().items()}
        for _, cells in _GRID_RESOLUTIONS:
            for name, tensor in OccupancyGrid(self.grid.cascades, cells, "meta").tensors().items():
                ours[f"grid.{name}"].add(restoring.shape(tensor))
        restoring.check_tensors(tensors, ours)


def _psnr(mse: float) -> float:
    return -10 * math.log10(max(mse, 1e-10))
