"""LatentRadiance: radiance fields of the form encode -> density network -> colour network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyfield.fields.field import Group
from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.options import NetworkOptions
from polyfield.fields.parts.directions import spherical_harmonics
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.network import Layers
from polyfield.fields.plan import Plan
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.spec import FieldSpec

LATENT = 16  # numbers between the networks; the first is the raw density
DIRECTION_DEGREE = 4


class RadianceNetworks(nn.Module):
    """The density network of a code of `inputs` numbers, and the colour network behind it."""

    def __init__(self, inputs: int, options: NetworkOptions) -> None:
        super().__init__()
        density = [inputs, *[options.width] * options.layers, LATENT]
        colour = [LATENT + DIRECTION_DEGREE**2, *[options.width] * options.colour_layers, 3]
        self.density, self.colour = Layers(density, options.activation), Layers(colour)


class LatentRadiance(EncodedField):
    """latent = density network (code); colour = sigmoid(colour network [latent, harmonics of the direction])."""

    def __init__(self, spec: FieldSpec, options: NetworkOptions, encoding: Encoding) -> None:
        super().__init__(spec, encoding)
        self.networks = RadianceNetworks(encoding.width, options)

    def features(self, points: Points) -> Features:
        latent = self.networks.density(self.encode(points))
        return Features(latent[:, 0], latent)

    def raw(self, points: Points) -> Tensor:
        raw = self.features(points).raw
        assert raw is not None
        return raw

    def head(self, features: Features, points: Points) -> FieldOutput:
        assert features.raw is not None and points.directions is not None
        harmonics = spherical_harmonics(points.directions, DIRECTION_DEGREE)
        colour = self.networks.colour(torch.cat((features.vector, harmonics), -1)).sigmoid()
        return FieldOutput(
            raw=features.raw, density=self.density(features.raw), colour=colour, features=features.vector
        )

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        self.networks.density.initialise(seed, "density")
        self.networks.colour.initialise(seed, "colour")

    def parameter_groups(self) -> list[Group]:
        density = Group("network", dict(self.networks.density.named_parameters()), 1.0, 1.0)
        colour = Group("head", dict(self.networks.colour.named_parameters()), 1.0, 1.0)
        networks = [density.inside("networks.density"), colour.inside("networks.colour")]
        return [*super().parameter_groups(), *networks]

    def plan(self) -> Plan | None:
        groups = self.encoding.factors()
        density, colour = self.networks.density, self.networks.colour
        if groups is None or density.sine:
            return None
        return Plan(
            domain=self.spec.domain,
            groups=groups,
            summed=self.encoding.summed,
            density_layers=tuple(density.weights),
            colour_layers=tuple(colour.weights),
            direction_degree=DIRECTION_DEGREE,
            transform=self.spec.transform,
            density_unit=self.spec.domain.density_unit,
            frequencies=self.encoding.frequencies,
        )
