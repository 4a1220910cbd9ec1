"""Tables: encodings whose codes are looked up in tables and multiplied or summed."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.factor import Factor
from polyfield.fields.parts.initial import uniform_init
from polyfield.fields.stored import Group
from polyfield.kernels import Levels

TIME = 3  # the axis of time behind three of space

# For every table in every group: its levels and axes.
Geometry = tuple[tuple[tuple[Levels, tuple[int, ...]], ...], ...]


class Tables(Encoding):
    """Codes from tables alone.

    Codes of a group's tables are multiplied or summed; groups are concatenated.
    """

    initial_range: ClassVar[tuple[float, float]]  # of the uniform numbers that tables begin with
    rate: float = 1.0  # learning rate of tables, relative to the networks'
    sparse: ClassVar[bool] = False  # most rows have no gradient in a step
    time_axis: int = TIME

    def __init__(self, groups: Geometry, features: int) -> None:
        """Make tables of the geometry `groups`, with `features` numbers in each entry."""
        super().__init__()
        self._geometry = groups
        shapes = [(levels.entries, features) for group in groups for levels, _ in group]
        self.tables = nn.ParameterList(torch.empty(*shape) for shape in shapes)
        self.width = sum(group[0][0].count for group in groups) * features

    def forward(self, unit: Tensor) -> Tensor:
        codes = []
        for group in self._factors():
            code = group[0](unit)
            for factor in group[1:]:
                code = code + factor(unit) if self.summed else code * factor(unit)
            codes.append(code)
        return codes[0] if len(codes) == 1 else torch.cat(codes, -1)

    def factors(self) -> tuple[tuple[Factor, ...], ...] | None:
        return self._factors()

    def _factors(self) -> tuple[tuple[Factor, ...], ...]:
        tables = iter(self.tables)
        return tuple(
            tuple(Factor(next(tables), levels, axes) for levels, axes in group) for group in self._geometry
        )

    def initialise(self, seed: int) -> None:
        low, high = self.initial_range
        factors = [(factor, len(group)) for group in self._factors() for factor in group]
        for index, (factor, others) in enumerate(factors):
            uniform_init(factor.table, (high - low) / 2, seed=seed, name=f"table {index}")
            with torch.no_grad():
                factor.table.add_((low + high) / 2)
                # Factors over time begin at 1, so a fit begins with a scene at rest (K-Planes, section 3.2).
                if others > 1 and not self.summed and self.time_axis in factor.axes:
                    factor.table.fill_(1.0)

    def parameter_groups(self) -> list[Group]:
        tables = {f"tables.{index}": table for index, table in enumerate(self.tables)}
        return [Group(tables, self.rate, 0.0, sparse=self.sparse, half=True)]
