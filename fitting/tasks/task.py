"""Task: a source that a field is fitted to, and everything that depends on which kind of source it is."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import Field, FieldSpec, Meaning, StoredField, create
from polyfield.fields.context import FieldContext
from polyfield.fields.field_file import save_field
from polyfield.fitting.fit import RANGES, Fit
from polyfield.fitting.losses import Term
from polyfield.fitting.objective import Objective
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.runs.devices import device_of
from polyfield.fitting.runs.run import Run
from polyfield.fitting.tasks.memory import Memory, available, available_on_gpu
from polyfield.fitting.tasks.sizing import suited
from polyfield.progress import Progress

_DECAY = 1e-6  # L2


@dataclass(frozen=True)
class Evaluation:
    """What a fitted field was measured to be, and pictures of it."""

    figures: dict[str, Any]  # for eval.json
    summary: str  # the figures that matter, in a line
    sheet: list[list[Tensor]]  # rows of pictures (H, W, 3) in [0, 1]
    caption: str  # what the sheet shows
    file: str  # its name among the run's pictures


class Task(ABC):
    """Subclasses say what the source is, what a field of it is compared with, and how it is measured."""

    objective_ranges: dict[str, tuple[float, float]]  # of the objective's state
    counts: tuple[str, ...]  # of the objective

    name: str  # of the source
    meaning: Meaning  # of a field of it
    resolution: int | None = None  # pixels or voxels along the source's longest side
    times: int = 0  # of a moving source: frames of a video, or times of photographs
    architecture: str = "hashgrid"  # the default one
    default_bytes: int | None = None  # of a field where neither bytes nor options are given

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the most of the numbers in a fit's state; "a.b" is b in a."""
        totals = {f"totals.{name}": (0, 1 << 62) for name in self.counts}
        return RANGES | totals | {f"objective.{key}": own for key, own in self.objective_ranges.items()}

    # -- what the source is

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return plain data by which a run can tell later whether the source is the same: its scene.json."""

    def spec(self, config: FitConfig) -> FieldSpec:
        """Return the field that a fit makes: the one in the configuration, or one that suits the source.

        Raises PolyfieldError where the architecture cannot store it.
        """
        if config.spec is not None:
            spec = FieldSpec.from_json(config.spec)
            if spec.meaning != self.meaning:
                raise PolyfieldError(
                    f"config.json: spec has another signal or domain than the source {self.name}; "
                    "restore config.json, or begin a new run"
                )
            return spec
        asked = config.bytes is not None
        # Bits make more room where bytes are given, and smaller files where they are not.
        spec = FieldSpec(config.field, self.meaning, config.options, config.bits if asked else None)
        size = config.bytes if asked or config.options else self.default_bytes
        spec = suited(spec, self.resolution, size, asked=asked, times=self.times)
        return replace(spec, bits=config.bits)

    # -- memory

    @abstractmethod
    def forecast(self, spec: FieldSpec, config: FitConfig) -> Memory:
        """Return what a fit of that field takes."""

    @abstractmethod
    def remedy(self, spec: FieldSpec, fits: Callable[[FieldSpec], bool]) -> str:
        """Return what to do where a field does not fit into memory."""

    def memory(self, config: FitConfig) -> Memory:
        """Return what a fit takes. Raises PolyfieldError, which says what would fit, if there is not as much."""
        device, spec = torch.device(device_of(config.device)), self.spec(config)
        free = available() if device.type == "cpu" else available_on_gpu(device)

        def needed(memory: Memory) -> float:
            # On the CPU the source is in memory already.
            return memory.rest if device.type == "cpu" else memory.source + memory.rest

        memory = self.forecast(spec, config)
        if needed(memory) > free:
            if config.spec is None:
                remedy = self.remedy(spec, lambda smaller: needed(self.forecast(smaller, config)) <= free)
            else:  # a resumed fit keeps its options
                remedy = "free some memory, or begin a new run with a smaller field"
            raise PolyfieldError(
                f"{self.name}: the fit needs about {memory}, but {free / 1e9:.1f} GB are free on {device}; {remedy}"
            )
        return memory

    # -- a fit and its end

    @abstractmethod
    def loss(self) -> Sequence[Term]:
        """Return the default loss."""

    @abstractmethod
    def objective(self, config: FitConfig, device: str, progress: Progress) -> MakeObjective:
        """Prepare what the field is compared with; return a function that makes the objective of a field."""

    @abstractmethod
    def importance(self, config: FitConfig, device: str, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return where the source has detail: world points (N, D) to importance (N,), not negative.

        Called only where an architecture asks for it; what takes time is done at the first call.
        """

    def begin(self, config: FitConfig, progress: Progress, *, resumed: bool = False) -> Fit:
        """Return a fit at step 0: the field is created and placed, then the optimiser and the objective are made.

        With `resumed`, nothing is placed: a checkpoint holds the structure.
        """
        start, device = time.perf_counter(), device_of(config.device)
        make = self.objective(config, device, progress)
        field = create(self.spec(config), seed=config.seed, device=device)
        if not resumed:
            field.place(_once(lambda: self.importance(config, device, progress)), config.seed)
        field.advance(0.0)
        optimiser = Optimiser(field.parameter_groups(), decay=_DECAY)
        terms = [Term.from_json(term) for term in config.loss] if config.loss else self.loss()
        objective = make(field, optimiser, terms)
        seconds = time.perf_counter() - start
        return Fit(field, optimiser, objective, length=config.length, prepare_seconds=seconds)

    @abstractmethod
    def context(self, fit: Fit) -> FieldContext:
        """Return what the field's file says beside the field."""

    def save(self, fit: Fit, run: Run) -> None:
        """Write the run's field file."""
        save_field(run.field_path, fit.field, self.context(fit))

    @abstractmethod
    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return what a fit took, from its state."""

    @abstractmethod
    def measure(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        """Return how well a field shows the source."""

    def evaluate(self, field: StoredField, context: FieldContext, progress: Progress) -> Evaluation:
        """Return `measure`, with the field's size beside it."""
        with torch.no_grad():
            found = self.measure(field, context, progress)
        size = {"parameters": field.parameter_count(), "bytes": field.stored_bytes()}
        return replace(found, figures=found.figures | size)


MakeObjective = Callable[[StoredField, Optimiser, Sequence[Term]], Objective]


def _once(make: Callable[[], Callable[[Tensor], Tensor]]) -> Callable[[Tensor], Tensor]:
    """Return a function that is made at its first call."""
    made: list[Callable[[Tensor], Tensor]] = []

    def call(x: Tensor) -> Tensor:
        if not made:
            made.append(make())
        return made[0](x)

    return call
