"""cam: an mlp whose hidden layers are scaled and shifted by grids over some of the coordinates (Lee et al. 2024, CAM).

Frames of videos as a whole, which the paper normalises over height and width, are not stored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from polyfield.errors import PolyfieldError
from polyfield.fields.architecture import Architecture, Extent
from polyfield.fields.architectures.mlp import Mlp, MlpOptions
from polyfield.fields.architectures.mlp import suited as suited_mlp
from polyfield.fields.domain import Domain
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import choice, option
from polyfield.fields.parts.factor import Factor
from polyfield.fields.parts.network import Layers
from polyfield.fields.parts.tables import TIME
from polyfield.fields.parts.trunk import Trunk
from polyfield.fields.plan import TrunkPlan
from polyfield.fields.points import Points
from polyfield.fields.stored import Group
from polyfield.kernels import Levels, interpolate, mlp

_RATE = 10.0  # learning rate of the grids, relative to the network's (Lee et al. 2024, of pictures)
_EPSILON = 1e-5  # added to variances


@dataclass(frozen=True)
class CamOptions(MlpOptions):
    # The coordinates that the grids are over.
    index: str = choice(
        "position",
        "direction",
        "time",
        "position+time",
        "direction+time",
        about="coordinates at which a grid is interpolated; the interpolated values scale and shift the hidden layers",
    )
    norm: str = choice(
        "point",
        "none",
        "ray",
        about="values over which the outputs of a hidden layer are normalised: all channels of a point (`point`), all channels of all samples of a ray (`ray`), or no normalisation (`none`)",
    )
    channels: str = choice(
        "scalar",
        "vector",
        about="one scale and shift for each hidden layer (`scalar`), or for each of its channels (`vector`)",
    )
    nodes: int = option(32, 4096, "nodes of the grid along each axis of space", least=2)
    angle_nodes: int = option(
        10,
        4096,
        "nodes of the grid along the azimuth of the direction; the elevation has half as many",
        least=2,
    )
    time_nodes: int = option(5, 4096, "nodes of the grid along time", least=2)


class Modulation(nn.Module):
    """Numbers of a dense grid over some of a point's coordinates, linear between its nodes."""

    def __init__(self, options: CamOptions, domain: Domain, numbers: int) -> None:
        """Make a grid; each node has `numbers` numbers."""
        super().__init__()
        self._domain, self._index = domain, options.index.split("+")
        nodes = {
            "position": (options.nodes,) * domain.dimensions,
            "direction": (options.angle_nodes, max(options.angle_nodes // 2, 2)),
            "time": (options.time_nodes,),
        }
        self._nodes = tuple(count for part in self._index for count in nodes[part])
        self.grid = nn.Parameter(torch.empty(math.prod(self._nodes), numbers))

    def forward(self, points: Points) -> Tensor:
        """Return the numbers ([B,] N, numbers) at points."""
        table: Tensor = self.grid
        first, *others = self._nodes
        if self._index[0] == "direction":  # the azimuth is periodic: its last node is its first
            rows = table.unflatten(-2, (-1, first))
            table = torch.cat((rows, rows[..., :1, :]), -2).flatten(-3, -2)
            first += 1
        levels = Levels(((first, *others),), table.shape[-2])
        return interpolate(table, self.coordinates(points), levels)

    def factor(self) -> Factor | None:
        """Return the grid as a table over axes of the unit cube, or None if it is over the direction."""
        if "direction" in self._index:
            return None
        space = len(self._nodes) - ("time" in self._index)
        axes = [*range(space), *([self._domain.dimensions] if "time" in self._index else [])]
        return Factor(self.grid, Levels((self._nodes,), self.grid.shape[-2]), tuple(axes))

    def coordinates(self, points: Points) -> Tensor:
        """Return the coordinates ([B,] N, D) of points, in [0, 1] each."""
        return torch.cat([self._part(part, points) for part in self._index], -1)

    def _part(self, part: str, points: Points) -> Tensor:
        if part == "position":
            return self._domain.to_unit(points.x)
        if part == "time":
            assert points.times is not None
            return points.times[..., None]
        if points.directions is None:
            raise PolyfieldError(
                "cam: the option index of this field includes 'direction', so its densities depend on the viewing "
                "direction; call query with directions, or fit with the option index 'position'"
            )
        return direction_coordinates(points.directions)


def direction_coordinates(directions: Tensor) -> Tensor:
    """Return azimuth and elevation (..., 2) of unit directions (..., 3), over the whole sphere to [0, 1]."""
    x, y, z = directions.unbind(-1)
    azimuth = torch.atan2(y, x) / (2 * math.pi) + 0.5
    elevation = torch.atan2(z, torch.hypot(x, y)) / math.pi + 0.5
    return torch.stack((azimuth, elevation), -1)


class ModulatedTrunk(Trunk):
    """A network in which the output F of each hidden layer becomes gamma(u) norm(F) + beta(u), before its activation.

    u are the coordinates that the option index names. A grid holds gamma - 1 and beta of every layer, which begin as 0. The
    norm subtracts the mean and divides by the standard deviation; it has no parameters.
    """

    def __init__(self, inputs: int, outputs: int, options: CamOptions, meaning: Meaning) -> None:
        """Raises PolyfieldError for an index or a norm that fields of this meaning do not have."""
        super().__init__()
        _refuse(options, meaning)
        self._norm, self._orthogonal = options.norm, meaning.kind.directional
        self.pointwise = "direction" not in options.index and options.norm != "ray"
        self.layers = Layers(
            [inputs, *[options.width] * options.layers, outputs], options.activation, biases=True
        )
        # gamma - 1 and beta of each hidden layer. So gamma is exactly 1 at first, however weights of nodes are rounded.
        self._shape = (options.layers, 2, options.width if options.channels == "vector" else 1)
        self.modulation = Modulation(options, meaning.domain, math.prod(self._shape))
        self.numbers_per_point = (4 * options.layers + 2) * options.width

    def forward(self, code: Tensor, points: Points) -> Tensor:
        modulation = self.modulation(points).unflatten(-1, self._shape)
        weights, biases, sine = list(self.layers.weights), list(self.layers.biases), self.layers.sine
        if self._norm != "ray":
            return mlp(code, weights, biases, sine=sine, modulation=modulation, normed=self._norm == "point")
        if points.rays is None:
            raise PolyfieldError(
                "cam: with the option norm 'ray', a value depends on all samples of its ray, "
                "so single points have no value; render the field, or fit with the option norm 'point'"
            )
        for layer in range(len(weights) - 1):
            change, beta = modulation[..., layer, :, :].unbind(-2)
            normed = ray_norm(mlp(code, weights[layer : layer + 1], biases[layer : layer + 1]), points.rays)
            code = torch.addcmul(beta, 1 + change, normed)
            code = code.sin() if sine else code.relu_()
        return mlp(code, weights[-1:], biases[-1:])

    def plan(self) -> TrunkPlan | None:
        table = self.modulation.factor()
        if table is None or self.layers.sine or self._norm == "ray":
            return None
        layers = self.layers
        return TrunkPlan(tuple(layers.weights), tuple(layers.biases), table, self._norm == "point")

    def initialise(self, seed: int, name: str) -> None:
        self.layers.initialise(seed, name)
        self.modulation.grid.data.zero_()

    def parameter_groups(self) -> list[Group]:
        grids = Group({"grid": self.modulation.grid}, _RATE, 0.0)
        return [*self.layers.groups("layers", orthogonal=self._orthogonal), grids.inside("modulation")]


def ray_norm(x: Tensor, rays: Tensor) -> Tensor:
    """Return x (N, C) with mean 0 and variance 1 over the channels of all points of a ray, numbered in rays (N,)."""
    if not len(x):
        return x

    def mean(values: Tensor) -> Tensor:
        counts = torch.bincount(rays).clamp(min=1)
        sums = values.new_zeros(len(counts)).index_add(0, rays, values.mean(-1))
        return (sums / counts)[rays, None]

    centred = x - mean(x)
    return centred * torch.rsqrt(mean(centred.square()) + _EPSILON)


def _refuse(options: CamOptions, meaning: Meaning) -> None:
    """Refuse an index or a norm that fields of this meaning do not have."""
    if "time" in options.index and not meaning.moving:
        why = f"is {options.index!r}, but this {meaning.signal} field has no times; use 'position'"
        raise PolyfieldError(f"cam: option index {why}")
    for key, value in (("index", options.index), ("norm", options.norm)):
        if {"direction", "ray"} & set(value.split("+")) and not meaning.kind.directional:
            lacks, use = ("viewing directions", "position") if key == "index" else ("rays", "point")
            why = f"is {value!r}, but {meaning.signal} fields have no {lacks}; use {use!r}"
            raise PolyfieldError(f"cam: option {key} {why}")


def suited(extent: Extent) -> dict[str, Any]:
    """Return options for a source of this extent. Measured of scenes."""
    # Moving scenes gain neither from grids over time nor from the norm: benchmarks/notes.md.
    if extent.axes > TIME:
        return {**suited_mlp(extent), "norm": "none"}
    return {**suited_mlp(extent), **({"index": "position+time"} if extent.times else {})}


ARCHITECTURE = Architecture(
    name="cam",
    paper="Lee, Rho, Ko, Park, Park 2024: Coordinate-Aware Modulation for Neural Fields",
    advice="For better quality than `mlp` at equal width, in fits of some minutes and for moving scenes. A training step takes 1.4 times as long as one of `mlp`.",
    options=CamOptions,
    encoding=Mlp,
    size_option="nodes",
    suited=suited,
    trunk=ModulatedTrunk,
)
