"""Encoding: the part of an architecture that maps points of the unit cube to codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from polyfield.fields.parts.factor import Factor
from polyfield.fields.stored import Group, Importance, Maps
from polyfield.kernels import Radial


class Encoding(nn.Module, ABC):
    """A map from points ([B,] N, D) of the unit cube to codes ([B,] N, width).

    Structure that is not trained is a buffer.
    """

    # A good learning rate for the networks; the run's schedule multiplies it.
    learning_rate: float = 1e-2
    pointwise: bool = True  # as in `Traits`
    settled: bool = False  # the structure stays as it is
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
        """Put structure where a source has detail, as in `StoredField`.

        importance takes points ([B,] N, D) of the unit cube.
        """

    @abstractmethod
    def parameter_groups(self) -> list[Group]:
        """Return groups that hold every parameter exactly once, by its name in this module."""

    def advance(self, progress: float, boxes: Callable[[], Tensor] | None = None) -> Maps:
        """Change the structure as in `StoredField`. Maps are by the parameters' names in this module.

        boxes returns boxes (K, 2, 3) of the unit cube, beyond which all is empty, or is None if that is not known.
        """
        return {}

    def penalties(self, step: int) -> Tensor | None:
        """Return what the parameters alone add to the loss of a step, as in `StoredField`."""
        return None

    def factors(self) -> tuple[tuple[Factor, ...], ...] | None:
        """Return the tables as in `Plan`, or None if codes have a form that plans do not describe."""
        return None

    def functions(self) -> Radial | None:
        """Return the radial basis functions as in `Plan`."""
        return None
