"""kplanes: a plane of features for every two axes at several resolutions, multiplied (Fridovich-Keil et al. 2023, K-Planes)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from polyfield.fields.architecture import Architecture
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.tables import Tables
from polyfield.kernels import Levels


@dataclass(frozen=True)
class KPlanesOptions(NetworkOptions):
    levels: int = option(3, 16)
    coarsest: int = option(64, 1 << 14, least=2)  # nodes along an axis
    finest: int = option(256, 1 << 14, least=2)
    features: int = option(16, 256)  # of each node


class KPlanes(Tables):
    initial_range = (0.1, 0.5)
    rate = 8.0

    def __init__(self, axes: int, options: KPlanesOptions) -> None:
        coarsest = min(options.coarsest, options.finest)
        levels = Levels.geometric(options.levels, coarsest, options.finest, 2, options.finest**2)
        pairs = itertools.combinations(range(axes), 2)
        super().__init__((tuple((levels, pair) for pair in pairs),), options.features)


def _suited(resolution: int, axes: int) -> dict[str, Any]:
    """Return options for a source of this resolution. Measured."""
    return {"features": 8} if axes == 2 else {}


ARCHITECTURE = Architecture(
    name="kplanes",
    paper="Fridovich-Keil, Meanti, Warburg, Recht, Kanazawa 2023: K-Planes: Explicit Radiance Fields in Space, Time, and Appearance",
    options=KPlanesOptions,
    encoding=KPlanes,
    size_option="finest",
    suited=_suited,
)
