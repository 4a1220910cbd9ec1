"""mlp: a frequency encoding and fully connected layers (Mildenhall et al. 2020, NeRF)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.fields.field import Group, option
from polyfield.fields.latent_radiance import LatentRadiance
from polyfield.fields.radiance_head import HeadSizes
from polyfield.fields.spec import FieldSpec


@dataclass(frozen=True)
class MlpOptions:
    frequencies: int = option(8, 32)  # octaves of sine and cosine on each axis
    width: int = option(128, 1024)  # of both networks
    density_layers: int = option(4, 16)  # hidden
    colour_layers: int = option(1, 16)  # hidden


class Mlp(LatentRadiance):
    Options = MlpOptions
    learning_rate = 1e-3

    def __init__(self, spec: FieldSpec, options: MlpOptions) -> None:
        inputs = spec.domain.dimensions * (1 + 2 * options.frequencies)
        super().__init__(
            spec, options, inputs, HeadSizes(options.width, options.density_layers, options.colour_layers)
        )
        self.frequencies = options.frequencies

    def encode(self, unit: Tensor) -> Tensor:
        """[p, sin(2^k pi p), cos(2^k pi p)] for k < frequencies, of p = 2 unit - 1."""
        centred = unit * 2 - 1
        octaves = math.pi * torch.exp2(torch.arange(self.frequencies, device=unit.device))
        angles = (centred[:, None, :] * octaves[:, None]).flatten(1)
        return torch.cat((centred, angles.sin(), angles.cos()), -1)

    def parameter_groups(self) -> list[Group]:
        return self.network_groups()
