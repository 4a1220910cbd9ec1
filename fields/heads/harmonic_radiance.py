"""HarmonicRadiance: radiance straight from the code: a raw density and spherical harmonics of colours."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.meaning import Meaning
from polyfield.fields.parts.sparse import SparseGrid
from polyfield.fields.parts.trunk import Trunk
from polyfield.fields.plan import Harmonics
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.spec import FieldSpec


class HarmonicRadiance(EncodedField):
    """colour = sigmoid(sum_k c_k Y_k(direction)), with degree^2 coefficients c_k for each channel behind the raw density.

    `Harmonics` has the Y_k.
    """

    encoding: SparseGrid

    def __init__(self, spec: FieldSpec, options: Any, encoding: SparseGrid, trunk: Trunk) -> None:
        super().__init__(spec, options, encoding, trunk)
        self._degree = options.degree

    @staticmethod
    def trunk_outputs(meaning: Meaning) -> int:
        return 1  # and as many coefficients as the code has

    def raw_of(self, vector: Tensor) -> Tensor:
        return vector[..., 0]

    def raw(self, points: Points) -> Tensor:
        raw, empty = self.encoding.density(self.unit(points)), self._empty(points)
        return raw if empty is None else raw.masked_fill(empty, self.meaning.transform.clamp[0])

    def head(self, features: Features, points: Points) -> FieldOutput:
        assert features.raw is not None and points.directions is not None
        channels, count = self.meaning.channels, self._degree**2
        harmonics = Harmonics(self._degree).basis(points.directions)
        coefficients = features.vector[..., 1 : 1 + channels * count].unflatten(-1, (channels, count))
        colour = (coefficients * harmonics[..., None, :]).sum(-1).sigmoid()
        return FieldOutput(
            raw=features.raw, density=self.density(features.raw), colour=colour, features=features.vector
        )

    def plan_head(self) -> Harmonics:
        return Harmonics(self._degree)
