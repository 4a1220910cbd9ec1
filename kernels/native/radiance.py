"""Radiance fields as a whole: gradients of a step, and pictures, in one call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels import checks
from polyfield.kernels.levels import Levels
from polyfield.kernels.native.adam import settings as adam_settings
from polyfield.kernels.native.arrays import array, like, plain
from polyfield.kernels.native.interpolate import grid

_FEATURES = (2, 4, 8)
_MOST_LAYERS = 18


class FusedRadiance:
    """What `operations.fused_radiance` promises. Reads its tensors anew at every call, so they may be trained."""

    def __init__(
        self,
        table: Tensor,
        levels: Levels,
        density: Sequence[Tensor],
        colour: Sequence[Tensor],
        axes: Sequence[Sequence[float]],
        **settings: Any,
    ) -> None:
        self.half = torch.empty(table.shape, dtype=torch.float16)
        self._native = _core.Radiance(
            grid(levels, table.shape[1]),
            plain(table),
            self.half.view(torch.uint16),
            [plain(weight) for weight in density],
            [plain(weight) for weight in colour],
            axes=[number for row in axes for number in row],
            **settings,
        )
        self._tensors = [table, *density, *colour]
        self._settled = False
        self.refresh()
        self._to_table: Tensor | None = None
        self._to_networks = [[like(weight) for weight in weights] for weights in (density, colour)]
        self._occupied: tuple[Tensor, _core.Occupancy] | None = None

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
        checks.radiance_rays(
            rays,
            occupied,
            target=(target, 4),
            background=(background, 3),
        )
        to_density, to_colour = self._to_networks
        errors = torch.empty(len(target))
        if steps:
            checks.radiance_steps(self._tensors, steps)
            self._settle(steps)
        elif self._to_table is None:
            self._to_table = like(self._tensors[0])
        figures = self._native.train(
            **_arrays(rays),
            grid=self._packed(occupied),
            target=array(target),
            background=array(background),
            huber=huber,
            errors=array(errors),
            to_table=array(self._to_table) if self._to_table is not None and not steps else None,
            steps=[_step(**step) for step in steps],
            to_density=[array(gradient) for gradient in to_density],
            to_colour=[array(gradient) for gradient in to_colour],
        )
        if self._to_table is None or steps:
            return figures, errors, []
        return figures, errors, [self._to_table, *to_density, *to_colour]

    def _settle(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """The table and its moments are read at random from now on."""
        if not self._settled:
            for tensor in (
                self._tensors[0],
                steps[0]["mean"],
                steps[0]["square"],
                self.half.view(torch.float32),
            ):
                _core.settle(plain(tensor))
            self._settled = True

    def refresh(self) -> None:
        self._native.refresh()

    def density(self, points: Tensor) -> Tensor:
        checks.points_of_radiance(points)
        out = torch.empty(len(points))
        self._native.density(array(points), array(out))
        return out

    def render(self, rays: dict[str, Any], occupied: Tensor) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        checks.radiance_rays(rays, occupied)
        count = len(rays["origins"])
        colour, opacity, depth = torch.empty(count, 3), torch.empty(count), torch.empty(count)
        figures = self._native.render(
            **_arrays(rays),
            grid=self._packed(occupied),
            colour=array(colour),
            opacity=array(opacity),
            depth=array(depth),
        )
        return figures, colour, opacity, depth

    def _packed(self, occupied: Tensor) -> _core.Occupancy:
        """The occupancy grid in bits, made anew only for another tensor."""
        if self._occupied is None or self._occupied[0] is not occupied:
            self._occupied = (occupied, _core.Occupancy(plain(occupied).view(torch.uint8)))
        return self._occupied[1]


def _step(mean: Tensor, square: Tensor, **numbers: Any) -> tuple[_core.Adam, Any, Any]:
    return adam_settings(**numbers), array(mean), array(square)


def _arrays(rays: dict[str, Any]) -> dict[str, Any]:
    return {name: array(value) if isinstance(value, Tensor) else value for name, value in rays.items()}


def fused_radiance(
    table: Tensor, levels: Levels, density: Sequence[Tensor], colour: Sequence[Tensor], **settings: Any
) -> FusedRadiance | None:
    fits = (
        settings["degree"] % 4 == 0
        and levels.dimensions == 3
        and table.shape[1] in _FEATURES
        and max(len(density), len(colour)) <= _MOST_LAYERS
        and all(tensor.is_contiguous() for tensor in (table, *density, *colour))
    )
    return FusedRadiance(table, levels, density, colour, **settings) if fits else None
