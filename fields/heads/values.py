"""ValueField: values alone, without directions: images, distances, occupancy, volumes."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.meaning import Meaning
from polyfield.fields.parts.growing import GrowingTables
from polyfield.fields.parts.trunk import CodeTrunk
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.stored import Maps, Values


class ValueField(EncodedField):
    """values = transform(trunk(code)), one for each of the meaning's channels."""

    trunk_stream = "network"

    @staticmethod
    def trunk_outputs(meaning: Meaning) -> int:
        return meaning.channels

    def raw_of(self, vector: Tensor) -> Tensor | None:
        return vector[..., 0] if vector.shape[-1] == 1 else None

    @torch.no_grad()
    def fill(self, values: Values, occupied: Tensor | None = None) -> Maps | None:
        """Store raw values at the nodes, if no network follows them."""
        if not (isinstance(self.encoding, GrowingTables) and isinstance(self.trunk, CodeTrunk)):
            return None
        maps = self.advance(1.0) or {}
        self._settle()
        x = self.meaning.domain.from_unit(self.encoding.nodes())
        stored = [values(Points(some))[0] for some in x.split(self.points_at_once)]
        self.encoding.tables[0].copy_(torch.cat(stored))
        return maps

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
