"""voxels: numbers at the nodes of a sparse grid, and no network (Fridovich-Keil, Yu et al. 2022, Plenoxels)."""

from __future__ import annotations

from dataclasses import dataclass

from polyfield.fields.architecture import Architecture
from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.heads.harmonic_radiance import HarmonicRadiance
from polyfield.fields.heads.values import ValueField
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import option
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.growing import GrowingTables
from polyfield.fields.parts.sparse import SparseGrid, whole_root
from polyfield.fields.parts.trunk import CodeTrunk


@dataclass(frozen=True)
class VoxelOptions:
    rows: int = option(1 << 18, 1 << 26, "largest number of stored nodes", least=28)
    nodes: int = option(256, 512, "largest number of nodes along each axis, for radiance", least=3)
    degree: int = option(
        2,
        4,
        "number of bands of the spherical harmonics, for radiance; a node stores degree^2 coefficients per channel",
    )


class ValueGrid(GrowingTables):
    """Values themselves at the nodes of a dense grid: there is no empty space to leave out."""

    initial_range = (-1e-4, 1e-4)
    rate = 5.0
    sparse = True

    def __init__(self, meaning: Meaning, options: VoxelOptions) -> None:
        nodes = whole_root(options.rows, meaning.axes)
        super().__init__(((tuple(range(meaning.axes)),),), nodes, meaning.channels)


def _encoding(meaning: Meaning, options: VoxelOptions) -> Encoding:
    if meaning.kind.directional:
        return SparseGrid(options.rows, options.nodes, 3 * options.degree**2)
    return ValueGrid(meaning, options)


def _head(meaning: Meaning) -> type[EncodedField]:
    return HarmonicRadiance if meaning.kind.directional else ValueField


def _refusal(meaning: Meaning) -> str | None:
    return "it has no time axis; use kplanes" if meaning.moving else None


ARCHITECTURE = Architecture(
    name="voxels",
    paper="Fridovich-Keil, Yu, Tancik, Chen, Recht, Kanazawa 2022: Plenoxels: Radiance Fields without Neural Networks",
    advice="For fields without a network, and for conversions in half a minute or less. Spherical harmonics give the colours. It stores no moving fields.",
    options=VoxelOptions,
    encoding=_encoding,
    size_option="rows",
    size_step=64,
    refusal=_refusal,
    trunk=CodeTrunk,
    head=_head,
)
