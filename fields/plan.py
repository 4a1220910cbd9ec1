"""Plan: a field as plain data, all that a fused step may know of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from polyfield.fields.domain import Domain
from polyfield.fields.signals import ValueTransform
from polyfield.kernels import Levels, interpolate


@dataclass(frozen=True)
class Factor:
    """A table (E, F) over some of the axes: interpolate(table, unit[:, axes], levels)."""

    table: Tensor
    levels: Levels
    axes: tuple[int, ...]

    def __call__(self, unit: Tensor) -> Tensor:
        """unit (N, D) to (N, L * F)."""
        whole = self.axes == tuple(range(unit.shape[1]))
        return interpolate(self.table, unit if whole else unit[:, list(self.axes)], self.levels)


@dataclass(frozen=True)
class Plan:
    """A radiance field of the form: encode, density network, colour network.

    unit = domain(x); the code of a group is the product, or the sum, of interpolate(table, unit[:, axes], levels) over
    its factors, and code those of all groups side by side, with frequency_code(unit, frequencies) behind them;
    latent = mlp(code, density_layers);
    raw = latent[:, 0]; density = transform(raw) / density_unit;
    colour = sigmoid(mlp([latent, spherical harmonics of the direction], colour_layers)).
    """

    domain: Domain
    groups: tuple[tuple[Factor, ...], ...]
    summed: bool
    density_layers: tuple[Tensor, ...]  # (out, in) each, ReLU between
    colour_layers: tuple[Tensor, ...]
    direction_degree: int  # of the spherical harmonics, degree^2 numbers
    transform: ValueTransform
    density_unit: float
    frequencies: int | None = None  # octaves; without, there are no sines and cosines
