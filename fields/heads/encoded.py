"""EncodedField: a field of an encoding, a trunk, and a head. Subclasses are the heads."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any

import torch
from torch import Tensor

from polyfield.fields.field import Traits
from polyfield.fields.meaning import Meaning
from polyfield.fields.occupied import boxes_of
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.trunk import Trunk
from polyfield.fields.plan import Plan
from polyfield.fields.points import Features, Points
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import Group, Importance, Maps, StoredField

# Learning rates of a field that begins with the values or with the tensors of another, relative to that of a new one.
_FILLED_RATE, _ADOPTED_RATE = 0.1, 0.5


class EncodedField(StoredField):
    """features = trunk(encoding(unit)). Subclasses say how wide that is, and what follows from it."""

    trunk_stream = "trunk"  # names the trunk's initial numbers

    def __init__(self, spec: FieldSpec, options: Any, encoding: Encoding, trunk: Trunk) -> None:
        """options are the architecture's own, for the head."""
        super().__init__(spec)
        self.encoding, self.trunk = encoding, trunk
        self.learning_rate = encoding.learning_rate
        self.traits = Traits(pointwise=encoding.pointwise and trunk.pointwise)
        self.points_at_once = (1 << 24) // max(encoding.width, 64)
        self.numbers_per_point = (
            3 * encoding.width + trunk.numbers_per_point
        )  # factors of a code are kept too

    @staticmethod
    @abstractmethod
    def trunk_outputs(meaning: Meaning) -> int:
        """Return the width of the vector that the head takes."""

    @abstractmethod
    def raw_of(self, vector: Tensor) -> Tensor | None:
        """Return the raw value ([B,] N) in a vector ([B,] N, F), or None where there are several."""

    def unit(self, points: Points) -> Tensor:
        """Return the unit cube's coordinates ([B,] N, D), of a moving field with time as one more axis behind them."""
        unit = self.meaning.domain.to_unit(points.x)
        if not self.meaning.moving:
            return unit
        assert points.times is not None
        return torch.cat((unit, points.times[..., None]), -1)

    def features(self, points: Points) -> Features:
        vector = self.trunk(self.encoding(self.unit(points)), points)
        return Features(self.raw_of(vector), vector)

    def initialise(self, seed: int) -> None:
        self.encoding.initialise(seed)
        self.trunk.initialise(seed, self.trunk_stream)

    def place(self, importance: Importance, seed: int) -> None:
        self.encoding.place(self.in_unit(importance), seed)

    def in_unit(self, importance: Importance) -> Importance:
        """Return importance as a function of points ([B,] N, D) of the unit cube."""
        domain = self.meaning.domain
        return lambda unit: importance(domain.from_unit(unit[..., : domain.dimensions]))

    def advance(self, progress: float, occupied: Tensor | None = None) -> Maps | None:
        boxes = None if occupied is None else partial(boxes_of, occupied, self.meaning.domain)
        maps = self.encoding.advance(progress, boxes)
        return {f"encoding.{name}": change for name, change in maps.items()} or None

    def adopt(self, other: StoredField) -> None:
        """Take over the tensors of a field of the same form. The structure then stays, and the learning rate becomes a lower one."""
        super().adopt(other)
        self._settle(_ADOPTED_RATE)

    def _settle(self, rate: float = _FILLED_RATE) -> None:
        """Keep the structure, and learn more slowly from here on."""
        self.encoding.settled = True
        self.learning_rate = rate * self.encoding.learning_rate

    def penalties(self, step: int) -> Tensor | None:
        return self.encoding.penalties(step)

    def parameter_groups(self) -> list[Group]:
        encoding = [group.inside("encoding") for group in self.encoding.parameter_groups()]
        return encoding + [group.inside("trunk") for group in self.trunk.parameter_groups()]

    def plan_head(self) -> object | None:
        """Return the plan's head."""
        return None

    def plan(self) -> Plan | None:
        groups, trunk = self.encoding.factors(), self.trunk.plan()
        if groups is None or trunk is None:
            return None
        return Plan(
            meaning=self.meaning,
            groups=groups,
            summed=self.encoding.summed,
            trunk=trunk,
            head=self.plan_head(),
            frequencies=self.encoding.frequencies,
            functions=self.encoding.functions(),
        )
