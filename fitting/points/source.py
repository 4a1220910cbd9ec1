"""Point sources: what a field is compared with at points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from polyfield.fields import Points


@dataclass(frozen=True)
class Targets:
    """N points and what a field should say there. A source may hand out a subclass with tensors of its own."""

    points: Points
    raw: Tensor | None = None  # (N, C) values before the transform; of occupancy 0 or 1
    features: Tensor | None = None  # (N, F)
    colour: Tensor | None = None  # (N, C)


class PointSource(ABC):
    """Points with what a field should say there. Pictures, shapes and volumes are such; a teacher is another."""

    parts: tuple[str, ...] = ("raw",)  # of a loss that its targets hold
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}  # least and most of the numbers in its state

    @abstractmethod
    def draw(self, count: int, *, seed: int, step: int) -> Targets:
        """Return `count` points. The same for the same seed and step."""

    def learn(self, targets: Targets, errors: Tensor) -> None:
        """Take the squared errors (N,) of what was drawn, after its step."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that a checkpoint needs to draw and learn on."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return the rest, as plain data."""
        return {}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take back what `tensors` and `state` returned."""
