"""EncodedField: a field of an encoding and what a signal puts behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from polyfield.fields.field import Field, Group
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.points import Points
from polyfield.fields.spec import FieldSpec


class EncodedField(Field):
    """Subclasses give the networks and what they mean."""

    def __init__(self, spec: FieldSpec, encoding: Encoding) -> None:
        super().__init__(spec)
        self.encoding = encoding
        self.learning_rate = encoding.learning_rate
        self.points_at_once = (1 << 24) // max(encoding.width, 64)

    def encode(self, points: Points) -> Tensor:
        """Codes (N, C)."""
        return self.encoding(self.spec.domain.to_unit(points.x))

    def initialise(self, seed: int) -> None:
        self.encoding.initialise(seed)

    def advance(
        self, progress: float, occupancy: Tensor | None
    ) -> Mapping[str, Callable[[Tensor], Tensor]] | None:
        maps = self.encoding.advance(progress)
        return {f"encoding.{name}": change for name, change in maps.items()} or None

    def parameter_groups(self) -> list[Group]:
        return [group.inside("encoding") for group in self.encoding.parameter_groups()]
