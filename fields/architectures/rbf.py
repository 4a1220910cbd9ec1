"""rbf: radial basis functions that are placed where the source has detail, beside a grid (Chen et al. 2023, NeuRBF)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields.architecture import Architecture, Extent, head_of
from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.heads.kernel_radiance import KernelRadiance
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, choice, option
from polyfield.fields.parts.composed_trunk import ComposedTrunk
from polyfield.fields.parts.factor import Factor
from polyfield.fields.parts.radial import RadialKernels
from polyfield.fields.parts.tables import Tables
from polyfield.fields.parts.trunk import NetworkTrunk, Trunk
from polyfield.fields.stored import Group, Importance
from polyfield.kernels import Levels, Radial

# Lowest and highest frequency of the sines, as published: of kernels, of pictures and of all else; of the network.
_KERNEL_BAND = {2: (0.125, 4096.0), 3: (1.0, 8.0)}
_NETWORK_BAND = {2: (1.0, 1000.0), 3: (30.0, 300.0)}


@dataclass(frozen=True)
class RbfOptions(NetworkOptions):
    kernels: int = option(16384, 1 << 20, "number of radial basis functions (kernels)", least=16)
    features: int = option(
        16,
        64,
        "features per kernel; radiance ignores this option and always has 15",
    )
    shape: str = choice(
        "inverse",
        "linear",
        about="function of the offset from the centre of a kernel, in units of its width. `inverse`: 1 / (1 + d^2) at distance d. `linear`: the product of max(0, 1 - abs(x)) over the coordinates x of the offset",
    )
    sines: str = choice(
        "none",
        "both",
        "kernels",
        "network",
        about="where sines of many frequencies are applied: nowhere (`none`), to the values of the kernels (`kernels`), to the outputs of the first layer of the network (`network`), or to `both`. Radiance allows only `none`",
    )
    levels: int = option(8, 32, "number of levels of the hash grid that is used together with the kernels")
    grid_features: int = option(4, 8, "features per table entry of the grid")
    entries_per_kernel: int = option(
        16,
        256,
        "size of the tables of the grid: a level has at most `entries_per_kernel` times `kernels` entries",
    )
    coarsest: int = option(16, 1 << 16, "nodes along each axis of the coarsest level of the grid", least=2)
    finest: int = option(1024, 1 << 16, "nodes along each axis of the finest level of the grid", least=2)


class Grid(Tables):
    """The grid alone: codes of radiance, whose kernels are in the head."""

    initial_range = (-1e-4, 1e-4)
    rate = 8.0
    sparse = True

    def __init__(self, meaning: Meaning, options: RbfOptions) -> None:
        coarsest, axes = min(options.coarsest, options.finest), meaning.axes
        most = options.entries_per_kernel * options.kernels
        levels = Levels.geometric(options.levels, coarsest, options.finest, axes, most)
        super().__init__((((levels, tuple(range(axes))),),), options.grid_features)


class KernelsAndGrid(Grid):
    """Codes of the grid, and beside them sums of kernels."""

    def __init__(self, meaning: Meaning, options: RbfOptions) -> None:
        super().__init__(meaning, options)
        band = _KERNEL_BAND[meaning.axes] if options.sines in ("both", "kernels") else None
        linear = options.shape == "linear"
        self.kernels = RadialKernels(
            meaning.axes, options.kernels, options.features, linear=linear, band=band
        )
        self.width += options.features
        if options.sines in ("both", "network"):
            self.rate = 1.0  # sines of high frequencies follow the grid's codes

    def forward(self, unit: Tensor) -> Tensor:
        return torch.cat((super().forward(unit), self.kernels(unit)), -1)

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        self.kernels.initialise(seed)

    def place(self, importance: Importance, seed: int) -> None:
        self.kernels.place(importance, seed)

    def parameter_groups(self) -> list[Group]:
        kernels = [group.inside("kernels") for group in self.kernels.parameter_groups()]
        return [*super().parameter_groups(), *kernels]

    def factors(self) -> tuple[tuple[Factor, ...], ...] | None:
        return None if self.kernels.band else super().factors()

    def functions(self) -> Radial:
        return self.kernels.radial()


def _encoding(meaning: Meaning, options: RbfOptions) -> Grid:
    return Grid(meaning, options) if meaning.kind.directional else KernelsAndGrid(meaning, options)


def _trunk(inputs: int, outputs: int, options: RbfOptions, meaning: Meaning) -> Trunk:
    if meaning.kind.directional and options.sines != "none":
        raise PolyfieldError(
            f"rbf: option sines is {options.sines!r}, but kernels of {meaning.signal} fields have no sines; use 'none'"
        )
    if options.sines in ("both", "network"):
        return ComposedTrunk(inputs, outputs, options, _NETWORK_BAND[meaning.axes])
    return NetworkTrunk(inputs, outputs, options, meaning)


def _head(meaning: Meaning) -> type[EncodedField]:
    return KernelRadiance if meaning.kind.directional else head_of(meaning)


def _suited(extent: Extent) -> dict[str, Any]:
    """Return options for a source of this extent."""
    # Sines need many more steps: benchmarks/notes.md.
    common = {"features": 8, "grid_features": 2}
    if extent.axes == 2:
        return {**common, "finest": min(max(extent.resolution, 16), 1 << 16)}
    finest = min(max(extent.resolution // 4, 16), 1 << 16)
    return {**common, "layers": 2, "shape": "linear", "levels": 4, "entries_per_kernel": 8, "finest": finest}


def _refusal(meaning: Meaning) -> str | None:
    return "it has no time axis; use kplanes" if meaning.moving else None


ARCHITECTURE = Architecture(
    name="rbf",
    paper="Chen, Li, Song, Chen, Yu, Yuan, Xu 2023: NeuRBF: A Neural Fields Representation with Adaptive Radial Basis Functions",
    advice="For images and shapes with uneven detail. At equal size, it needs fewer training steps than `hashgrid` for the same quality, but a step takes longer. It stores no moving fields.",
    options=RbfOptions,
    encoding=_encoding,
    size_option="kernels",
    suited=_suited,
    refusal=_refusal,
    trunk=_trunk,
    head=_head,
)
