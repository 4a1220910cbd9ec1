"""StoredField: a field whose values are tensors, and its life from the first step of a fit to a file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from polyfield.fields.field import Field
from polyfield.fields.plan import Plan
from polyfield.fields.points import Points
from polyfield.fields.quantised import FEWEST, dequantised, quantised
from polyfield.fields.spec import FieldSpec

SCALES_OF = ".scale"  # ends the names of the scales of a quantised parameter
_MOST_HALF = torch.finfo(torch.float16).max

# Maps points (N, D) in the world to importance (N,), not negative.
Importance = Callable[[Tensor], Tensor]
# Maps N points to raw values (N, C), and to colours (N, 3) if the points have directions.
Values = Callable[[Points], tuple[Tensor, Tensor | None]]
Maps = Mapping[str, Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Group:
    """Parameters that are optimised with the same settings."""

    parameters: dict[str, nn.Parameter]
    learning_rate: float  # relative to the run's
    decay: float  # L2, relative to the run's
    sparse: bool = False  # most gradients are zero in a step, and such numbers rest
    orthogonal: bool = False  # matrices that Muon trains, without decay
    half: bool = False  # tables: files hold them in half precision, or in 8 bits with scales of each column

    def inside(self, module: str) -> Group:
        """Return the group with the names that its parameters have in a parent of that module."""
        named = {f"{module}.{name}": parameter for name, parameter in self.parameters.items()}
        return replace(self, parameters=named)


class StoredField(nn.Module, Field):
    """A field of a spec. Structure that is not trained is a buffer."""

    learning_rate: float  # a good one; the run's schedule multiplies it
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

    def advance(self, progress: float, occupied: Tensor | None = None) -> Maps | None:
        """Change the structure to what a fit wants at this progress in [0, 1], or do nothing and return None.

        A new field has the structure of progress 1. occupied (K, G, G, G) bool are the cells of the fit's occupancy
        grid that are not empty, or None if that is not known; structure that follows from them is a buffer. Returns the map from old to new tensor of each parameter that
        changed; optimiser moments follow it.
        """
        return None

    def fill(self, values: Values, occupied: Tensor | None = None) -> Maps | None:
        """Take over the values of another field where numbers at nodes are values themselves. Return None elsewhere.

        The structure becomes that of progress 1 and stays so, and the learning rate becomes a lower one. occupied and the
        result are as in `advance`.
        """
        return None

    def adopt(self, other: StoredField) -> None:
        """Take over the tensors of a field of the same form."""
        self.load_state_dict(other.state_dict())

    def penalties(self, step: int) -> Tensor | None:
        """Return what the parameters alone add to the loss of a training step, a scalar, or None.

        Most steps may have none, because steps with a penalty take longer. A field that has penalties has one at step 0.
        """
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

    def stored_bytes(self) -> int:
        """Return the bytes of `stored`, without making it."""
        shapes = {name: tensor.to("meta") for name, tensor in self.state_dict().items()}
        return sum(tensor.nbytes for tensor in self._as_stored(shapes).values())

    # -- what a file holds

    def stored(self) -> dict[str, Tensor]:
        """Return parameters and buffers by name, as a file holds them.

        Tables are in half precision. With 8 bits, parameters of at least FEWEST numbers are whole numbers, and the scales
        are NAME.scale.
        """
        return self._as_stored(self.state_dict())

    def take(self, stored: Mapping[str, Tensor]) -> None:
        """Set parameters and buffers to what `stored` returned."""
        tables, tensors = self._tables(), dict(stored)
        for name, parameter in self.named_parameters():
            if self._is_quantised(parameter):
                scales = tensors.pop(name + SCALES_OF)
                tensors[name] = dequantised(tensors[name], scales, table=name in tables)
        self.load_state_dict(tensors)

    def rounded(self) -> dict[str, Tensor]:
        """Return the parameters that a file holds in 8 bits and that are no tables, by name, as loading gives them."""
        tables = self._tables()
        return {
            name: dequantised(*quantised(parameter.detach(), table=False), table=False)
            for name, parameter in self.named_parameters()
            if name not in tables and self._is_quantised(parameter)
        }

    def _as_stored(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tables, parameters = self._tables(), dict(self.named_parameters())
        stored = {}
        for name, tensor in tensors.items():
            if name in parameters and self._is_quantised(parameters[name]):
                stored[name], stored[name + SCALES_OF] = quantised(tensor, table=name in tables)
            else:
                stored[name] = _half(tensor) if name in tables else tensor
        return stored

    def _is_quantised(self, parameter: Tensor) -> bool:
        return self.spec.bits is not None and parameter.numel() >= FEWEST

    def _tables(self) -> set[str]:
        return {name for group in self.parameter_groups() if group.half for name in group.parameters}


def _half(tensor: Tensor) -> Tensor:
    """Return a table in half precision, clamped to its range."""
    if tensor.is_meta:  # torch.clamp would import torch._dynamo, which takes a second
        return tensor.half()
    return tensor.clamp(-_MOST_HALF, _MOST_HALF).half()
