"""Encodings: how an architecture turns points of the unit cube into codes, whatever the codes then mean."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polyfield.fields.field import Group, uniform_init
from polyfield.fields.options import NetworkOptions
from polyfield.fields.plan import Factor
from polyfield.kernels import Levels

# Of every table in every group, its levels and its axes.
Geometry = tuple[tuple[tuple[Levels, tuple[int, ...]], ...], ...]


class Encoding(nn.Module):
    """Points (N, D) of the unit cube to codes (N, width). Subclasses are the architectures.

    Structure that is not trained is a buffer.
    """

    Options: ClassVar[type[NetworkOptions]]  # what a spec's options may set
    size_option: ClassVar[str]  # the option that makes it larger
    size_step: ClassVar[int] = 1  # sizes that are searched for are multiples of it
    size_limit: ClassVar[int | None] = None  # and none is larger, where larger ones take too long to fit
    # A good learning rate for Adam in the networks; the run's schedule multiplies it.
    learning_rate: ClassVar[float] = 1e-2
    # As in `Plan`.
    summed: ClassVar[bool] = False
    frequencies: int | None = None
    width: int

    @staticmethod
    def refusal(dimensions: int) -> str | None:
        """Why the architecture does not carry signals over so many axes, or None."""
        return None

    @staticmethod
    def suited(resolution: int, dimensions: int) -> dict[str, Any]:
        """Options for a source of so many pixels or voxels along its longest side, and so many axes: measured."""
        return {}

    @abstractmethod
    def forward(self, unit: Tensor) -> Tensor: ...

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Set every parameter from the seed."""

    @abstractmethod
    def parameter_groups(self) -> list[Group]:
        """Every parameter in exactly one group, by its name in here."""

    def advance(self, progress: float) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Take the structure that a fit wants when it has come so far, in [0, 1].

        Returns for each parameter that changed, by its name in here, the map from its old tensor to its new one.
        """
        return {}

    def factors(self) -> tuple[tuple[Factor, ...], ...] | None:
        """The tables that the code comes from, as in `Plan`, or None where it comes from anything but those and frequencies."""
        return None


class Tables(Encoding):
    """Codes from tables alone: those of a group are multiplied, or summed, and groups stand side by side."""

    first: ClassVar[tuple[float, float]]  # tables begin with uniform numbers between these
    rate: ClassVar[float] = 1.0  # learning rate of tables, relative to the networks'
    sparse: ClassVar[bool] = False  # most rows rest in a step

    def __init__(self, groups: Geometry, features: int) -> None:
        """Tables of such a geometry; each entry has so many features."""
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
        return codes[0] if len(codes) == 1 else torch.cat(codes, 1)

    def factors(self) -> tuple[tuple[Factor, ...], ...] | None:
        return self._factors()

    def _factors(self) -> tuple[tuple[Factor, ...], ...]:
        tables = iter(self.tables)
        return tuple(
            tuple(Factor(next(tables), levels, axes) for levels, axes in group) for group in self._geometry
        )

    def initialise(self, seed: int) -> None:
        low, high = self.first
        for index, table in enumerate(self.tables):
            uniform_init(table, (high - low) / 2, seed=seed, name=f"table {index}")
            with torch.no_grad():
                table += (low + high) / 2

    def parameter_groups(self) -> list[Group]:
        tables = {f"tables.{index}": table for index, table in enumerate(self.tables)}
        return [Group("encoding", tables, self.rate, 0.0, sparse=self.sparse, half=True)]
