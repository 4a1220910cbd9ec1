"""Together: steps along rays, and a step at points after every few of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from polyfield.fitting.objective import Moment, Outcome
from polyfield.fitting.points.point_objective import PointObjective
from polyfield.fitting.rays.ray_objective import RayObjective
from polyfield.fitting.runs.restoring import joined, part

# The last of every 8 steps is at points. Occupancy grids are updated in the first of every 16 steps, which is along rays.
# Measured for 30 s of lego at 1/4, for the students hashgrid and vm: 31.1 and 30.7 dB with the last of every 4, 31.2 and 31.1 dB
# with the last of every 8.
_EVERY = 8


class Together:
    """Two objectives of one field: rendered colours, and values at samples.

    Both share the field's fused kernel, because its copies of the tables follow only its own steps.
    """

    def __init__(self, rays: RayObjective, points: PointObjective) -> None:
        self.rays, self.points = rays, points
        points.fused = rays.fused
        self.counts = tuple(dict.fromkeys((*points.counts, *rays.counts)))
        self.ranges = {f"rays.{key}": limits for key, limits in rays.ranges.items()} | {
            f"points.{key}": limits for key, limits in points.ranges.items()
        }

    def descend(self, moment: Moment) -> Outcome:
        return (self.points if moment.step % _EVERY == _EVERY - 1 else self.rays).descend(moment)

    def occupied(self) -> Tensor | None:
        return self.rays.occupied()

    def follow(self) -> None:
        self.rays.follow()
        self.points.fused = self.rays.fused

    def tensors(self) -> dict[str, Tensor]:
        return joined(rays=self.rays.tensors(), points=self.points.tensors())

    def state(self) -> dict[str, Any]:
        return {"rays": self.rays.state(), "points": self.points.state()}

    def allowed_shapes(self) -> dict[str, set[str]]:
        return {
            f"{name}.{key}": shapes
            for name, own in self._parts
            for key, shapes in own.allowed_shapes().items()
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any], moment: Moment) -> None:
        for name, own in self._parts:
            own.restore(part(tensors, name), state[name], moment)
        self.points.fused = self.rays.fused

    @property
    def _parts(self) -> Sequence[tuple[str, RayObjective | PointObjective]]:
        return ("rays", self.rays), ("points", self.points)
