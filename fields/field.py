"""Field: the one query, the blocks behind it, and a field's life."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from polyfield.errors import PolyfieldError
from polyfield.fields.plan import Plan
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.spec import FieldSpec
from polyfield.kernels import uniform

_MOST_HALF = torch.finfo(torch.float16).max


@dataclass(frozen=True)
class Traits:
    """What a renderer or a loss may take for granted."""

    pointwise: bool = True  # a point's value depends on that point alone, so empty space may be culled
    density_depends_on_direction: bool = False
    time_dependent: bool = False
    differentiable: bool = True


@dataclass(frozen=True)
class Group:
    """Parameters that are optimised alike."""

    tag: str  # "encoding", "network" or "head"
    parameters: dict[str, nn.Parameter]
    learning_rate: float  # relative to the run's
    decay: float  # L2, relative to the run's
    sparse: bool = False  # most gradients are zero in a step, and such numbers rest
    half: bool = False  # files hold them in half precision

    def inside(self, module: str) -> Group:
        """The group by its parameters' names where it is part of that module."""
        named = {f"{module}.{name}": parameter for name, parameter in self.parameters.items()}
        return replace(self, parameters=named)


class Field(nn.Module):
    """A field over a source's own coordinates. Subclasses say what stands behind an architecture's encoding.

    Structure that is not trained is a buffer. Densities are per unit of the source's length.
    """

    traits: ClassVar[Traits] = Traits()
    learning_rate: float  # a good one for Adam; the run's schedule multiplies it

    points_at_once = 1 << 18  # that take a bearable amount of memory without gradients

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec
        self._per_length = 1 / spec.domain.density_unit

    # -- the query and its blocks

    def query(self, x: Tensor, directions: Tensor | None = None, times: Tensor | None = None) -> FieldOutput:
        """Values at x (N, D) in the source's coordinates, looking along unit directions (N, 3), at times (N,).

        Where the spec has an origin, x is best in float64: it is taken off first.

        Raises PolyfieldError for other shapes, and where the signal needs what was not given.
        """
        self._check(x, directions, times)
        if any(self.spec.origin):
            x = (x.double() - x.new_tensor(self.spec.origin, dtype=torch.float64)).float()
        points = Points(x, directions, times)
        return self.head(self.features(points), points)

    @torch.no_grad()
    def raw_at(self, x: Tensor) -> Tensor:
        """`raw` at any number of x (N, D) from the spec's origin, some at a time and without gradients."""
        parts = x.split(self.points_at_once)
        return torch.cat([self.raw(Points(part)) for part in parts]) if len(x) else x[:, 0]

    @torch.no_grad()
    def colour_at(self, x: Tensor) -> Tensor:
        """Colours (N, C) of a field without directions at any number of x (N, D), likewise."""
        points = [Points(part) for part in x.split(self.points_at_once)]
        colours = [self.head(self.features(part), part).colour for part in points]
        return torch.cat([colour for colour in colours if colour is not None])

    @abstractmethod
    def raw(self, points: Points) -> Tensor:
        """(N,) the value before its transform: the cheap path, for culling and meshing."""

    @abstractmethod
    def features(self, points: Points) -> Features:
        """What the head ends."""

    @abstractmethod
    def head(self, features: Features, points: Points) -> FieldOutput:
        """Ends what `features` began."""

    def density(self, raw: Tensor) -> Tensor:
        """raw (N,) to density (N,) per unit of length."""
        return self.spec.transform(raw) * self._per_length

    # -- life

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Set every parameter from the seed."""

    def place(self, probe: Callable[[Tensor], Tensor], budget: int) -> None:
        """Put structure where it is needed, before there is an optimiser.

        probe maps x (N, D) to importance (N,); budget is the bytes that structure may take.
        """

    def advance(
        self, progress: float, occupancy: Tensor | None
    ) -> Mapping[str, Callable[[Tensor], Tensor]] | None:
        """Take the structure that a fit wants when it has come so far, in [0, 1], or do nothing and return None.

        A new field has the structure of progress 1. Returns for each parameter that changed the map from its old tensor to
        its new one, which optimiser moments follow.
        """
        return None

    def penalties(self) -> Tensor | None:
        """What is added to the loss for the parameters alone, a scalar, or None."""
        return None

    @abstractmethod
    def parameter_groups(self) -> list[Group]:
        """Every parameter in exactly one group."""

    def plan(self) -> Plan | None:
        """All that a fused step may know of this field, or None if it fits no fused step."""
        return None

    # -- size

    def parameter_count(self) -> int:
        """Trained numbers."""
        return sum(p.numel() for p in self.parameters())

    def stored(self) -> dict[str, Tensor]:
        """Everything that a file must hold, as it holds it: parameters and buffers by name."""
        halves = {name for group in self.parameter_groups() if group.half for name in group.parameters}
        return {
            name: tensor.clamp(-_MOST_HALF, _MOST_HALF).half() if name in halves else tensor
            for name, tensor in self.state_dict().items()
        }

    def stored_bytes(self) -> int:
        """Bytes of that."""
        return sum(tensor.nbytes for tensor in self.stored().values())

    def _check(self, x: Tensor, directions: Tensor | None, times: Tensor | None) -> None:
        dimensions = self.spec.domain.dimensions
        if x.dim() != 2 or x.shape[1] != dimensions:
            raise PolyfieldError(f"query: x has the shape {tuple(x.shape)}; expected (N, {dimensions})")
        if self.spec.signal == "radiance" and directions is None:
            raise PolyfieldError(
                "query: a radiance field needs directions (N, 3), the way each point is looked at"
            )
        if directions is not None and directions.shape != (len(x), 3):
            raise PolyfieldError(
                f"query: directions have the shape {tuple(directions.shape)}; expected ({len(x)}, 3)"
            )
        if times is not None and times.shape != (len(x),):
            raise PolyfieldError(f"query: times have the shape {tuple(times.shape)}; expected ({len(x)},)")
        if self.traits.time_dependent and times is None:
            raise PolyfieldError("query: a field of a moving scene needs times (N,) in [0, 1]")


def uniform_init(parameter: Tensor, bound: float, *, seed: int, name: str) -> None:
    """Fill a parameter with uniform numbers in [-bound, bound) that depend on the seed and its name alone."""
    with torch.no_grad():
        numbers = uniform(parameter.shape, seed=seed, stream=f"initialise {name}")
        parameter.copy_((numbers * 2 - 1) * bound)
