"""ValueField: fields whose points have values and no more: images, distances, occupancy, volumes."""

from __future__ import annotations

from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields.field import Group
from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.options import NetworkOptions
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.network import Layers
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.signals import signal
from polyfield.fields.spec import FieldSpec


class ValueField(EncodedField):
    """values = transform(network (code)), as many as the spec has channels."""

    def __init__(self, spec: FieldSpec, options: NetworkOptions, encoding: Encoding) -> None:
        super().__init__(spec, encoding)
        self.network = Layers(
            [encoding.width, *[options.width] * options.layers, spec.channels], options.activation
        )

    def features(self, points: Points) -> Features:
        values = self.network(self.encode(points))
        return Features(values[:, 0] if values.shape[1] == 1 else None, values)

    def raw(self, points: Points) -> Tensor:
        raw = self.features(points).raw
        if raw is None:
            raise PolyfieldError(
                f"raw: a point of this {self.spec.signal} has {self.spec.channels} values and none of them stands "
                "for the rest; ask query for its colour"
            )
        return raw

    def head(self, features: Features, points: Points) -> FieldOutput:
        values = self.spec.transform(features.vector)
        kind = signal(self.spec.signal).output
        return FieldOutput(
            raw=features.raw,
            distance=values[:, 0] if kind == "distance" else None,
            occupancy=values[:, 0] if kind == "occupancy" else None,
            colour=values if kind == "colour" else None,
            features=features.vector,
        )

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        self.network.initialise(seed, "network")

    def parameter_groups(self) -> list[Group]:
        group = Group("network", dict(self.network.named_parameters()), 1.0, 1.0)
        return [*super().parameter_groups(), group.inside("network")]
