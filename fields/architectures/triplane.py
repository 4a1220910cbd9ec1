"""triplane: one plane of features for every two axes, summed (Chan et al. 2022; Cardace et al. 2024).

With `frequencies`, sines and cosines of the point are concatenated to the features.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.fields.architecture import Architecture, Extent
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.frequency import frequency_code, frequency_width
from polyfield.fields.parts.tables import Tables
from polyfield.kernels import Levels


@dataclass(frozen=True)
class TriplaneOptions(NetworkOptions):
    resolution: int = option(256, 1 << 14, "nodes along each axis of a plane", least=2)
    features: int = option(16, 256, "features per node")
    frequencies: int = option(
        0,
        16,
        "octaves of sines and cosines of the coordinates that are concatenated with the features",
        least=0,
    )


class Triplane(Tables):
    summed = True
    initial_range = (-1e-3, 1e-3)
    rate = 8.0

    def __init__(self, meaning: Meaning, options: TriplaneOptions) -> None:
        axes = meaning.axes
        nodes = options.resolution
        pairs = itertools.combinations(range(axes), 2)
        planes = tuple((Levels(((nodes, nodes),), nodes * nodes), pair) for pair in pairs)
        super().__init__((planes,), options.features)
        if options.frequencies:
            self.frequencies = options.frequencies
            self.width += frequency_width(axes, self.frequencies)

    def forward(self, unit: Tensor) -> Tensor:
        code = super().forward(unit)
        return torch.cat((code, frequency_code(unit, self.frequencies)), -1) if self.frequencies else code


def _suited(extent: Extent) -> dict[str, Any]:
    """Return options for a source of this extent. Measured."""
    return {"features": 8} if extent.axes == 2 else {}


ARCHITECTURE = Architecture(
    name="triplane",
    paper="Chan, Lin, Chan et al. 2022: Efficient Geometry-aware 3D Generative Adversarial Networks",
    advice="For fields that other networks take as input. Axis-aligned planes store the features, and the features of all planes are summed.",
    options=TriplaneOptions,
    encoding=Triplane,
    size_option="resolution",
    suited=_suited,
)
