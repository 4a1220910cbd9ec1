"""Encoding: how an architecture turns points of the unit cube into codes, whatever the codes then mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from polyfield.fields.parts.factor import Factor
from polyfield.fields.stored import Group, Importance


class Encoding(nn.Module, ABC):
    """Points ([B,] N, D) of the unit cube to codes ([B,] N, width). Structure that is not trained is a buffer."""

    # A good learning rate for Adam in the networks; the run's schedule multiplies it.
    learning_rate: ClassVar[float] = 1e-2
    pointwise: bool = True  # as in `Traits`
    # As in `Plan`.
    summed: ClassVar[bool] = False
    frequencies: int | None = None
    width: int

    @abstractmethod
    def forward(self, unit: Tensor) -> Tensor: ...

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Set every parameter from the seed."""

    def place(self, importance: Importance, seed: int) -> None:
        """As in `StoredField`, with points ([B,] N, D) of the unit cube."""

    @abstractmethod
    def parameter_groups(self) -> list[Group]:
        """Return groups that hold every parameter exactly once, by its name in here."""

    def advance(self, progress: float) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """As in `StoredField`, by the parameters' names in here."""
        return {}

    def factors(self) -> tuple[tuple[Factor, ...], ...] | None:
        """Return the tables as in `Plan`, or None where codes come from anything but tables and frequencies."""
        return None
