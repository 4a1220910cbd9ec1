"""LatentRadiance: the query of every radiance field of the form encode -> density network -> colour network."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

from polyfield.fields.field import Field, Group
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.radiance_head import HeadSizes, RadianceNetworks
from polyfield.fields.spec import FieldSpec


class LatentRadiance(Field):
    """Subclasses give `encode` and the groups of what it uses."""

    def __init__(self, spec: FieldSpec, options: Any, inputs: int, sizes: HeadSizes) -> None:
        super().__init__(spec, options)
        self.networks = RadianceNetworks(inputs, sizes)

    @abstractmethod
    def encode(self, unit: Tensor) -> Tensor:
        """Points (N, D) of the unit cube to codes (N, C)."""

    def features(self, points: Points) -> Features:
        latent = self.networks.density(self.encode(self.spec.domain.to_unit(points.x)))
        return Features(latent[:, 0], latent)

    def raw(self, points: Points) -> Tensor:
        raw = self.features(points).raw
        assert raw is not None
        return raw

    def head(self, features: Features, points: Points) -> FieldOutput:
        assert features.raw is not None and points.directions is not None
        colour = self.networks.colours(features.vector, points.directions)
        return FieldOutput(
            raw=features.raw, density=self.density(features.raw), colour=colour, features=features.vector
        )

    def network_groups(self) -> list[Group]:
        """The two networks, with decay."""
        named = dict(self.networks.named_parameters(prefix="networks"))
        density = {name: p for name, p in named.items() if ".density." in name}
        colour = {name: p for name, p in named.items() if ".colour." in name}
        return [Group("network", density, 1.0, 1.0), Group("head", colour, 1.0, 1.0)]

    def initialise(self, seed: int) -> None:
        self.networks.initialise(seed)
