"""LatentRadiance: radiance by a density network, which is the trunk, and a colour network behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.meaning import Meaning
from polyfield.fields.parts.directions import spherical_harmonics
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.network import Layers
from polyfield.fields.parts.trunk import Trunk
from polyfield.fields.plan import ColourNetwork
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import Group

LATENT = 16  # numbers between the networks; the first is the raw density
DIRECTION_DEGREE = 4


class LatentRadiance(EncodedField):
    """latent = trunk(code); colour = sigmoid(colour network [latent, spherical harmonics of the direction])."""

    trunk_stream = "density"

    def __init__(self, spec: FieldSpec, options: Any, encoding: Encoding, trunk: Trunk) -> None:
        super().__init__(spec, options, encoding, trunk)
        self.colour = Layers(
            [LATENT + DIRECTION_DEGREE**2, *[options.width] * options.colour_layers, spec.meaning.channels]
        )

    @staticmethod
    def trunk_outputs(meaning: Meaning) -> int:
        return LATENT

    def raw_of(self, vector: Tensor) -> Tensor:
        return vector[..., 0]

    def head(self, features: Features, points: Points) -> FieldOutput:
        assert features.raw is not None and points.directions is not None
        harmonics = spherical_harmonics(points.directions, DIRECTION_DEGREE)
        colour = self.colour(torch.cat((features.vector, harmonics), -1)).sigmoid()
        return FieldOutput(
            raw=features.raw, density=self.density(features.raw), colour=colour, features=features.vector
        )

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        self.colour.initialise(seed, "colour")

    def parameter_groups(self) -> list[Group]:
        return [*super().parameter_groups(), *self.colour.groups("colour", orthogonal=True)]

    def plan_head(self) -> ColourNetwork:
        return ColourNetwork(tuple(self.colour.weights), DIRECTION_DEGREE)
