"""Plan: a field as plain data, all that a fused step may know of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from polyfield.fields.domain import Domain
from polyfield.fields.signals import ValueTransform
from polyfield.kernels import Levels


@dataclass(frozen=True)
class Plan:
    """A radiance field of the form: encode, density network, colour network.

    unit = domain(x); code = interpolate(table, unit, levels); latent = mlp(code, density_layers);
    raw = latent[:, 0]; density = transform(raw) / density_unit;
    colour = sigmoid(mlp([latent, spherical harmonics of the direction], colour_layers)).
    """

    domain: Domain
    table: Tensor  # (E, F)
    levels: Levels
    density_layers: tuple[Tensor, ...]  # (out, in) each, ReLU between
    colour_layers: tuple[Tensor, ...]
    direction_degree: int  # of the spherical harmonics, degree^2 numbers
    transform: ValueTransform
    density_unit: float
