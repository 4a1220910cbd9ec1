"""StoredField: a field whose values are tensors, and its life from the first step of a fit to a file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from polyfield.fields.field import Field
from polyfield.fields.plan import Plan
from polyfield.fields.spec import FieldSpec

_MOST_HALF = torch.finfo(torch.float16).max

# Maps points (N, D) in the world to importance (N,), not negative.
Importance = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Group:
    """Parameters that are optimised with the same settings."""

    parameters: dict[str, nn.Parameter]
    learning_rate: float  # relative to the run's
    decay: float  # L2, relative to the run's
    sparse: bool = False  # most gradients are zero in a step, and such numbers rest
    half: bool = False  # files hold them in half precision

    def inside(self, module: str) -> Group:
        """Return the group with the names that its parameters have in a parent of that module."""
        named = {f"{module}.{name}": parameter for name, parameter in self.parameters.items()}
        return replace(self, parameters=named)


class StoredField(nn.Module, Field):
    """A field of a spec. Structure that is not trained is a buffer."""

    learning_rate: float  # a good one for Adam; the run's schedule multiplies it
    numbers_per_point: (
        int  # floats that a point's forward pass keeps for backward; the memory forecast needs it
    )

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec
        self.meaning = spec.meaning

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    # -- life

    @abstractmethod
    def initialise(self, seed: int) -> None:
        """Set every parameter from the seed."""

    def place(self, importance: Importance, seed: int) -> None:
        """Put structure where a source has detail, once, before the first step. Shapes stay those of the spec.

        importance is the task's own measure of detail.
        """

    def advance(
        self, progress: float, occupied: Tensor | None = None
    ) -> Mapping[str, Callable[[Tensor], Tensor]] | None:
        """Change the structure to what a fit wants at this progress in [0, 1], or do nothing and return None.

        A new field has the structure of progress 1. occupied (K, G, G, G) bool are the cells of the fit's occupancy
        grid that are not empty, or None if that is not known; structure that follows from them is a buffer. Returns the map from old to new tensor of each parameter that
        changed; optimiser moments follow it.
        """
        return None

    def penalties(self) -> Tensor | None:
        """Return what the parameters alone add to the loss, a scalar, or None."""
        return None

    @abstractmethod
    def parameter_groups(self) -> list[Group]:
        """Return groups that hold every parameter exactly once."""

    def plan(self) -> Plan | None:
        """Return the field as plain data for a fused step, or None if none can serve it."""
        return None

    # -- size

    def parameter_count(self) -> int:
        """Return how many numbers are trained."""
        return sum(p.numel() for p in self.parameters())

    def _halves(self) -> set[str]:
        return {name for group in self.parameter_groups() if group.half for name in group.parameters}

    def stored(self) -> dict[str, Tensor]:
        """Return parameters and buffers by name, as a file holds them."""
        halves = self._halves()
        return {
            name: tensor.clamp(-_MOST_HALF, _MOST_HALF).half() if name in halves else tensor
            for name, tensor in self.state_dict().items()
        }

    def stored_bytes(self) -> int:
        """Return the bytes of `stored`, without making it."""
        halves = self._halves()
        tensors = self.state_dict().items()
        return sum(tensor.numel() * (2 if name in halves else tensor.itemsize) for name, tensor in tensors)
