"""KeptGrid: the occupancy grid of a fit, refined and updated during the fit, or given from the start."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polyfield.fields import Points, StoredField
from polyfield.fitting.objective import Moment
from polyfield.fitting.runs import restoring
from polyfield.kernels import uniform
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.occupancy import OccupancyGrid
from polyfield.rendering.radiance.sampling import Lattice, cascades

if TYPE_CHECKING:
    from polyfield.fitting.rays.queued import QueuedSteps

_EVERY = 16  # steps between updates
_LOOKED_AT = 1 << 15  # cells evaluated in each update
# (from this progress on, cells along an axis)
_RESOLUTIONS = ((0.0, 32), (0.2, 64), (0.7, 128))
_UNBOUNDED_CELLS = 64  # most cells along an axis in an unbounded scene: more are not updated often enough
# At which a moving field is evaluated in each cell. With 4, a ball a twentieth of the half box in size that crosses it in a fifth of
# the time lost a quarter of its path.
_TIMES = 8
MOST_CELLS = _RESOLUTIONS[-1][1]


class KeptGrid:
    """An occupancy grid and its schedule.

    The grid of a moving field keeps the largest density over random times.
    """

    def __init__(
        self, field: StoredField, seed: int, visible: Tensor | None, occupied: Tensor | None = None
    ) -> None:
        """Make the grid of a field. visible is as in `OccupancyGrid.update`.

        occupied (K, G, G, G) bool, if given, are the grid for the whole fit. Measured in conversions: a student that keeps
        the teacher's grid is 0.2 (hashgrid) to 0.7 dB (vm) better than one that updates it.
        """
        self._field, self._seed, self._visible = field, seed, visible
        self._given = occupied
        if occupied is None:
            self.grid = OccupancyGrid(cascades(field.meaning.domain), _RESOLUTIONS[0][1], field.device)
        else:
            self.grid = OccupancyGrid(occupied.shape[0], occupied.shape[-1], field.device)
            self.grid.occupied = occupied.clone()
        self.seconds = 0.0  # time of all updates except queued ones, whose time is not known

    def steps_to_update(self, step: int) -> int:
        """Return the number of steps from this one to the next update."""
        return _EVERY - step % _EVERY

    def _is_due(self, moment: Moment) -> bool:
        updated = self._given is None and self._field.traits.pointwise
        return updated and moment.step % _EVERY == 0 and moment.step > 0

    def refine(self, moment: Moment) -> bool:
        """Change to the resolution of this progress. Return whether the grid changed."""
        if not self._is_due(moment):
            return False
        resolution = max(cells for since, cells in _RESOLUTIONS if moment.progress >= since)
        if self.grid.cascades > 1:
            resolution = min(resolution, _UNBOUNDED_CELLS)
        if resolution <= self.grid.resolution or resolution % self.grid.resolution:
            return False
        self.grid.refine(resolution)
        return True

    def update(
        self, moment: Moment, lattice: Lattice, fused: FusedField | None, queue: QueuedSteps | None = None
    ) -> None:
        """Refine and update the grid if it is due, now or on the queue."""
        if not self._is_due(moment):
            return
        start = time.perf_counter()
        self.refine(moment)
        size = max(self._field.meaning.domain.half_size)
        reach = [2.0 ** (cascade - 1) * size if cascade else 0.0 for cascade in range(self.grid.cascades)]
        steps = tuple(max(lattice.step, lattice.cone * r) for r in reach)

        def density(local: Tensor) -> Tensor:
            return self._density(local, fused)

        options: dict[str, Any] = {"seed": self._seed, "cells": _LOOKED_AT, "visible": self._visible}
        if queue is not None:
            queue.update(self.grid, density, steps, **options)
            return
        self.grid.update(density, torch.tensor(steps, device=self._field.device), **options)
        self.seconds += time.perf_counter() - start

    def _density(self, local: Tensor, fused: FusedField | None) -> Tensor:
        """Return the density (N,) at local points (N, 3), of a moving field the largest at random times."""
        field = self._field

        def density(times: Tensor | None = None) -> Tensor:
            if fused:
                return fused.density(local, times)
            return field.density(field.raw(Points(field.meaning.domain.to_world(local), times=times)))

        if not field.meaning.moving:
            return density()
        times = uniform(
            (_TIMES, len(local)),
            seed=self._seed,
            stream="occupancy times",
            step=self.grid.updates,
            device=local.device,
        )
        # One random time from each of _TIMES equal parts, so that no part is missed.
        parts = (times + torch.arange(_TIMES, device=local.device)[:, None]) / _TIMES
        return torch.stack([density(part) for part in parts]).amax(0)

    def tensors(self) -> dict[str, Tensor]:
        return self.grid.tensors()

    def allowed_shapes(self) -> dict[str, set[str]]:
        """Return the shapes that the grid's tensors may have in a checkpoint."""
        shapes: dict[str, set[str]] = {name: set() for name in self.grid.tensors()}
        if self._given is not None:
            resolutions: tuple[int, ...] = (self._given.shape[-1],)
        else:
            resolutions = tuple(cells for _, cells in _RESOLUTIONS)
        for cells in resolutions:
            for name, tensor in OccupancyGrid(self.grid.cascades, cells, "meta").tensors().items():
                shapes[name].add(restoring.shape(tensor))
        return shapes

    def restore(self, tensors: dict[str, Tensor], updates: int, seconds: float) -> None:
        """Restore a checkpoint's grid."""
        self.grid = OccupancyGrid.restored(tensors["density"], tensors["occupied"], updates)
        self.seconds = seconds
