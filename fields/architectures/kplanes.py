"""kplanes: a plane of features for every two axes at several resolutions, multiplied (Fridovich-Keil et al. 2023, K-Planes)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from polyfield.fields.architecture import Architecture, Extent
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.tables import TIME, Tables
from polyfield.kernels import Levels


@dataclass(frozen=True)
class KPlanesOptions(NetworkOptions):
    levels: int = option(3, 16, "number of levels of different resolution")
    coarsest: int = option(64, 1 << 14, "nodes along each axis of the coarsest level", least=2)
    finest: int = option(256, 1 << 14, "nodes along each axis of the finest level", least=2)
    features: int = option(16, 256, "features per node")
    time_nodes: int = option(
        12, 1 << 12, "largest number of nodes along the time axis, for moving fields", least=2
    )


class KPlanes(Tables):
    initial_range = (0.1, 0.5)
    rate = 8.0

    def __init__(self, meaning: Meaning, options: KPlanesOptions) -> None:
        axes = meaning.axes
        self.time_axis = axes - 1 if meaning.moving else axes
        coarsest = min(options.coarsest, options.finest)
        space = Levels.geometric(options.levels, coarsest, options.finest, 2, options.finest**2)
        over_time = space.capped(1, options.time_nodes)
        pairs = itertools.combinations(range(axes), 2)
        planes = tuple((over_time if self.time_axis in pair else space, pair) for pair in pairs)
        super().__init__((planes,), options.features)


def _suited(extent: Extent) -> dict[str, Any]:
    """Return options for a source of this extent. Measured."""
    if extent.is_video:
        return {"features": 24, "time_nodes": min(max(-(-extent.times // 4), 2), 1 << 12)}
    if extent.axes > TIME:  # six planes: smaller ones take more steps, and share more between times
        nodes = min(max(round(extent.times / 6), 2), 12)  # more would learn the times by heart
        return {"levels": 2, "coarsest": 32, "finest": 128, "features": 8, "time_nodes": nodes}
    return {"features": 8} if extent.axes == 2 else {}


ARCHITECTURE = Architecture(
    name="kplanes",
    paper="Fridovich-Keil, Meanti, Warburg, Recht, Kanazawa 2023: K-Planes: Explicit Radiance Fields in Space, Time, and Appearance",
    advice="The default for videos. Also a good choice for moving scenes, and if the planes are to be inspected as images. The features of all planes of a level are multiplied.",
    options=KPlanesOptions,
    encoding=KPlanes,
    size_option="finest",
    suited=_suited,
)
