"""vm: a tensor as sums of products of a plane and a line, for each of the three ways to part the axes (Chen et al. 2022, TensoRF)."""

from __future__ import annotations

from dataclasses import dataclass

from polyfield.fields.architecture import Architecture
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.growing import GrowingTables


@dataclass(frozen=True)
class VmOptions(NetworkOptions):
    resolution: int = option(
        192, 1 << 14, "nodes along each axis at the end of the fit; the fit starts with fewer nodes", least=2
    )
    rank: int = option(
        16, 256, "number of products of a plane and a line, for each of the three ways to split the axes"
    )


class Vm(GrowingTables):
    """With no hidden layers the network sums the products, as TensoRF does."""

    initial_range = (-0.2, 0.2)

    def __init__(self, meaning: Meaning, options: VmOptions) -> None:
        parts = tuple((tuple(a for a in range(3) if a != line), (line,)) for line in range(3))
        super().__init__(parts, options.resolution, options.rank)


def _refusal(meaning: Meaning) -> str | None:
    return None if meaning.axes == 3 else f"it needs three axes, but the field has {meaning.axes}; use cp"


ARCHITECTURE = Architecture(
    name="vm",
    paper="Chen, Xu, Geiger, Yu, Su 2022: TensoRF: Tensorial Radiance Fields",
    advice="For small files of high quality: of shapes, and of scenes if a longer fit is acceptable. It needs three axes, so it stores neither images nor moving scenes.",
    options=VmOptions,
    encoding=Vm,
    size_option="resolution",
    refusal=_refusal,
)
