"""The networks that latent radiance fields share: code -> density and latent; latent and direction -> colour."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from polyfield.fields.directions import spherical_harmonics
from polyfield.fields.field import uniform_init
from polyfield.kernels import mlp

LATENT = 16  # numbers between the networks; the first is the raw density
DIRECTION_DEGREE = 4


class Layers(nn.Module):
    """The weights of a fully connected network without biases, ReLU between its layers."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        pairs = itertools.pairwise(sizes)
        self.weights = nn.ParameterList(torch.empty(size_out, size_in) for size_in, size_out in pairs)

    def forward(self, x: Tensor) -> Tensor:
        return mlp(x, list(self.weights))

    def initialise(self, seed: int, name: str) -> None:
        """Uniform with the variance that keeps a ReLU network's signal alive (He et al. 2015)."""
        for layer, weight in enumerate(self.weights):
            uniform_init(weight, (6 / weight.shape[1]) ** 0.5, seed=seed, name=f"{name}.{layer}")


@dataclass(frozen=True)
class HeadSizes:
    """Widths and depths of the two networks."""

    width: int
    density_layers: int  # hidden
    colour_layers: int  # hidden


class RadianceNetworks(nn.Module):
    """The density network of a code of `inputs` numbers, and the colour network behind it."""

    def __init__(self, inputs: int, sizes: HeadSizes) -> None:
        super().__init__()
        self.density = Layers([inputs, *[sizes.width] * sizes.density_layers, LATENT])
        self.colour = Layers([LATENT + DIRECTION_DEGREE**2, *[sizes.width] * sizes.colour_layers, 3])

    def colours(self, latent: Tensor, directions: Tensor) -> Tensor:
        """latent (N, LATENT) and unit directions (N, 3) to colour (N, 3) in [0, 1]."""
        harmonics = spherical_harmonics(directions, DIRECTION_DEGREE)
        return self.colour(torch.cat((latent, harmonics), -1)).sigmoid()

    def initialise(self, seed: int) -> None:
        self.density.initialise(seed, "density")
        self.colour.initialise(seed, "colour")
