"""FieldContext: how a field was fitted, as needed to draw and convert it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError


@dataclass(frozen=True, eq=False)
class FieldContext:
    """The facts about a fit that a field's file keeps. Raises PolyfieldError if a value makes no sense.

    >>> FieldContext(background=(0.0, 0.0, 0.0)).step_size
    1.0
    """

    background: tuple[float, float, float] = (1.0, 1.0, 1.0)  # what the field was fitted on, in [0, 1]
    step_size: float = 1.0  # of radiance, between samples of a ray, in the field's unit of length
    cone: float = 0.0  # growth of steps with the distance from the camera
    near: float = 0.0  # distance at which rays begin
    occupancy: Tensor | None = None  # (K, R, R, R) bool, the grid of each level
    cameras: dict[str, Any] = field(default_factory=dict)  # distribution of the training cameras, plain data
    source: dict[str, Any] = field(default_factory=dict)  # the source that was fitted, plain data

    def __post_init__(self) -> None:
        if len(self.background) != 3 or not all(0 <= value <= 1 for value in self.background):
            raise nonsense("background", self.background, "three numbers from 0 to 1")
        if not (math.isfinite(self.step_size) and self.step_size > 0):
            raise nonsense("step_size", self.step_size, "a positive length")
        for key, value in (("cone", self.cone), ("near", self.near)):
            if not (math.isfinite(value) and value >= 0):
                raise nonsense(key, value, "a finite number of at least 0")
        if self.occupancy is not None:
            shape = tuple(self.occupancy.shape)
            if len(shape) != 4 or len(set(shape[1:])) != 1 or self.occupancy.dtype != torch.bool:
                raise nonsense("occupancy", f"{self.occupancy.dtype} {shape}", "bools (K, R, R, R)")


def nonsense(key: str, found: object, expected: str) -> PolyfieldError:
    """Return the error about a value that makes no sense."""
    return PolyfieldError(f"context: {key} is {found!s:.80}; expected {expected}")
