"""The records that pass through a query: `Points` in, `Features` between its blocks, `FieldOutput` out.

A bank of fields has a leading axis B in front of every shape.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Points:
    """Query points, in the domain's world coordinates. `Field.points` makes them from a source's own."""

    x: Tensor  # ([B,] N, D) world coordinates
    directions: Tensor | None = None  # ([B,] N, 3) unit vectors, from the camera into the scene
    times: Tensor | None = None  # ([B,] N) in [0, 1]
    rays: Tensor | None = None  # (N,) int64: the ray that each is a sample of, if any

    def __len__(self) -> int:
        return self.x.shape[-2]

    def __getitem__(self, index: Tensor | slice) -> Points:
        others = (_at(values, index) for values in (self.directions, self.times, self.rays))
        return Points(self.x[index], *others)

    def split(self, count: int) -> list[Points]:
        """Return the points in parts of at most `count`, in order."""
        return [self[start : start + count] for start in range(0, len(self), count)]


@dataclass(frozen=True)
class Features:
    """What a field's first block leaves for its head."""

    raw: Tensor | None  # ([B,] N) the value before its transform
    vector: Tensor  # ([B,] N, F)

    def __getitem__(self, index: Tensor) -> Features:
        return Features(_at(self.raw, index), self.vector[index])


@dataclass(frozen=True)
class FieldOutput:
    """The result of a query. The signal says which of the values are there."""

    raw: Tensor | None = None  # ([B,] N) before the value transform
    density: Tensor | None = None  # ([B,] N) per unit of length, >= 0
    distance: Tensor | None = None  # ([B,] N) in units of the source
    occupancy: Tensor | None = None  # ([B,] N) in [0, 1]
    colour: Tensor | None = None  # ([B,] N, C)
    features: Tensor | None = None  # ([B,] N, F)


def _at(values: Tensor | None, index: Tensor | slice) -> Tensor | None:
    return None if values is None else values[index]
