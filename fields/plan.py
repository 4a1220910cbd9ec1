"""Plan: a field as plain data. A fused step knows nothing else of a field."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from polyfield.fields.meaning import Meaning
from polyfield.fields.parts.factor import Factor


@dataclass(frozen=True)
class ColourNetwork:
    """colour = sigmoid(mlp([latent, spherical harmonics of the direction], layers))."""

    layers: tuple[Tensor, ...]  # (out, in) each, ReLU between
    degree: int  # of the spherical harmonics, degree^2 numbers


@dataclass(frozen=True)
class Plan:
    """A field of the form: encode, trunk, head.

    unit = domain(x). The code of a group is the product, or the sum, of interpolate(table, unit[:, axes], levels) over
    its factors; code is those of all groups side by side, with frequency_code(unit, frequencies) behind them.
    latent = mlp(code, trunk). Of radiance, raw = latent[:, 0] and density = transform(raw) / density_unit; of values,
    they are the raw values. The head is a record that says how colours follow: a form of the fused step serves those
    that it knows.
    """

    meaning: Meaning
    groups: tuple[tuple[Factor, ...], ...]
    summed: bool
    trunk: tuple[Tensor, ...]  # (out, in) each, ReLU between
    head: object | None  # ColourNetwork, an architecture's own record, or None for values
    frequencies: int | None = None  # octaves; without, there are no sines and cosines
