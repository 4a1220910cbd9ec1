"""cp: a tensor as a sum of products of one line for each axis (Chen et al. 2022, TensoRF-CP)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polyfield.fields.architecture import Architecture, Extent
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.growing import GrowingTables


@dataclass(frozen=True)
class CpOptions(NetworkOptions):
    resolution: int = option(
        256, 1 << 14, "nodes along each axis at the end of the fit; the fit starts with fewer nodes", least=2
    )
    rank: int = option(96, 1024, "number of products; each product multiplies one line per axis")


class Cp(GrowingTables):
    """With no hidden layers the network sums the products, as TensoRF does."""

    initial_range = (-0.4, 0.4)
    rate = 3.0

    def __init__(self, meaning: Meaning, options: CpOptions) -> None:
        axes = meaning.axes
        super().__init__((tuple((axis,) for axis in range(axes)),), options.resolution, options.rank)


def _suited(extent: Extent) -> dict[str, Any]:
    """Return options for a source of this extent. Measured."""
    return {"resolution": min(max(extent.resolution, 2), 1 << 14)}


ARCHITECTURE = Architecture(
    name="cp",
    paper="Chen, Xu, Geiger, Yu, Su 2022: TensoRF: Tensorial Radiance Fields",
    advice="For very small files.",
    options=CpOptions,
    encoding=Cp,
    size_option="rank",
    size_step=8,
    size_limit=256,  # the most codes that fused kernels read
    suited=_suited,
)
