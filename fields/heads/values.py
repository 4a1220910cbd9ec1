"""ValueField: values alone, without directions: images, distances, occupancy, volumes."""

from __future__ import annotations

from torch import Tensor

from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.meaning import Meaning
from polyfield.fields.points import Features, FieldOutput, Points


class ValueField(EncodedField):
    """values = transform(trunk(code)), one for each of the meaning's channels."""

    trunk_stream = "network"

    @staticmethod
    def trunk_outputs(meaning: Meaning) -> int:
        return meaning.channels

    def raw_of(self, vector: Tensor) -> Tensor | None:
        return vector[..., 0] if vector.shape[-1] == 1 else None

    def head(self, features: Features, points: Points) -> FieldOutput:
        values = self.meaning.transform(features.vector)
        output = self.meaning.kind.output
        return FieldOutput(
            raw=features.raw,
            distance=values[..., 0] if output == "distance" else None,
            occupancy=values[..., 0] if output == "occupancy" else None,
            colour=values if output == "colour" else None,
            features=features.vector,
        )
