"""triplane: one plane of features for every two axes, summed (Chan et al. 2022; Cardace et al. 2024).

With `frequencies`, sines and cosines of the point stand beside the features.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.encoding import Tables
from polyfield.fields.parts.frequency import frequency_code, frequency_width
from polyfield.kernels import Levels


@dataclass(frozen=True)
class TriplaneOptions(NetworkOptions):
    resolution: int = option(256, 1 << 14, least=2)  # nodes along an axis
    features: int = option(16, 256)  # of each node
    frequencies: int = option(0, 16, least=0)  # octaves of sines and cosines beside the features


class Triplane(Tables):
    Options = TriplaneOptions
    size_option = "resolution"
    summed = True
    first = (-1e-3, 1e-3)
    rate = 8.0

    def __init__(self, dimensions: int, options: TriplaneOptions) -> None:
        nodes = options.resolution
        pairs = itertools.combinations(range(dimensions), 2)
        planes = tuple((Levels(((nodes, nodes),), nodes * nodes), axes) for axes in pairs)
        super().__init__((planes,), options.features)
        if options.frequencies:
            self.frequencies = options.frequencies
            self.width += frequency_width(dimensions, self.frequencies)

    @staticmethod
    def suited(resolution: int, dimensions: int) -> dict[str, Any]:
        return {"features": 8} if dimensions == 2 else {}

    def forward(self, unit: Tensor) -> Tensor:
        code = super().forward(unit)
        return torch.cat((code, frequency_code(unit, self.frequencies)), 1) if self.frequencies else code
