"""Fit: a field, an objective and an optimiser on their way, and all the state that a checkpoint needs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import StoredField
from polyfield.fitting.objective import Moment, Objective
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rounding import SINCE, Rounding
from polyfield.fitting.runs import restoring
from polyfield.fitting.schedule import Length

PATIENCE = 20  # bad steps in a row before a fit gives up
RANGES: dict[str, tuple[float, float]] = {
    key: (0, 10**9) for key in ("steps", "seconds", "prepare_seconds", "adam_steps", "bad_in_a_row")
}


class Diverged(PolyfieldError):
    """Too many steps in a row had no sample, or a loss or gradients that were not finite."""


@dataclass(frozen=True)
class Step:
    """What one call to `Fit.step` did."""

    step: int  # steps taken so far
    figures: dict[str, float]  # of the last step: loss, and psnr or error
    counts: dict[str, int]  # of a step, in the mean of those that were taken at once

    def record(self) -> dict[str, Any]:
        """Return the step as a line of metrics.jsonl holds it."""
        return {"step": self.step, **self.figures, **self.counts}

    def __str__(self) -> str:
        if "psnr" in self.figures:
            return f"step {self.step}, {self.figures['psnr']:.1f} dB"
        return f"step {self.step}, error {self.figures['error']:.2g}"


class Fit:
    """A fit of any field to any objective. `step` is a function of its state and the seed alone."""

    def __init__(
        self,
        field: StoredField,
        optimiser: Optimiser,
        objective: Objective,
        *,
        length: Length,
        prepare_seconds: float = 0.0,
    ) -> None:
        """The field has the structure of progress 0, unless it was filled; the optimiser and the objective are of that field."""
        self.field, self.optimiser, self.objective = field, optimiser, objective
        self.length = length
        self.steps = 0
        self.seconds = 0.0  # of training
        self.prepare_seconds = prepare_seconds  # of making what the field is fitted to
        self.totals = dict.fromkeys(objective.counts, 0)
        self._bad_in_a_row = 0
        self._rounding: Rounding | None = None

    @property
    def progress(self) -> float:
        """How far the fit has come, in [0, 1]."""
        return self.length.progress(self.steps, self.seconds)

    @property
    def device(self) -> torch.device:
        return self.field.device

    @property
    def rate(self) -> str:
        """The speed, in words."""
        unit = self.objective.counts[0]
        return f"{self.totals[unit] / max(self.seconds, 1e-9):,.0f} {unit}/s"

    @property
    def moment(self) -> Moment:
        """Where the fit is."""
        return Moment(
            self.steps,
            self.seconds,
            self.length,
            self.optimiser.step_count,
            self._bad_in_a_row,
            self.totals,
        )

    def step(self) -> Step:
        """Take one step, or several where the device works ahead. Raises Diverged after too many bad ones in a row."""
        start = time.perf_counter()
        outcome = self.objective.descend(self.moment)
        self.steps += outcome.steps
        self.totals = {name: total + outcome.counts.get(name, 0) for name, total in self.totals.items()}
        self._bad_in_a_row = outcome.bad_in_a_row
        self.seconds += time.perf_counter() - start
        self._advance(self.objective.occupied())  # by the seconds that a checkpoint of now has
        self._round()
        if self._bad_in_a_row >= PATIENCE:
            raise Diverged(
                f"step {self.steps}: the fit was stopped, because {PATIENCE} steps in a row had no samples, or a loss or "
                "gradients that are not finite"
            )
        counts = {name: count // outcome.steps for name, count in outcome.counts.items()}
        return Step(self.steps, outcome.figures, counts)

    def _advance(self, occupied: Tensor | None) -> None:
        """Let the field change its structure."""
        maps = self.field.advance(self.progress, occupied)
        if maps:
            self.optimiser.follow(self.field.parameter_groups(), maps)
            self.objective.follow()

    def _round(self) -> None:
        """In the last part of a fit of 8 bits, give the networks the weights that the file will hold."""
        if self._rounding:
            self._rounding.follow()
        elif self.field.spec.bits is not None and self.progress >= SINCE:
            self._rounding = Rounding(self.field)

    # -- checkpoints

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that is a tensor."""
        own = self._rounding.own if self._rounding else {}
        return restoring.joined(
            field=self.field.state_dict() | own,
            adam=self.optimiser.tensors(),
            objective=self.objective.tensors(),
        )

    def state(self) -> dict[str, Any]:
        """Return everything else, as plain data."""
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "prepare_seconds": self.prepare_seconds,
            "totals": self.totals,
            "adam_steps": self.optimiser.step_count,
            "bad_in_a_row": self._bad_in_a_row,
            "objective": self.objective.state(),
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take back what `tensors` and `state` returned. Raises PolyfieldError if they are of another fit."""
        restoring.check_state(state, self.state())
        self.steps, self.seconds = state["steps"], state["seconds"]
        self._advance(None)  # the structure that the field then had; buffers hold what occupancy decided
        expected = {name: {restoring.shape(tensor)} for name, tensor in self.tensors().items()}
        for name, shapes in self.objective.allowed_shapes().items():
            expected[f"objective.{name}"] = shapes
        restoring.check_tensors(tensors, expected)
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.field.load_state_dict(restoring.part(tensors, "field"))
        self._rounding = None
        self._round()
        self.optimiser.restore(restoring.part(tensors, "adam"), state["adam_steps"])
        self.totals, self.prepare_seconds = dict(state["totals"]), state["prepare_seconds"]
        self._bad_in_a_row = state["bad_in_a_row"]
        self.objective.restore(restoring.part(tensors, "objective"), state["objective"], self.moment)
