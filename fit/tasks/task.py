"""Task: a source that a field is to be fitted to, and all that hangs on which kind it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from polyfield.fit.fit import Fit
from polyfield.fit.runs.config import FitConfig
from polyfield.fit.runs.run import Run
from polyfield.fit.tasks.memory import Memory

# Gets what is being done and its share in [0, 1].
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Evaluation:
    """What a fitted field was measured to be, and pictures of it."""

    figures: dict[str, Any]  # for eval.json
    said: str  # the figures that matter, in a line
    sheet: list[list[Tensor]]  # rows of pictures (H, W, 3) in [0, 1]
    caption: str  # what the sheet shows
    file: str  # its name among the run's pictures


class Task(Protocol):
    """Tasks are made by `apps.sources` from what a path holds."""

    # The least and the most that numbers of a fit's state can be; "a.b" is b in a.
    ranges: ClassVar[dict[str, tuple[float, float]]]

    @property
    def name(self) -> str:
        """Of the source."""

    @property
    def signal(self) -> str:
        """What is fitted."""

    def summary(self) -> dict[str, Any]:
        """Plain data by which a run can tell later whether the source is still the same: its scene.json."""

    def memory(self, config: FitConfig) -> Memory:
        """What a fit will take. Raises PolyfieldError if there is not as much, and says what would fit."""

    def begin(self, config: FitConfig, progress: Progress) -> Fit:
        """A fit at step 0."""

    def save(self, fit: Any, run: Run) -> None:
        """Write the run's field file."""

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        """What a fit took, from its state."""

    def evaluate(self, run: Run, device: str, progress: Progress) -> Evaluation:
        """Measure the field of the run's file."""
