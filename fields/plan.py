"""Plan: a field as plain data. A fused step knows nothing else of a field."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from polyfield.fields.meaning import Meaning
from polyfield.fields.parts.directions import spherical_harmonics
from polyfield.fields.parts.factor import Factor
from polyfield.kernels import Radial


@dataclass(frozen=True)
class ColourNetwork:
    """colour = sigmoid(mlp([latent, spherical harmonics of the direction], layers))."""

    layers: tuple[Tensor, ...]  # (out, in) each, ReLU between
    degree: int  # of the spherical harmonics, degree^2 numbers


@dataclass(frozen=True)
class RadialColours(ColourNetwork):
    """A colour network that reads latent + (0, rbf(unit)), with sums as in `kernels.rbf`."""

    functions: Radial


@dataclass(frozen=True)
class Harmonics:
    """colour_c = sigmoid(sum_k latent[1 + c degree^2 + k] Y_k(direction)).

    Y_k are spherical harmonics, those of order l divided by (l + 1)^2. So under Adam colours learn faster than how
    they depend on the direction.
    """

    degree: int

    def basis(self, directions: Tensor) -> Tensor:
        """Return Y_k ([B,] N, degree^2) of unit directions ([B,] N, 3)."""
        orders = [order for order in range(self.degree) for _ in range(2 * order + 1)]
        shares = directions.new_tensor([1 / (order + 1) ** 2 for order in orders])
        return spherical_harmonics(directions, self.degree) * shares


@dataclass(frozen=True)
class TrunkPlan:
    """A trunk as plain data: mlp(code, weights, biases, modulation, normed), as in `kernels.mlp`.

    The modulation is interpolated at the point's unit coordinates. Without weights, the trunk is the code itself.
    """

    weights: tuple[Tensor, ...] = ()  # (out, in) each, ReLU between
    biases: tuple[Tensor, ...] = ()  # (out,) each, or none
    modulation: Factor | None = None  # its code has the shape (hidden layers, 2, channels)
    normed: bool = False


@dataclass(frozen=True)
class Plan:
    """A field of the form: encode, trunk, head.

    unit = domain(x). The code of a group is the product, or the sum, of interpolate(table, unit[:, axes], levels) over
    its factors; code is those of all groups side by side, with frequency_code(unit, frequencies) behind them.
    latent = trunk(code), or the code where the trunk has no layers. Of radiance, raw = latent[:, 0] and density = transform(raw) / density_unit; of values,
    they are the raw values. The head is a record that says how colours follow: a form of the fused step serves those
    that it knows. The code of a field with functions ends with rbf(unit), with sums as in `kernels.rbf`.
    """

    meaning: Meaning
    groups: tuple[tuple[Factor, ...], ...]
    summed: bool
    trunk: TrunkPlan
    head: object | None  # ColourNetwork, Harmonics, an architecture's own record, or None for values
    frequencies: int | None = None  # octaves; without, there are no sines and cosines
    functions: Radial | None = None  # of values
