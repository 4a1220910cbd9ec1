"""hashgrid: multi-resolution hashed tables (Mueller et al. 2022, instant-ngp)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polyfield.fields.architecture import Architecture, Extent
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.tables import TIME, Tables
from polyfield.kernels import Levels


@dataclass(frozen=True)
class HashGridOptions(NetworkOptions):
    levels: int = option(8, 32, "number of levels of different resolution")
    features: int = option(4, 8, "features per table entry")
    entries: int = option(
        1 << 19,
        1 << 26,
        "largest number of table entries per level; levels with more nodes are hashed",
    )
    coarsest: int = option(16, 1 << 16, "nodes along each axis of the coarsest level", least=2)
    finest: int = option(1024, 1 << 16, "nodes along each axis of the finest level", least=2)
    time_nodes: int = option(
        12, 1 << 12, "largest number of nodes along the time axis, for moving fields", least=2
    )


class HashGrid(Tables):
    initial_range = (-1e-4, 1e-4)
    rate = 8.0
    sparse = True

    def __init__(self, meaning: Meaning, options: HashGridOptions) -> None:
        axes = meaning.axes
        levels = Levels.geometric(options.levels, options.coarsest, options.finest, axes, options.entries)
        if meaning.moving:
            levels = levels.capped(axes - 1, options.time_nodes)
        super().__init__((((levels, tuple(range(axes))),),), options.features)


def _suited(extent: Extent) -> dict[str, Any]:
    """Return options for a source of this extent. Measured."""
    resolution = extent.resolution
    if extent.is_video:
        return {
            "levels": 10,
            "features": 2,
            "finest": min(max(resolution, 16), 1 << 16),
            "time_nodes": min(max(-(-extent.times // 4), 2), 1 << 12),
        }
    if extent.axes > TIME:
        return {"features": 2, "entries": 1 << 17, "finest": 256}
    # A small table of a volume serves few levels best: more would share it.
    levels, nodes = (8, resolution) if extent.axes == 2 else (5, resolution // 2)
    return {"levels": levels, "features": 2, "finest": min(max(nodes, 16), 1 << 16)}


ARCHITECTURE = Architecture(
    name="hashgrid",
    paper="Mueller, Evans, Schied, Keller 2022: Instant Neural Graphics Primitives with a Multiresolution Hash Encoding",
    advice="The default for all sources except videos. In short fits to scenes, shapes and images, it is often among the best architectures.",
    options=HashGridOptions,
    encoding=HashGrid,
    size_option="entries",
    size_step=16,
    suited=_suited,
)
