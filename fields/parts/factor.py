"""Factor: one table over some of the axes, used by encodings and plans."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from polyfield.kernels import Levels, interpolate


@dataclass(frozen=True, eq=False)  # compared by identity: torch.compile hashes it before it is whole
class Factor:
    """A table ([B,] E, F) over some of the axes: interpolate(table, unit[..., axes], levels)."""

    table: Tensor
    levels: Levels
    axes: tuple[int, ...]

    def __call__(self, unit: Tensor) -> Tensor:
        """Return the codes ([B,] N, L * F) of unit ([B,] N, D)."""
        whole = self.axes == tuple(range(unit.shape[-1]))
        return interpolate(self.table, unit if whole else unit[..., list(self.axes)], self.levels)
