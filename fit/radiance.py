"""Fitting a radiance field to photographs: one step after the other, and all the state that a checkpoint needs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from polyfield.errors import PolyfieldError
from polyfield.fields import Field, FieldSpec, Points, create
from polyfield.fit.batches import POOL, Batch, Batches
from polyfield.fit.lattice import lattice
from polyfield.fit.optimiser import Optimiser
from polyfield.fit.pixels import PixelStore
from polyfield.fit.schedule import Length, learning_rate
from polyfield.fit.visible import visible
from polyfield.render.cameras import Cameras
from polyfield.render.fused import FusedField
from polyfield.render.occupancy import OccupancyGrid
from polyfield.render.sampling import Lattice, MarchingSampler, Sampler, cascades, sampler_for
from polyfield.render.volume import render_rays

_HUBER = 0.3  # errors beyond it count linearly
_DECAY = 1e-6
_RAYS = (512, POOL)  # fewest and most of a step
_FIRST_RAYS = 1024
_SHADED = (1 << 12, 1 << 14)  # samples of a step that go through the whole field, at first and at the end
MOST_SAMPLES = 1 << 16  # and whose density is asked, at most
_GRID_EVERY = 16  # steps between updates of the occupancy grid
_GRID_CELLS = 1 << 15  # looked at in each
# Occupancy cells along an axis, from which part of the fit on.
_GRID_RESOLUTIONS = ((0.0, 32), (0.2, 64), (0.7, 128))
_UNBOUNDED_CELLS = 64  # at most, of an unbounded scene: more could not be looked at often enough
MOST_CELLS = _GRID_RESOLUTIONS[-1][1]
# Steps along a ray are so many times as long, until which part of the fit.
_STEP_SIZES = ((0.15, 8.0), (0.5, 4.0), (0.85, 2.0), (1.0, 1.0))
_PATIENCE = 20  # steps in a row without a finite loss before the fit gives up


@dataclass(frozen=True)
class Step:
    """What one step did."""

    step: int  # counted from 1
    loss: float
    psnr: float  # of the step's rays, as if pixels were drawn alike, on random backgrounds
    rays: int
    evaluated: int
    shaded: int
    skipped: bool  # because there was no sample, or loss or gradients were not finite


class Diverged(PolyfieldError):
    """Too many steps in a row had no sample, or a loss or gradients that were not finite."""


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
    ) -> None:
        self.field: Field = create(spec, seed=seed, device=device)
        self.lattice = lattice(cameras, spec.domain, near)
        self.grid = OccupancyGrid(cascades(spec.domain), _GRID_RESOLUTIONS[0][1], device)
        unbounded = self.grid.cascades > 1
        self._visible = visible(cameras, spec.domain, self.grid.cascades).to(device) if unbounded else None
        self.optimiser = Optimiser(self.field, decay=_DECAY)
        self.length = length
        self.seed = seed
        self.steps = 0
        self.seconds = 0.0  # of training
        self.totals = {"rays": 0, "evaluated": 0, "shaded": 0, "skipped": 0}
        self.grid_seconds = 0.0
        self._fused = FusedField.of(self.field)
        self._batches = Batches(pixels, seed)
        self._rays = _FIRST_RAYS
        self._bad_in_a_row = 0

    @property
    def progress(self) -> float:
        """How far the fit has come, in [0, 1]."""
        return self.length.progress(self.steps, self.seconds)

    def sampler(self) -> Sampler:
        """How rays are sampled at this moment."""
        return sampler_for(self.field, self.grid.occupied, self._lattice_now())

    def _lattice_now(self) -> Lattice:
        """Coarse steps at first, while most of space is still occupied and the field is smooth."""
        times = next(times for until, times in _STEP_SIZES if self.progress <= until)
        return Lattice(self.lattice.step * times, self.lattice.cone * times, self.lattice.near)

    def step(self) -> Step:
        """Draw rays, render them, compare, and move the parameters. Raises Diverged."""
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
        maps = self.field.advance(self.steps, self.grid.occupied)
        if maps:
            self.optimiser.follow(self.field, maps)
            self._fused = FusedField.of(self.field)
        done = {"rays": self._rays, "evaluated": evaluated, "shaded": shaded, "skipped": int(bad)}
        self.totals = {key: total + done[key] for key, total in self.totals.items()}
        report = Step(self.steps, loss, _psnr(mse), self._rays, evaluated, shaded, bad)
        self._rays = _next_rays(self._rays, evaluated, shaded, self.progress)
        self.seconds += time.perf_counter() - start
        if self._bad_in_a_row >= _PATIENCE:
            raise Diverged(
                f"step {self.steps}: no sample, or no finite loss, in {_PATIENCE} steps in a row; stopped"
            )
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
        domain = self.field.spec.domain
        size = max(domain.half_size)
        reach = [2.0 ** (cascade - 1) * size if cascade else 0.0 for cascade in range(self.grid.cascades)]
        now = self._lattice_now()
        steps = torch.tensor([max(now.step, now.cone * r) for r in reach], device=self.grid.density.device)

        def density(local: Tensor) -> Tensor:
            if self._fused:
                return self._fused.density(local)
            return self.field.density(self.field.raw(Points(domain.to_world(local))))

        self.grid.update(density, steps, seed=self.seed, cells=_GRID_CELLS, visible=self._visible)
        self.grid_seconds += time.perf_counter() - start

    # -- checkpoints

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is a tensor."""
        parts = {
            "field": self.field.state_dict(),
            "adam": self.optimiser.tensors(),
            "grid": self.grid.tensors(),
        }
        return {f"{part}.{name}": t for part, tensors in parts.items() for name, t in tensors.items()}

    def state(self) -> dict[str, Any]:
        """Everything else, as plain data."""
        return {
            "steps": self.steps,
            "seconds": self.seconds,
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
        device = self.grid.density.device
        self._check(tensors, state)

        def part(name: str) -> dict[str, Tensor]:
            return {
                key.removeprefix(name): t.to(device) for key, t in tensors.items() if key.startswith(name)
            }

        self.field.load_state_dict(part("field."))
        if self._fused:
            self._fused.refresh()
        self.optimiser.restore(part("adam."), state["adam_steps"])
        grid = part("grid.")
        self.grid = OccupancyGrid.restored(grid["density"], grid["occupied"], state["grid_updates"])
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.totals, self.grid_seconds = dict(state["totals"]), state["grid_seconds"]
        self._rays, self._bad_in_a_row = state["rays"], state["bad_in_a_row"]
        self._batches.position = (state["pool"], state["rays_of_pool"])

    def _check(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Refuse a checkpoint of another field, or one that was edited."""
        ours = {name: {_shape(tensor)} for name, tensor in self.tensors().items()}
        for _, cells in _GRID_RESOLUTIONS:
            for name, tensor in OccupancyGrid(self.grid.cascades, cells, "meta").tensors().items():
                ours[f"grid.{name}"].add(_shape(tensor))
        for name in sorted(ours.keys() | tensors.keys()):
            expected = ours.get(name, {"nothing"})
            found = _shape(tensors[name]) if name in tensors else "nothing"
            if found not in expected:
                raise PolyfieldError(
                    f"checkpoint: tensor {name} is {found}; the field of config.json has {', '.join(expected)}"
                )
        for key, value in self.state().items():
            there = state.get(key)
            same = type(there) is type(value)
            if not same or (isinstance(there, dict) and there.keys() != value.keys()):
                raise PolyfieldError(f"checkpoint: {key} is {there!r}; expected {type(value).__name__}")


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _next_rays(rays: int, evaluated: int, shaded: int, progress: float) -> int:
    """How many rays the next step takes so that its samples come near what a step should have."""
    wanted = _SHADED[0] * (_SHADED[1] / _SHADED[0]) ** progress
    scale = min(wanted / max(shaded, 1), MOST_SAMPLES / max(evaluated, 1), 2.0)
    return min(max(round(rays * scale / 16) * 16, _RAYS[0]), _RAYS[1])


def _psnr(mse: float) -> float:
    return float(-10 * torch.log10(torch.tensor(mse).clamp(min=1e-10)))
