"""The records that pass through a query: `Points` in, `Features` between its blocks, `FieldOutput` out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Points:
    """Where a field is asked. A block reads more than `x` only where the field's traits say so."""

    x: Tensor  # (N, D) in the source's own coordinates
    directions: Tensor | None = None  # (N, 3) unit vectors, from the camera into the scene
    times: Tensor | None = None  # (N,) in [0, 1]
    rays: Tensor | None = None  # (N,) index of the ray each point lies on

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, index: Tensor) -> Points:
        return Points(self.x[index], *(_at(t, index) for t in (self.directions, self.times, self.rays)))


@dataclass(frozen=True)
class Features:
    """What a field's first block leaves for its head."""

    raw: Tensor | None  # (N,) the value before its transform
    vector: Tensor  # (N, F)
    kind: str = "latent"  # "latent": for a network; "sh": spherical-harmonic coefficients of the colour

    def __getitem__(self, index: Tensor) -> Features:
        return Features(_at(self.raw, index), self.vector[index], self.kind)


@dataclass(frozen=True)
class FieldOutput:
    """What a query gives; the signal says which of the values are there."""

    raw: Tensor | None = None  # (N,) before the value transform
    density: Tensor | None = None  # (N,) per unit of length, >= 0
    distance: Tensor | None = None  # (N,) in units of the source
    occupancy: Tensor | None = None  # (N,) in [0, 1]
    colour: Tensor | None = None  # (N, C)
    features: Tensor | None = None  # (N, F)


def _at(values: Tensor | None, index: Tensor) -> Tensor | None:
    return None if values is None else values[index]
