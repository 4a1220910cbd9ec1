"""ConversionTask: what conversions of all signals share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from polyfield.distill.values import raw_values
from polyfield.fields import Field, FieldSpec, Points, StoredField
from polyfield.fields.context import FieldContext
from polyfield.fields.registry import architecture
from polyfield.fields.stored import Values
from polyfield.fitting.fit import Fit
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks.task import Evaluation, Task
from polyfield.progress import Progress, part


@dataclass(frozen=True)
class Taught:
    """A teacher as it was opened, and the task of its own source where that is still there."""

    field: Field
    context: FieldContext
    name: str
    sha256: str  # of its file
    task: Task | None = None
    sized_by: Task | None = None  # whose sizes suit the field, if not those of `task`


class ConversionTask(Task):
    """The task of a field that another field is fitted to. Subclasses give the objective and the comparison."""

    objective_ranges = {}  # noqa: RUF012 - of the objective that was made last

    def __init__(self, taught: Taught) -> None:
        self.taught, self.name, self.meaning = taught, taught.name, taught.field.meaning
        like = taught.task or taught.sized_by
        if like is not None:
            self.resolution, self.default_bytes, self.times = like.resolution, like.default_bytes, like.times

    def summary(self) -> dict[str, Any]:
        return {"kind": "field", "sha256": self.taught.sha256, "signal": self.meaning.signal}

    def remedy(self, spec: FieldSpec, fits: Callable[[FieldSpec], bool]) -> str:
        return "use a smaller --bytes or smaller sizes in --options, or free some memory"

    def importance(self, config: FitConfig, device: str, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return how fast the teacher's raw values change: the norm of their gradient, by differences, halfway in time."""
        field, domain = self.taught.field, self.meaning.domain
        step = domain.size / 256

        def change(x: Tensor) -> Tensor:
            steps = step * torch.eye(domain.dimensions, device=x.device)
            return torch.stack([(_first(field, x + s) - _first(field, x - s)) for s in steps], -1).norm(
                dim=-1
            )

        return change

    def context(self, fit: Fit) -> FieldContext:
        return self.taught.context

    @abstractmethod
    def compare(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        """Return how near a field is to the teacher."""

    def measure(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        """Return `compare`, and the measures of the teacher's own source for both, where it is still there."""
        source = self.taught.task
        found = self.compare(field, context, part(progress, 0.0, 0.3 if source else 1.0, "comparing"))
        if source is None:
            return found
        own = source.measure(field, context, part(progress, 0.3, 1.0, "evaluating"))
        summary = f"{found.summary}; against the source: {own.summary}"
        figures = {**own.figures, **found.figures, "source_protocol": own.figures["protocol"]}
        return replace(own, figures=figures, summary=summary)


@torch.no_grad()
def _first(field: Field, x: Tensor) -> Tensor:
    """Return a number (N,) for each point: the raw value, or the first of several."""
    points = Points(x, times=x.new_full((len(x),), 0.5) if field.meaning.moving else None)
    if field.meaning.kind.directional:
        return field.raw(points)
    return raw_values(field, points)[:, 0]


def fill(field: StoredField, optimiser: Optimiser, values: Values, occupied: Tensor | None) -> None:
    """Start a student at the teacher's values if the nodes of its grid store values."""
    maps = field.fill(values, occupied)
    if maps:
        optimiser.follow(field.parameter_groups(), maps)


def copy_field(teacher: Field, student: StoredField, optimiser: Optimiser) -> bool:
    """Copy all tensors of a teacher of the same architecture, options and meaning. Return whether it is one."""
    if not isinstance(teacher, StoredField):
        return False
    a, b = teacher.spec, student.spec
    if (a.architecture, a.meaning) != (b.architecture, b.meaning):
        return False
    parse = architecture(a.architecture).parse
    if parse(a.options) != parse(b.options):
        return False
    maps = student.advance(1.0)  # the structure of the end of a fit, which the teacher has
    if maps:
        optimiser.follow(student.parameter_groups(), maps)
    student.adopt(teacher)
    return True


def copy_head(teacher: Field, student: StoredField) -> bool:
    """Copy the colour network where both have one of the same shape. Return whether that was so."""
    theirs, own = getattr(teacher, "colour", None), getattr(student, "colour", None)
    if theirs is None or own is None:
        return False
    pairs = list(zip(theirs.parameters(), own.parameters()))
    same = len(list(theirs.parameters())) == len(list(own.parameters())) == len(pairs)
    if not same or any(a.shape != b.shape for a, b in pairs):
        return False
    with torch.no_grad():
        for a, b in pairs:
            b.copy_(a)
    return True
