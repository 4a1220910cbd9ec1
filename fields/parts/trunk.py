"""Trunk: the part between an encoding and a head. It maps the code and the point to a vector."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions
from polyfield.fields.parts.network import Layers
from polyfield.fields.plan import TrunkPlan
from polyfield.fields.points import Points
from polyfield.fields.stored import Group


class Trunk(nn.Module, ABC):
    """A map from codes ([B,] N, C) of points to vectors ([B,] N, F) for a head."""

    pointwise: bool = True  # as in `Traits`
    numbers_per_point: int = 0  # floats that its forward pass keeps for backward

    @abstractmethod
    def forward(self, code: Tensor, points: Points) -> Tensor: ...

    @abstractmethod
    def initialise(self, seed: int, name: str) -> None:
        """Set every parameter from the seed and the name."""

    @abstractmethod
    def parameter_groups(self) -> list[Group]:
        """Return groups that hold every parameter exactly once, by its name in this module."""

    def plan(self) -> TrunkPlan | None:
        """Return the trunk as plain data, or None if it has another form."""
        return None


class CodeTrunk(Trunk):
    """The code itself, without a network."""

    def __init__(self, inputs: int, outputs: int, options: object, meaning: Meaning) -> None:
        super().__init__()

    def forward(self, code: Tensor, points: Points) -> Tensor:
        return code

    def initialise(self, seed: int, name: str) -> None:
        """It has no parameters."""

    def parameter_groups(self) -> list[Group]:
        return []

    def plan(self) -> TrunkPlan:
        return TrunkPlan()


class NetworkTrunk(Trunk):
    """A fully connected network of the code alone."""

    def __init__(self, inputs: int, outputs: int, options: NetworkOptions, meaning: Meaning) -> None:
        super().__init__()
        self.layers = Layers([inputs, *[options.width] * options.layers, outputs], options.activation)
        self.numbers_per_point = (options.layers + 2) * options.width
        self._orthogonal = meaning.kind.directional

    def forward(self, code: Tensor, points: Points) -> Tensor:
        return self.layers(code)

    def initialise(self, seed: int, name: str) -> None:
        self.layers.initialise(seed, name)

    def parameter_groups(self) -> list[Group]:
        return self.layers.groups("layers", orthogonal=self._orthogonal)

    def plan(self) -> TrunkPlan | None:
        return None if self.layers.sine else TrunkPlan(tuple(self.layers.weights))
