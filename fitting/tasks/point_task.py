"""PointTask: what tasks share whose fields are compared with values at points."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from polyfield.fields import FieldSpec
from polyfield.fields.context import FieldContext
from polyfield.fitting.fit import Fit
from polyfield.fitting.losses import Term
from polyfield.fitting.points.point_objective import COUNTS, RANGES, PointObjective
from polyfield.fitting.points.source import PointSource
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.runs.devices import device_of
from polyfield.fitting.tasks.memory import Memory, predict_values
from polyfield.fitting.tasks.task import MakeObjective, Task
from polyfield.progress import Progress


class PointTask(Task):
    """Subclasses make the source of points."""

    objective_ranges = RANGES
    counts = COUNTS

    source_bytes: int  # of memory that the source takes
    sample_bytes: int = 0  # and of what is made from it before the fit
    evaluation_bytes: int = 0  # and of what measuring a field takes

    @abstractmethod
    def points(self, config: FitConfig, device: str, progress: Progress) -> PointSource:
        """Return what the field is compared with."""

    def loss(self) -> Sequence[Term]:
        return (Term("raw", self.meaning.kind.loss),)

    def objective(self, config: FitConfig, device: str, progress: Progress) -> MakeObjective:
        source = self.points(config, device, progress)
        return lambda field, optimiser, terms: PointObjective(
            field, optimiser, source, seed=config.seed, loss=terms, deterministic=config.deterministic
        )

    def forecast(self, spec: FieldSpec, config: FitConfig) -> Memory:
        on_gpu = device_of(config.device) != "cpu"
        return predict_values(
            spec,
            source=self.source_bytes,
            samples=self.sample_bytes,
            evaluation=self.evaluation_bytes,
            on_gpu=on_gpu,
        )

    def remedy(self, spec: FieldSpec, fits: Callable[[FieldSpec], bool]) -> str:
        return "use a smaller --bytes or smaller sizes in --options, or free some memory"

    def context(self, fit: Fit) -> FieldContext:
        return FieldContext(source={"name": self.name, **self.summary()})

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"points_per_second": state["totals"]["points"] / max(state["seconds"], 1e-9)}
