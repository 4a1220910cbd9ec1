"""ValueConversion: a field without directions taught by another: pictures, videos, distances, occupancy, volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polyfield.distill import values
from polyfield.distill.effort import uses
from polyfield.distill.options import Conversion
from polyfield.distill.task import ConversionTask, Taught, copy_field, fill
from polyfield.distill.values import TeacherValues, placed, raw_values, vectors
from polyfield.fields import Field, FieldSpec, StoredField
from polyfield.fields.context import FieldContext
from polyfield.fitting.losses import Term
from polyfield.fitting.metrics.images import psnr_of
from polyfield.fitting.metrics.surfaces import interior_iou
from polyfield.fitting.objective import Objective
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.points.point_objective import COUNTS, PointObjective
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.runs.devices import device_of
from polyfield.fitting.tasks.memory import Memory, predict_values
from polyfield.fitting.tasks.task import Evaluation, MakeObjective
from polyfield.kernels import uniform
from polyfield.progress import Progress

# Raw values of teacher and student at random points of the domain; PSNR where values are colours, over their range; of shapes
# the interior IoU too.
PROTOCOL = "polyfield-conversion-1"

_COMPARED = 1 << 19  # points
_SEED_OF_POINTS = 1 << 40


class ValueConversion(ConversionTask):
    """Raw values are compared at points: anywhere, and of shapes most of them near the surface."""

    counts = COUNTS

    def __init__(self, taught: Taught, conversion: Conversion) -> None:
        super().__init__(taught)
        self._conversion = conversion

    def loss(self) -> Sequence[Term]:
        return (Term("raw", self.meaning.kind.loss),)

    def objective(self, config: FitConfig, device: str, progress: Progress) -> MakeObjective:
        def make(field: StoredField, optimiser: Optimiser, terms: Sequence[Term]) -> Objective:
            teacher = self.taught.field
            if not (self._conversion.init_field and copy_field(teacher, field, optimiser)):
                fill(field, optimiser, lambda points: (vectors(teacher, points), None), None)
            source = TeacherValues(teacher, uses=uses(teacher, field, values.SAMPLES))
            made = PointObjective(
                field, optimiser, source, seed=config.seed, loss=terms, deterministic=config.deterministic
            )
            self.objective_ranges = made.ranges
            return made

        return make

    def forecast(self, spec: FieldSpec, config: FitConfig) -> Memory:
        pool = values.POOL * 4.0 * (self.meaning.axes + self.meaning.channels)
        return predict_values(
            spec, source=0, samples=4 * pool, evaluation=0, on_gpu=device_of(config.device) != "cpu"
        )

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        seconds = max(state["seconds"], 1e-9)
        return {
            "points_per_second": state["totals"]["points"] / seconds,
            "teacher_share_of_time": state["objective"]["source"]["seconds"] / seconds,
        }

    def compare(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        meaning, shape = self.meaning, (_COMPARED, self.meaning.axes)
        unit = uniform(shape, seed=_SEED_OF_POINTS, stream="compared", device=field.device)
        points = placed(meaning, unit)
        wanted = raw_values(self.taught.field, points)
        progress(0.5)
        found = raw_values(field, points)
        progress(1.0)
        error = float((found - wanted).double().square().mean())
        figures: dict[str, Any] = {"protocol": PROTOCOL}
        if meaning.kind.output == "colour":
            figures["psnr_to_teacher"] = psnr_of(max(error, 1e-10))
            summary = f"PSNR to the teacher {figures['psnr_to_teacher']:.2f} dB"
        else:
            figures["error_to_teacher"] = error**0.5
            summary = f"error to the teacher {figures['error_to_teacher']:.3g}"
        if meaning.kind.inside:
            middle = 0.5 if meaning.transform.function == "sigmoid" else 0.0
            inside = [
                ((raw[:, 0] - middle) * meaning.kind.inside > 0).cpu().numpy() for raw in (found, wanted)
            ]
            if inside[1].any():
                figures["iou_to_teacher"] = interior_iou(inside[0], inside[1])
                summary += f", interior IoU {figures['iou_to_teacher']:.4f}"
        return Evaluation(
            figures, f"{summary} at {_COMPARED:,} random points ({PROTOCOL})", [], "", "teacher.png"
        )
