"""hashgrid: multi-resolution hashed tables and small networks (Mueller et al. 2022, instant-ngp)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polyfield.fields.field import Group, option, uniform_init
from polyfield.fields.latent_radiance import LatentRadiance
from polyfield.fields.plan import Plan
from polyfield.fields.radiance_head import DIRECTION_DEGREE, HeadSizes
from polyfield.fields.spec import FieldSpec
from polyfield.kernels import Levels, interpolate


@dataclass(frozen=True)
class HashGridOptions:
    levels: int = option(8, 32)
    features: int = option(4, 8)  # of each entry
    log2_size: int = option(19, 26)  # entries of a hashed level
    coarsest: int = option(16, 1 << 16)  # nodes along an axis
    finest: int = option(1024, 1 << 16)
    width: int = option(64, 1024)  # of both networks
    density_layers: int = option(1, 16)  # hidden
    colour_layers: int = option(2, 16)  # hidden


class HashGrid(LatentRadiance):
    Options = HashGridOptions

    def __init__(self, spec: FieldSpec, options: HashGridOptions) -> None:
        sizes = HeadSizes(options.width, options.density_layers, options.colour_layers)
        super().__init__(spec, options, options.levels * options.features, sizes)
        self.levels = Levels.geometric(
            options.levels, options.coarsest, options.finest, spec.domain.dimensions, 1 << options.log2_size
        )
        self.table = nn.Parameter(torch.empty(self.levels.entries, options.features))

    def encode(self, unit: Tensor) -> Tensor:
        return interpolate(self.table, unit, self.levels)

    def initialise(self, seed: int) -> None:
        super().initialise(seed)
        uniform_init(self.table, 1e-4, seed=seed, name="table")

    def parameter_groups(self) -> list[Group]:
        return [Group("encoding", {"table": self.table}, 8.0, 0.0, sparse=True), *self.network_groups()]

    def plan(self) -> Plan:
        return Plan(
            domain=self.spec.domain,
            table=self.table,
            levels=self.levels,
            density_layers=tuple(self.networks.density.weights),
            colour_layers=tuple(self.networks.colour.weights),
            direction_degree=DIRECTION_DEGREE,
            transform=self.spec.transform,
            density_unit=self.spec.domain.density_unit,
        )
