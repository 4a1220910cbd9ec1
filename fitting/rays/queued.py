"""Queued steps: training steps that the host queues on a GPU without waiting.

All counts that a step depends on are on the device: its number, its rays, the steps that the optimiser took. Shapes
are fixed, so a step is captured as a CUDA graph, and an update of the occupancy grid as another. Each then
costs the host one launch. The host reads the counts once for several steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rays.batch_size import BatchSize
from polyfield.fitting.rays.source import RaySource
from polyfield.kernels.graphs import Graphs
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.occupancy import OccupancyGrid
from polyfield.rendering.radiance.sampling import MarchingSampler


@dataclass(frozen=True)
class Counts:
    """The device's counts."""

    rays: int  # of the next step
    adam_steps: int  # that moved the parameters
    bad_in_a_row: int
    totals: dict[str, int]
    loss: float  # of the last step
    mse: float  # of its rays, as if they were drawn uniformly


TOTALS: tuple[str, ...] = ("rays", "evaluated", "shaded", "skipped")


class QueuedSteps:
    """Steps of a field whose kernel can be queued, while its tensors and those of its grid stay the same."""

    def __init__(
        self,
        fused: FusedField,
        optimiser: Optimiser,
        source: RaySource,
        size: BatchSize,
        *,
        seed: int,
        huber: float,
        deterministic: bool,
    ) -> None:
        self._fused, self._optimiser, self._source, self._size = fused, optimiser, source, size
        self._seed, self._huber, self._deterministic = seed, huber, deterministic
        self._device = fused.tensors[0].device

        def count(values: int) -> Tensor:
            return torch.zeros(values, dtype=torch.int64, device=self._device)

        self._step, self._updates, self._rays, self._adam_steps, self._bad = (count(1) for _ in range(5))
        self._totals = count(len(TOTALS))
        self._losses = torch.zeros(2, device=self._device)
        self._rate = torch.zeros(1, device=self._device)
        self._wanted = torch.zeros(1, dtype=torch.float64, device=self._device)
        self._graphs = Graphs(self._device)

    def begin(
        self,
        *,
        step: int,
        updates: int,
        rays: int,
        adam_steps: int,
        bad_in_a_row: int,
        totals: dict[str, int],
    ) -> None:
        """Continue from these counts."""
        counts = (self._step, self._updates, self._rays, self._adam_steps, self._bad)
        for tensor, value in zip(counts, (step, updates, rays, adam_steps, bad_in_a_row), strict=True):
            tensor.fill_(value)
        self._totals.copy_(torch.tensor([totals.get(name, 0) for name in TOTALS]))

    @torch.no_grad()
    def update(
        self,
        grid: OccupancyGrid,
        density: Callable[[Tensor], Tensor],
        steps: tuple[float, ...],
        **options: Any,
    ) -> None:
        """Queue `grid.update` with these steps and options. Both host and device count its number."""
        number, lengths = grid.updates, torch.tensor(steps, device=self._device)

        def work() -> None:
            occupied = grid.occupied
            grid.update(density, lengths, number=self._updates, first=number == 0, **options)
            occupied.copy_(grid.occupied)  # the tensor that the steps read
            grid.occupied = occupied
            self._updates += 1

        self._graphs.run(("update", number == 0, steps), work)
        grid.updates = number + 1

    @torch.no_grad()
    def take(self, sampler: MarchingSampler, *, rate: float, wanted: float) -> None:
        """Queue a step with this learning rate, which should shade `wanted` samples."""
        self._rate.fill_(rate)
        self._wanted.fill_(wanted)
        self._graphs.run(("step", sampler.lattice), lambda: self._descend(sampler))

    def _descend(self, sampler: MarchingSampler) -> None:
        batch = self._source.draw(self._size.rays[1], seed=self._seed, step=self._step)
        number = self._adam_steps.double() + 1
        figures, errors = self._fused.queue(
            batch.rays,
            batch.jitter,
            sampler,
            target=batch.target,
            background=batch.background,
            huber=self._huber,
            live=self._rays,
            capacity=self._size.capacity,
            steps=[self._optimiser.arguments(tensor, self._rate, number) for tensor in self._fused.tensors],
            deterministic=self._deterministic,
        )
        self._source.learn(batch, errors)
        rays, evaluated, shaded = figures["rays"], figures["evaluated"], figures["shaded"]
        skipped = 1 - figures["moved"].long()
        mse = (errors / batch.odds).sum() / rays.clamp(min=1)
        self._losses.copy_(torch.cat((figures["loss"], mse)))
        self._totals += torch.cat((rays, evaluated, shaded, skipped))
        self._adam_steps += 1 - skipped
        self._bad.copy_((self._bad + 1) * skipped)
        self._rays.copy_(self._size.next_rays(rays.clamp(min=1), evaluated, shaded, self._wanted))
        self._step += 1

    def close(self) -> None:
        """Free the memory of captured graphs."""
        self._graphs.clear()

    def read(self) -> Counts:
        """Wait for all queued work, and return the counts."""
        parts = (self._rays, self._adam_steps, self._bad, self._totals)
        rays, adam_steps, bad, *totals = torch.cat(parts).tolist()
        loss, mse = self._losses.tolist()
        return Counts(rays, adam_steps, bad, dict(zip(TOTALS, totals)), loss, mse)
