"""Fitting a field to values at points: images, distances, occupancy, volumes. One step after the other, and its state."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from polyfield.fields import Field, FieldSpec, Points, create
from polyfield.fit.optimiser import Optimiser
from polyfield.fit.runs import restoring
from polyfield.fit.runs.loop import PATIENCE, Diverged
from polyfield.fit.schedule import Length, learning_rate

POINTS = (1 << 12, 1 << 15)  # of a step, at first and at the end
_DECAY = 1e-6
_NEAR = 0.01  # errors of distances count relative to the distance, but for those below this part of the domain's size
_COUNTS = ("steps", "seconds", "prepare_seconds", "adam_steps", "bad_in_a_row")
# The least and the most that numbers of a fit's state can be; "totals.points" is points in totals.
RANGES: dict[str, tuple[float, float]] = {
    **{key: (0, 10**9) for key in _COUNTS},
    **{f"totals.{key}": (0, 1 << 62) for key in ("points", "skipped")},
}


class Samples(Protocol):
    """What a field is fitted to: any number of points with what they should have there."""

    def draw(self, count: int, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Points (N, D) in the field's coordinates and raw values (N, C), of occupancy 0 or 1. The same for the same seed
        and step."""


@dataclass(frozen=True)
class ValueStep:
    """What one step did."""

    step: int  # counted from 1
    loss: float
    error: float  # root of the mean square, of raw values, or of occupancy
    points: int
    skipped: bool  # because loss or gradients were not finite

    @property
    def psnr(self) -> float:
        return -20 * math.log10(max(self.error, 1e-5))


class ValueFit:
    """A field on its way. `step` is a function of its state and the seed alone, so a restored fit goes on exactly."""

    def __init__(
        self,
        spec: FieldSpec,
        samples: Samples,
        *,
        length: Length,
        seed: int,
        device: str = "cpu",
        prepare_seconds: float = 0.0,
    ) -> None:
        """prepare_seconds are those that making the samples took."""
        self.field: Field = create(spec, seed=seed, device=device)
        self.field.advance(0.0, None)
        self.optimiser = Optimiser(self.field, decay=_DECAY)
        self.length, self.seed, self.device = length, seed, torch.device(device)
        self.steps = 0
        self.seconds = 0.0  # of training
        self.prepare_seconds = prepare_seconds
        self.totals = {"points": 0, "skipped": 0}
        self._samples, self._loss = samples, _LOSSES[spec.signal]
        self._logits = spec.transform.function == "sigmoid"
        self._bad_in_a_row = 0

    @property
    def progress(self) -> float:
        """How far the fit has come, in [0, 1]."""
        return self.length.progress(self.steps, self.seconds)

    @property
    def rate(self) -> str:
        """How fast it goes."""
        return f"{self.totals['points'] / max(self.seconds, 1e-9):,.0f} points/s"

    def step(self) -> ValueStep:
        """Draw points, compare, and move the parameters. Raises Diverged."""
        start = time.perf_counter()
        first, last = POINTS
        count = round(first * (last / first) ** self.progress / 256) * 256
        x, wanted = self._samples.draw(count, seed=self.seed, step=self.steps)
        self.optimiser.clear()
        found = self.field.features(Points(x)).vector
        loss = self._loss(found, wanted)
        penalty = self.field.penalties()
        (loss if penalty is None else loss + penalty).backward()
        value = float(loss.detach())
        bad = not (math.isfinite(value) and self.optimiser.finite())
        if not bad:
            self.optimiser.step(learning_rate(self.progress) * self.field.learning_rate)
        values = self.field.spec.transform(found.detach()) if self._logits else found.detach()
        error = float(mse_loss(values, wanted)) ** 0.5
        self.steps += 1
        self.seconds += time.perf_counter() - start
        self._advance()  # by the seconds that a checkpoint of now has
        self._bad_in_a_row = self._bad_in_a_row + 1 if bad else 0
        self.totals = {
            "points": self.totals["points"] + count,
            "skipped": self.totals["skipped"] + bad,
        }
        if self._bad_in_a_row >= PATIENCE:
            raise Diverged(f"step {self.steps}: no finite loss in {PATIENCE} steps in a row; stopped")
        return ValueStep(self.steps, value, error, count, bad)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is a tensor."""
        return restoring.joined(field=self.field.state_dict(), adam=self.optimiser.tensors())

    def state(self) -> dict[str, Any]:
        """Everything else, as plain data."""
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "prepare_seconds": self.prepare_seconds,
            "totals": self.totals,
            "adam_steps": self.optimiser.step_count,
            "bad_in_a_row": self._bad_in_a_row,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take back what `tensors` and `state` were. Raises PolyfieldError if they are of another field."""
        restoring.check_state(state, self.state())
        self.steps, self.seconds = state["steps"], state["seconds"]
        self._advance()  # the structure that the field then had
        restoring.check_tensors(tensors, {name: {restoring.shape(t)} for name, t in self.tensors().items()})
        self.field.load_state_dict(restoring.part(tensors, "field", self.device))
        self.optimiser.restore(restoring.part(tensors, "adam", self.device), state["adam_steps"])
        self.totals, self.prepare_seconds = dict(state["totals"]), state["prepare_seconds"]
        self._bad_in_a_row = state["bad_in_a_row"]

    def _advance(self) -> None:
        """Let the field change its structure."""
        maps = self.field.advance(self.progress, None)
        if maps:
            self.optimiser.follow(self.field, maps)


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean of (error / (|distance| + 0.01))^2.

    Mueller et al. 2022, section 5.2, take the magnitude instead of the square; it favours fields that are flat round the
    surface, whose normals are noise.
    """
    return ((found - wanted) / (wanted.abs() + _NEAR)).square().mean()


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "image": mse_loss,
    "volume": mse_loss,
    "sdf": _relative,
    "udf": _relative,
    "occupancy": binary_cross_entropy_with_logits,
}
