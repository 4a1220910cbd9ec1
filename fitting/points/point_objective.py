"""PointObjective: a field is evaluated at points, compared with what a source says there, and follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import StoredField
from polyfield.fitting.losses import Term, check, total
from polyfield.fitting.metrics.images import psnr_of
from polyfield.fitting.objective import Moment, Outcome
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.fitting.runs import restoring
from polyfield.rendering.fused import FusedField

POINTS = (1 << 12, 1 << 15)  # of a step, at first and at the end
COUNTS: tuple[str, ...] = ("points", "skipped")
RANGES: dict[str, tuple[float, float]] = {}


class PointObjective:
    """Compares raw values, features or colours, whichever the loss has terms of.

    The fused step is taken where the field has a plan.
    """

    counts = COUNTS

    def __init__(
        self,
        field: StoredField,
        optimiser: Optimiser,
        source: PointSource,
        *,
        seed: int,
        loss: Sequence[Term],
        points: tuple[int, int] | None = None,
        deterministic: bool = False,
    ) -> None:
        """points are the numbers of a step, at first and at the end; POINTS if None.

        Raises PolyfieldError for a loss of parts that the source lacks, and for deterministic steps on a GPU.
        """
        check(loss, source.parts)
        if deterministic and field.device.type != "cpu":
            raise PolyfieldError(
                f"--deterministic: on {field.device}, only fits to photographs have deterministic kernels; "
                "use --device cpu"
            )
        self._field, self._optimiser, self._source = field, optimiser, source
        self._seed, self._loss, self._points = seed, tuple(loss), points or POINTS
        self.ranges = {f"source.{key}": limits for key, limits in source.ranges.items()}
        self.fused = FusedField.of(field)

    def descend(self, moment: Moment) -> Outcome:
        first, last = self._points
        count = round(first * (last / first) ** moment.progress / 256) * 256
        targets = self._source.draw(count, seed=self._seed, step=moment.step)
        rate = moment.rate(self._field.learning_rate)
        self._optimiser.clear()
        value, errors, finite, moved = self._gradients(targets, rate, moment)
        bad = not (math.isfinite(value) and finite)
        if not bad:
            if moved:
                self._optimiser.step_count += 1
            else:
                self._optimiser.step(rate, self.fused.halves if self.fused else None)
        self._source.learn(targets, errors)
        return Outcome(
            1,
            {"loss": value, **self._quality(float(errors.mean()))},
            {"points": count, "skipped": int(bad)},
            moment.bad_in_a_row + 1 if bad else 0,
        )

    def _gradients(self, targets: Targets, rate: float, moment: Moment) -> tuple[float, Tensor, bool, bool]:
        """Compute the gradients of the loss, or update the parameters if one kernel does both.

        Returns the loss, squared errors (N,), whether all gradients are finite, and whether parameters were updated.
        """
        penalty = self._field.penalties(moment.step)
        if self.fused:
            moves = penalty is None
            parts = {"raw": targets.raw, "features": targets.features, "colour": targets.colour}
            done, errors = self.fused.train_points(
                targets.points,
                {part: wanted for part, wanted in parts.items() if wanted is not None},
                [
                    (term.part, term.measure, term.weight_at(moment.progress), term.settings)
                    for term in self._loss
                ],
                [self._optimiser.arguments(tensor, rate) for tensor in self.fused.tensors] if moves else (),
            )
            value, finite = done["loss"], done["finite"]
            if penalty is not None:
                penalty.backward()  # adds to the gradients that the kernel left
                value, finite = value + float(penalty.detach()), self._optimiser.finite()
            return value, errors, finite, moves
        values = self._compared(targets)
        loss = total(self._loss, values, moment.progress)
        if penalty is not None:
            loss = loss + penalty
        loss.backward()
        errors = self._squared_errors(self._loss[0].part, *values[self._loss[0].part])
        return float(loss.detach()), errors, self._optimiser.finite(), False

    def _compared(self, targets: Targets) -> dict[str, tuple[Any, ...]]:
        """Return what the field says and what it should, for each part of the loss that the source has."""
        features = self._field.features(targets.points)
        values: dict[str, tuple[Any, ...]] = {}
        if targets.raw is not None:
            # A field with several values has them in the vector.
            found = features.vector if features.raw is None else features.raw[..., None]
            values["raw"] = (found, targets.raw)
        if targets.features is not None:
            values["features"] = (features.vector, targets.features)
        if targets.colour is not None:
            values["colour"] = (self._field.head(features, targets.points).colour, targets.colour)
        return values

    def _squared_errors(self, part: str, found: Tensor, wanted: Tensor) -> Tensor:
        """Return squared errors (N,), mean over the channels: of probabilities where raw values are logits."""
        found = found.detach()
        if part == "raw" and self._field.meaning.transform.function == "sigmoid":
            found = self._field.meaning.transform(found)
        return (found - wanted).square().mean(-1)

    def _quality(self, mse: float) -> dict[str, float]:
        """Return the step's error, in dB where colours are compared, or raw values that are colours over their own range."""
        if "colour" in (self._loss[0].part, self._field.meaning.kind.output):
            return {"psnr": psnr_of(max(mse, 1e-10))}
        return {"error": math.sqrt(mse)}

    def occupied(self) -> Tensor | None:
        return None

    def follow(self) -> None:
        self.fused = FusedField.of(self._field)

    def tensors(self) -> dict[str, Tensor]:
        return restoring.joined(source=self._source.tensors())

    def allowed_shapes(self) -> dict[str, set[str]]:
        return {}

    def state(self) -> dict[str, Any]:
        return {"source": self._source.state()}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any], moment: Moment) -> None:
        self.follow()
        self._source.restore(restoring.part(tensors, "source"), state["source"])
