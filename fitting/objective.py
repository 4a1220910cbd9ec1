"""Objectives: what a fit descends. They know no seconds, files or patience; the fit does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from polyfield.fitting.runs.restoring import joined, part
from polyfield.fitting.schedule import Length, learning_rate


@dataclass(frozen=True)
class Moment:
    """Where a fit is before a step."""

    step: int  # steps taken
    seconds: float  # of training
    length: Length
    adam_steps: int = 0  # of those, steps that moved the parameters
    bad_in_a_row: int = 0  # the last steps that did not
    totals: dict[str, int] = field(default_factory=dict)  # the fit's counts

    @property
    def progress(self) -> float:
        """How far the fit has come, in [0, 1]."""
        return self.length.progress(self.step, self.seconds)

    def rate(self, learning: float, ahead: int = 0) -> float:
        """Return the learning rate of a step further on, as a share of a field's own."""
        return learning_rate(self.length.progress(self.step + ahead, self.seconds)) * learning


@dataclass(frozen=True)
class Outcome:
    """What one call to `descend` did."""

    steps: int  # taken
    figures: dict[str, float]  # of the last step: loss, and psnr or error
    counts: dict[str, int]  # of all its steps, the names that the objective lists; "skipped" is among them
    bad_in_a_row: int  # the last steps that taught nothing, those before this call included


class Objective(Protocol):
    """One descent. Its state is in checkpoints, so a restored fit continues exactly."""

    counts: tuple[str, ...]  # what it counts; the first is its unit of speed
    ranges: dict[str, tuple[float, float]]  # least and most of the numbers in its state; "a.b" is b in a

    def descend(self, moment: Moment) -> Outcome:
        """Take one step, or several where the device works ahead, and move the parameters."""

    def occupied(self) -> Tensor | None:
        """Return the cells (K, G, G, G) bool where the field is not empty, or None if that is not known."""

    def follow(self) -> None:
        """Take over the tensors of a field that changed its structure."""

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that is a tensor, beside the field's and the optimiser's."""

    def state(self) -> dict[str, Any]:
        """Return everything else, as plain data."""

    def allowed_shapes(self) -> dict[str, set[str]]:
        """Return the shapes, in `restoring.shape`'s words, that a restored tensor may have, by name."""

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any], moment: Moment) -> None:
        """Take back what `tensors` and `state` returned, of a fit at that moment."""


class Stages:
    """Objectives one after the other, each up to its share of the fit's progress."""

    def __init__(self, stages: Sequence[tuple[float, Objective]]) -> None:
        """stages are (until, objective), in ascending order; the last one ends with the fit."""
        self._stages = list(stages)
        self._current: Objective | None = None
        self.counts = tuple(dict.fromkeys(name for _, stage in stages for name in stage.counts))
        self.ranges = {
            f"{index}.{key}": limits
            for index, (_, stage) in enumerate(stages)
            for key, limits in stage.ranges.items()
        }

    @property
    def last(self) -> Objective:
        """The objective of the last stage."""
        return self._stages[-1][1]

    def descend(self, moment: Moment) -> Outcome:
        left = [stage for until, stage in self._stages if moment.progress < until]
        stage = left[0] if left else self._stages[-1][1]
        if stage is not self._current:
            stage.follow()  # the stage before moved the parameters, and copies in half precision did not follow
            self._current = stage
        return stage.descend(moment)

    def occupied(self) -> Tensor | None:
        return self.last.occupied()

    def follow(self) -> None:
        for _, stage in self._stages:
            stage.follow()

    def tensors(self) -> dict[str, Tensor]:
        return joined(**{str(index): stage.tensors() for index, (_, stage) in enumerate(self._stages)})

    def state(self) -> dict[str, Any]:
        return {str(index): stage.state() for index, (_, stage) in enumerate(self._stages)}

    def allowed_shapes(self) -> dict[str, set[str]]:
        return {
            f"{index}.{name}": shapes
            for index, (_, stage) in enumerate(self._stages)
            for name, shapes in stage.allowed_shapes().items()
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any], moment: Moment) -> None:
        for index, (_, stage) in enumerate(self._stages):
            stage.restore(part(tensors, str(index)), state[str(index)], moment)
