"""densegrid: tables with an entry for every node, at several resolutions or at one (Mubarik et al. 2023, NGPC)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polyfield.fields.architecture import Architecture, Extent
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.tables import TIME, Tables
from polyfield.kernels import Levels


@dataclass(frozen=True)
class DenseGridOptions(NetworkOptions):
    levels: int = option(4, 32, "number of levels of different resolution")
    features: int = option(4, 8, "features per node")
    coarsest: int = option(
        16, 1 << 12, "nodes along each axis of the coarsest level; unused with one level", least=2
    )
    finest: int = option(128, 1 << 14, "nodes along each axis of the finest level", least=2)


class DenseGrid(Tables):
    initial_range = (-1e-4, 1e-4)
    rate = 8.0
    sparse = True

    def __init__(self, meaning: Meaning, options: DenseGridOptions) -> None:
        axes = meaning.axes
        coarsest = min(options.coarsest, options.finest) if options.levels > 1 else options.finest
        size = options.finest**axes
        levels = Levels.geometric(options.levels, coarsest, options.finest, axes, size)
        super().__init__((((levels, tuple(range(axes))),),), options.features)


def _suited(extent: Extent) -> dict[str, Any]:
    """Return options for a source of this extent."""
    # Four axes have many nodes.
    return {"levels": 2, "coarsest": 12, "finest": 32} if extent.axes > TIME else {}


ARCHITECTURE = Architecture(
    name="densegrid",
    paper="Mubarik, Kanungo, Zirr, Kumar 2023: Hardware Acceleration of Neural Graphics (NGPC)",
    advice="For sources of low resolution, and for volumes, which have values everywhere. There are no hash collisions. At equal size, it takes more training steps per second than `hashgrid`.",
    options=DenseGridOptions,
    encoding=DenseGrid,
    size_option="finest",
    suited=_suited,
)
