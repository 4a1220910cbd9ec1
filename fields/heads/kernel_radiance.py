"""KernelRadiance: radiance whose latent vectors have sums of radial basis functions added, but for the density."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.nn.functional import pad

from polyfield.fields.heads.latent_radiance import LATENT, LatentRadiance
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.radial import RadialKernels
from polyfield.fields.parts.trunk import Trunk
from polyfield.fields.plan import RadialColours
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import Group, Importance


class KernelRadiance(LatentRadiance):
    """colour = sigmoid(colour network [latent + (0, kernels(x)), spherical harmonics of the direction]).

    Kernels serve colours alone (Chen et al. 2023, NeuRBF, section 4.3), so only samples that are seen need them.
    """

    def __init__(self, spec: FieldSpec, options: Any, encoding: Encoding, trunk: Trunk) -> None:
        super().__init__(spec, options, encoding, trunk)
        linear, axes = options.shape == "linear", spec.meaning.axes
        self.kernels = RadialKernels(axes, options.kernels, LATENT - 1, linear=linear, band=None)

    def head(self, features: Features, points: Points) -> FieldOutput:
        vector = features.vector + pad(self.kernels(self.unit(points)), (1, 0))
        return super().head(replace(features, vector=vector), points)

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        self.kernels.initialise(seed)

    def place(self, importance: Importance, seed: int) -> None:
        self.kernels.place(self.in_unit(importance), seed)

    def parameter_groups(self) -> list[Group]:
        kernels = [group.inside("kernels") for group in self.kernels.parameter_groups()]
        return [*super().parameter_groups(), *kernels]

    def plan_head(self) -> RadialColours:
        network = super().plan_head()
        return RadialColours(network.layers, network.degree, self.kernels.radial())
