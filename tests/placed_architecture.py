"""An architecture that brings its own trunk and places its structure: what a later file in fields/architectures/ looks like.

Codes are Gaussians round centres that are drawn by importance; the trunk scales them by a wave of the point.
"""

from dataclasses import dataclass

import torch
from torch import nn

from polyfield.fields.architecture import Architecture
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.initial import uniform_init
from polyfield.fields.parts.trunk import NetworkTrunk
from polyfield.fields.stored import Group
from polyfield.kernels import uniform


@dataclass(frozen=True)
class PlacedOptions(NetworkOptions):
    kernels: int = option(64, 1024, "number of kernels")


class Placed(Encoding):
    def __init__(self, meaning, options: PlacedOptions) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(options.kernels, meaning.axes))
        self.heights = nn.Parameter(torch.empty(options.kernels))
        self.width = options.kernels

    def forward(self, unit):
        away = torch.cdist(unit, self.centres)
        return torch.exp(-((away * 10) ** 2)) * self.heights

    def initialise(self, seed):
        uniform_init(self.heights, 1.0, seed=seed, name="heights")
        self.centres.copy_(uniform(self.centres.shape, seed=seed, stream="centres"))

    def place(self, importance, seed):
        candidates = uniform((4096, self.centres.shape[1]), seed=seed, stream="candidates")
        found = importance(candidates).clamp(min=0) + 1e-9
        share = uniform((len(self.centres),), seed=seed, stream="chosen") * found.sum()
        self.centres.copy_(candidates[torch.searchsorted(found.cumsum(0), share).clamp(max=4095)])

    def parameter_groups(self):
        return [Group({"heights": self.heights}, 1.0, 0.0)]


class WaveTrunk(NetworkTrunk):
    """A network that gets the point beside the code."""

    def __init__(self, inputs, outputs, options, meaning) -> None:
        super().__init__(inputs, outputs, options, meaning)
        self.wave = nn.Parameter(torch.empty(1))

    def forward(self, code, points):
        return super().forward(code * (1 + self.wave * torch.sin(points.x.sum(-1, keepdim=True))), points)

    def initialise(self, seed, name):
        super().initialise(seed, name)
        uniform_init(self.wave, 0.1, seed=seed, name=f"{name}.wave")

    def parameter_groups(self):
        return [*super().parameter_groups(), Group({"wave": self.wave}, 1.0, 0.0)]

    def plan(self):
        return None


ARCHITECTURE = Architecture(
    name="placed",
    paper="none: of the tests",
    advice="In tests.",
    options=PlacedOptions,
    encoding=Placed,
    size_option="kernels",
    trunk=WaveTrunk,
)
