"""kplanes: a plane of features for every two axes at several resolutions, multiplied (Fridovich-Keil et al. 2023, K-Planes)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.encoding import Tables
from polyfield.kernels import Levels


@dataclass(frozen=True)
class KPlanesOptions(NetworkOptions):
    levels: int = option(3, 16)
    coarsest: int = option(64, 1 << 14, least=2)  # nodes along an axis
    finest: int = option(256, 1 << 14, least=2)
    features: int = option(16, 256)  # of each node


class KPlanes(Tables):
    Options = KPlanesOptions
    size_option = "finest"
    first = (0.1, 0.5)
    rate = 8.0

    def __init__(self, dimensions: int, options: KPlanesOptions) -> None:
        coarsest = min(options.coarsest, options.finest)
        levels = Levels.geometric(options.levels, coarsest, options.finest, 2, options.finest**2)
        pairs = itertools.combinations(range(dimensions), 2)
        super().__init__((tuple((levels, axes) for axes in pairs),), options.features)

    @staticmethod
    def suited(resolution: int, dimensions: int) -> dict[str, Any]:
        return {"features": 8} if dimensions == 2 else {}
