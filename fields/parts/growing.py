"""Tables that begin coarse and are upsampled during a fit (Chen et al. 2022, TensoRF, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate as resample

from polyfield.fields.parts.tables import Tables
from polyfield.fields.stored import Maps
from polyfield.kernels import Levels

# (progress of the fit, share of the final nodes along an axis from that progress on)
_STAGES = ((0.0, 0.4), (0.07, 0.55), (0.13, 0.75), (0.2, 1.0))


class GrowingTables(Tables):
    """Tables with one level, and with the same number of nodes along every axis of every table."""

    def __init__(self, axes: tuple[tuple[tuple[int, ...], ...], ...], nodes: int, features: int) -> None:
        """Make tables over `axes`, given for every table in every group.

        nodes is the number of nodes along each axis, at the end of a fit and in a new encoding.
        """
        self._axes, self._last, self._nodes = axes, nodes, nodes
        super().__init__(self._levels(nodes), features)

    def advance(self, progress: float, boxes: Callable[[], Tensor] | None = None) -> Maps:
        share = max(part for since, part in _STAGES if progress >= since)
        nodes = max(round(self._last * share), 2)
        if nodes == self._nodes or self.settled:
            return {}
        flat = [axes for group in self._axes for axes in group]
        before, self._nodes, self._geometry = self._nodes, nodes, self._levels(nodes)
        maps = {}
        for index, axes in enumerate(flat):
            change = partial(_resampled, axes=len(axes), before=before, after=nodes)
            self.tables[index] = nn.Parameter(change(self.tables[index].detach()))
            maps[f"tables.{index}"] = change
        return maps

    def nodes(self) -> Tensor:
        """Return where the entries of the only table are in the unit cube: (M, D)."""
        axis = torch.linspace(0, 1, self._nodes, device=self.tables[0].device)
        places = torch.meshgrid(*[axis] * len(self._axes[0][0]), indexing="ij")
        return torch.stack(places[::-1], -1).flatten(0, -2)  # x fastest

    def _levels(self, nodes: int) -> tuple[tuple[tuple[Levels, tuple[int, ...]], ...], ...]:
        def level(axes: tuple[int, ...]) -> Levels:
            return Levels(((nodes,) * len(axes),), nodes ** len(axes))

        return tuple(tuple((level(axes), axes) for axes in group) for group in self._axes)


def _resampled(table: Tensor, *, axes: int, before: int, after: int) -> Tensor:
    """Return a table ([B,] before^axes, F) as one of ([B,] after^axes, F), linear between its nodes."""
    grid = table.mT.reshape(1, -1, *(before,) * axes)  # a bank's tables are further channels
    mode = ("linear", "bilinear", "trilinear")[axes - 1]
    grown = resample(grid, size=(after,) * axes, mode=mode, align_corners=True)
    return grown.reshape(*table.shape[:-2], table.shape[-1], -1).mT.contiguous()
