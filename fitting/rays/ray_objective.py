"""RayObjective: renders rays, compares them with a source's targets, and trains the field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import StoredField
from polyfield.fitting.losses import HUBER_DELTA, Term, check, total
from polyfield.fitting.metrics.images import psnr_of
from polyfield.fitting.objective import Moment, Outcome
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rays import batch_size
from polyfield.fitting.rays.grid import KeptGrid
from polyfield.fitting.rays.queued import TOTALS, QueuedSteps
from polyfield.fitting.rays.source import POOL, Batch, RayPool, RaySource
from polyfield.fitting.runs import restoring
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.occupancy import OccupancyGrid
from polyfield.rendering.radiance.rendering import render_rays
from polyfield.rendering.radiance.sampling import Lattice, MarchingSampler, Sampler, sampler_for

PARTS = ("colour", "weights")  # parts that a loss may compare
LOSS = (Term("colour", "huber"),)
RANGES: dict[str, tuple[float, float]] = {
    "rays": (1, POOL),
    "drawn.pool": (0, 10**9),
    "drawn.rays": (0, POOL),
    "grid_updates": (0, 10**9),
    "grid_seconds": (0, 10**9),
}
_LEAST_MSE = 1e-10  # of a step, for its PSNR: a few rays may be right by chance
# (progress, factor): until this progress, steps along a ray are longer than the finest by this factor.
_STEP_FACTORS = ((0.15, 8.0), (0.5, 4.0), (0.85, 2.0), (1.0, 1.0))


def fused_delta(loss: Sequence[Term]) -> float | None:
    """Return the delta of a loss that the fused step computes, or None for any other loss."""
    match tuple(loss):
        case (Term("colour", "huber", 1.0, options),):
            return options.get("delta", HUBER_DELTA)
    return None


class RayObjective:
    """An objective along rays.

    The fused step is taken if the field has a plan and the loss is a Huber loss of colours, else the general
    step.
    """

    counts = TOTALS

    def __init__(
        self,
        field: StoredField,
        optimiser: Optimiser,
        source: RaySource,
        *,
        lattice: Lattice,
        seed: int,
        loss: Sequence[Term] = LOSS,
        visible: Tensor | None = None,
        occupied: Tensor | None = None,
        deterministic: bool = False,
    ) -> None:
        """Make an objective for a field and a source.

        lattice is the finest one. visible (K, V, V, V) bool are the cells that may be occupied, or None for
        all. occupied (K, G, G, G) bool are the cells that the occupancy grid begins with, and never leaves.

        Raises PolyfieldError for a loss of other parts than PARTS, and if deterministic steps are
        requested on a GPU that has none for this field.
        """
        check(loss, PARTS)
        self._field, self._optimiser, self._source = field, optimiser, source
        self.lattice, self._loss, self._seed = lattice, tuple(loss), seed
        self._kept = KeptGrid(field, seed, visible, occupied)
        self._pool = RayPool(source, seed)
        self.ranges = RANGES | {
            f"drawn.{when}.{key}": limits
            for when in ("source", "drawn_from")
            for key, limits in source.ranges.items()
        }
        self.fused = FusedField.of(field)
        self._queue: QueuedSteps | None = None
        self.deterministic = deterministic
        # The general path needs far more memory per sample.
        on_gpu = self._queues and field.device.type != "cpu"
        self._size = batch_size.GPU if on_gpu else batch_size.CPU
        self._rays = self._size.first_rays
        if deterministic and field.device.type != "cpu" and not self._queues:
            raise PolyfieldError(
                f"--deterministic: the kernels in use on {field.device} have no deterministic training step for this "
                f"fit of {field.spec.architecture}; use --device cpu"
            )

    @property
    def grid(self) -> OccupancyGrid:
        """The occupancy grid."""
        return self._kept.grid

    @property
    def _huber(self) -> float | None:
        return fused_delta(self._loss)

    @property
    def _queues(self) -> bool:
        """Whether the host can queue steps without waiting."""
        one_kernel = self.fused is not None and self.fused.queues and self._huber is not None
        return one_kernel and self._field.penalties(0) is None and not self._source.waits

    def sampler(self, progress: float) -> Sampler:
        """Return the sampler at this progress."""
        return sampler_for(self._field, self.grid.occupied, self._lattice_at(progress))

    def _lattice_at(self, progress: float) -> Lattice:
        """Return the lattice at this progress.

        Steps are coarse at first, while most of space is still occupied and the field is smooth.
        """
        factor = next(factor for until, factor in _STEP_FACTORS if progress <= until)
        return Lattice(self.lattice.step * factor, self.lattice.cone * factor, self.lattice.near)

    def descend(self, moment: Moment) -> Outcome:
        if self._queues:
            return self._queued_steps(moment)
        return self._step(moment)

    def occupied(self) -> Tensor | None:
        return self.grid.occupied

    def follow(self) -> None:
        self.fused = FusedField.of(self._field)
        self._close_queue()

    # -- one step, with a wait for its outcome

    def _step(self, moment: Moment) -> Outcome:
        progress = moment.progress
        self._kept.update(moment, self._lattice_at(progress), self.fused)
        self._optimiser.clear()
        rate = moment.rate(self._field.learning_rate)
        batch = self._pool.take(self._rays)
        loss, errors, evaluated, shaded, finite, moved = self._gradients(batch, rate, moment)
        # A step without shaded samples trains nothing: the grid has lost the scene.
        bad = not (shaded and math.isfinite(loss) and finite)
        if not bad:
            if moved:
                self._optimiser.step_count += 1
            else:
                self._optimiser.step(rate, self.fused.halves if self.fused else None)
        self._source.learn(batch, errors)
        counts = {"rays": self._rays, "evaluated": evaluated, "shaded": shaded, "skipped": int(bad)}
        mse = float((errors / batch.odds).mean())
        following = moment.length.progress(moment.step + 1, moment.seconds)
        numbers = (self._rays, evaluated, shaded, self._size.wanted(following))
        self._rays = int(self._size.next_rays(*map(torch.tensor, numbers)))
        bad_in_a_row = moment.bad_in_a_row + 1 if bad else 0
        return Outcome(1, {"loss": loss, "psnr": psnr_of(max(mse, _LEAST_MSE))}, counts, bad_in_a_row)

    def _gradients(
        self, batch: Batch, rate: float, moment: Moment
    ) -> tuple[float, Tensor, int, int, bool, bool]:
        """Compute the gradients of the loss, or update the parameters if one kernel does both.

        Returns the loss, squared errors (R,), samples evaluated and shaded, whether all gradients are finite,
        and whether parameters were updated.
        """
        sampler, penalty = self.sampler(moment.progress), self._field.penalties(moment.step)
        huber = self._huber
        if self.fused and huber is not None and isinstance(sampler, MarchingSampler):
            moves = penalty is None
            tensors = self.fused.tensors if moves else ()
            done, errors = self.fused.train(
                batch.rays,
                batch.jitter,
                sampler,
                batch.target,
                batch.background,
                huber,
                [self._optimiser.arguments(tensor, rate) for tensor in tensors],
            )
            loss, finite = done["loss"], done["finite"]
            if penalty is not None:
                penalty.backward()  # adds to the gradients that the kernel left
                loss, finite = loss + float(penalty.detach()), self._optimiser.finite()
            return loss, errors, done["evaluated"], done["shaded"], finite, moves
        rendering = render_rays(self._field, batch.rays, sampler, jitter=batch.jitter)
        wanted = batch.target[:, :3] + (1 - batch.target[:, 3:]) * batch.background
        found = rendering.over(batch.background)
        values = {"colour": (found, wanted), "weights": (rendering.samples, rendering.weights)}
        loss = total(self._loss, values, moment.progress)
        if penalty is not None:
            loss = loss + penalty
        if rendering.shaded:
            loss.backward()
        errors = (found.detach() - wanted).square().mean(1)
        finite = self._optimiser.finite()
        return float(loss.detach()), errors, rendering.evaluated, rendering.shaded, finite, False

    # -- queued steps

    def _queued_steps(self, moment: Moment) -> Outcome:
        """Queue steps until the next grid update or the fit's end, wait for them, and return the outcome."""
        if self._kept.refine(moment):
            self._close_queue()  # captured graphs read the old grid
        queue = self._open_queue(moment)
        self._kept.update(moment, self._lattice_at(moment.progress), self.fused, queue)
        sampler = self.sampler(moment.progress)
        assert isinstance(sampler, MarchingSampler)
        ahead = self._kept.steps_to_update(moment.step)
        if moment.length.steps is not None:
            ahead = min(ahead, moment.length.steps - moment.step)
        for further in range(ahead):
            progress = moment.length.progress(moment.step + further, moment.seconds)
            rate = moment.rate(self._field.learning_rate, further)
            queue.take(sampler, rate=rate, wanted=self._size.wanted(progress))
        done = queue.read()
        self._rays, self._optimiser.step_count = done.rays, done.adam_steps
        counts = {name: done.totals[name] - moment.totals.get(name, 0) for name in TOTALS}
        return Outcome(
            ahead, {"loss": done.loss, "psnr": psnr_of(max(done.mse, _LEAST_MSE))}, counts, done.bad_in_a_row
        )

    def _open_queue(self, moment: Moment) -> QueuedSteps:
        """Return a queue that continues from this moment."""
        if self._queue is None:
            assert self.fused is not None and self._huber is not None
            self._queue = QueuedSteps(
                self.fused,
                self._optimiser,
                self._source,
                self._size,
                seed=self._seed,
                huber=self._huber,
                deterministic=self.deterministic,
            )
            self._queue.begin(
                step=moment.step,
                updates=self.grid.updates,
                rays=self._rays,
                adam_steps=moment.adam_steps,
                bad_in_a_row=moment.bad_in_a_row,
                totals=moment.totals,
            )
        return self._queue

    def _close_queue(self) -> None:
        if self._queue is not None:
            self._queue.close()
            self._queue = None

    # -- checkpoints

    def tensors(self) -> dict[str, Tensor]:
        return restoring.joined(grid=self.grid.tensors(), rays=self._pool.tensors())

    def allowed_shapes(self) -> dict[str, set[str]]:
        return {f"grid.{name}": shapes for name, shapes in self._kept.allowed_shapes().items()}

    def state(self) -> dict[str, Any]:
        return {
            "rays": self._rays,
            "drawn": self._pool.state(),
            "grid_updates": self.grid.updates,
            "grid_seconds": self._kept.seconds,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any], moment: Moment) -> None:
        self.follow()
        self._kept.restore(restoring.part(tensors, "grid"), state["grid_updates"], state["grid_seconds"])
        self._pool.restore(restoring.part(tensors, "rays"), state["drawn"])
        self._rays = state["rays"]
