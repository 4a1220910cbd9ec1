"""What tasks have in common whose fields are fitted to values at points."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import torch

from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, Field, FieldSpec, ValueTransform
from polyfield.fields.field_file import FieldContext, save_field
from polyfield.fit.devices import device_of
from polyfield.fit.points.values import RANGES, Samples, ValueFit
from polyfield.fit.runs.config import FitConfig
from polyfield.fit.runs.run import Run
from polyfield.fit.runs.session import open_field
from polyfield.fit.tasks.memory import Memory, available, available_on_gpu, predict_values
from polyfield.fit.tasks.sizing import suited
from polyfield.fit.tasks.task import Evaluation, Progress


class ValueTask(ABC):
    """Subclasses say what the source is, draw samples of it, and measure a field of it."""

    ranges: ClassVar[dict[str, tuple[float, float]]] = RANGES

    name: str
    signal: str
    domain: Domain
    resolution: int | None  # pixels or voxels along the longest side
    default_size: int  # bytes of a field where no size is asked for
    bytes: int  # of memory that the source takes
    to_come: int = 0  # and of what is made of it
    channels: int = 1
    origin: tuple[float, ...] = ()
    transform: ValueTransform | None = None  # the signal's own if there is none

    @abstractmethod
    def summary(self) -> dict[str, Any]: ...

    @abstractmethod
    def samples(self, seed: int, device: str, progress: Progress) -> Samples:
        """What the field is fitted to."""

    @abstractmethod
    def measure(self, field: Field, progress: Progress) -> Evaluation: ...

    def spec(self, config: FitConfig) -> FieldSpec:
        """The field that a fit makes: of the default size if neither a size nor options are given."""
        spec = FieldSpec.of(config.field, self.signal, self.domain, **config.options)
        spec = replace(spec, origin=self.origin or spec.origin, channels=self.channels)
        if self.transform is not None:
            spec = replace(spec, transform=self.transform)
        asked = config.size is not None
        size = config.size if asked or config.options else self.default_size
        return suited(spec, self.resolution, size, asked=asked)

    def memory(self, config: FitConfig) -> Memory:
        device = torch.device(device_of(config.device))
        on_gpu = device.type != "cpu"
        asked = predict_values(self.spec(config), source=self.bytes, to_come=self.to_come, on_gpu=on_gpu)
        free = available() if device.type == "cpu" else available_on_gpu(device)
        if asked.rest > free:
            raise PolyfieldError(
                f"{self.name}: the fit needs about {asked}; {free / 1e9:.1f} GB are free on {device}: give a smaller "
                "--size, or smaller --options"
            )
        return asked

    def begin(self, config: FitConfig, progress: Progress) -> ValueFit:
        device, start = device_of(config.device), time.perf_counter()
        if config.deterministic and device != "cpu":
            raise PolyfieldError(
                f"--deterministic: fits of {self.signal} have no kernels on {device} that are; expected --device cpu"
            )
        samples = self.samples(config.seed, device, progress)
        return ValueFit(
            self.spec(config),
            samples,
            length=config.length,
            seed=config.seed,
            device=device,
            prepare_seconds=time.perf_counter() - start,
        )

    def save(self, fit: ValueFit, run: Run) -> None:
        save_field(run.field_path, fit.field, FieldContext(source={"name": self.name, **self.summary()}))

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        return {"points_per_second": state["totals"]["points"] / max(state["seconds"], 1e-9)}

    def evaluate(self, run: Run, device: str, progress: Progress) -> Evaluation:
        field, _ = open_field(run.field_path, device)
        with torch.no_grad():
            found = self.measure(field, progress)
        size = {"parameters": field.parameter_count(), "bytes": field.stored_bytes()}
        return replace(found, figures=found.figures | size)
