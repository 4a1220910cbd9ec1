"""Sessions: from a run's files to its fit and its field: resuming, the figures of a fit, opening a field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from polyfield.cameras.cameras import Cameras
from polyfield.errors import PolyfieldError, naming, shown
from polyfield.fields import StoredField
from polyfield.fields.context import FieldContext
from polyfield.fields.field_file import load_field
from polyfield.fitting.fit import Fit
from polyfield.fitting.runs import checkpoints
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.runs.devices import device_of, machine
from polyfield.fitting.runs.run import Run
from polyfield.fitting.tasks.task import Task

_ALTERED = (
    "the file was altered; continue from another checkpoint with `polyfield resume RUN --generation STEP`"
)


def resume(task: Task, fit: Fit, run: Run, generation: int | None) -> tuple[str, ...]:
    """Restore a fit from a run's newest checkpoint, or from the one of a step. Returns warnings, a line each."""
    warnings = _another_machine(fit, run)
    if generation is None and not checkpoints.begun(run.path):
        if run.field_path.exists():
            raise PolyfieldError(
                f"{shown(run.path)} holds a field but no checkpoint to continue from; begin a new run"
            )
        warnings.append(f"{shown(run.path)}: the fit stopped before it saved a checkpoint; starting over")
        return (*warnings, *run.truncate_metrics(0))
    checkpoint = checkpoints.load(run.path, generation)
    check_state(checkpoint, task.ranges)
    with naming(checkpoint.path):
        fit.restore(checkpoint.tensors, checkpoint.state)
    return (*warnings, *checkpoint.warnings, *run.truncate_metrics(checkpoint.step))


def _another_machine(fit: Fit, run: Run) -> list[str]:
    """Return a warning where a fit continues on another machine than it began on."""
    then, now = run.config.get("machine"), machine(fit.device)
    if not isinstance(then, dict):
        return []
    changes = [f"{key} {then.get(key)!r:.40} (now {now[key]!r})" for key in now if then.get(key) != now[key]]
    if not changes:
        return []
    began = f"{shown(run.path / 'config.json')}: the fit began with {', '.join(changes)}"
    return [f"{began}; the result will not be bit-identical to that of an uninterrupted fit"]


def check_state(checkpoint: checkpoints.Checkpoint, ranges: dict[str, tuple[float, float]]) -> None:
    """Refuse a state whose numbers no fit could have had; fits check the types of all values."""
    where, state = shown(checkpoint.path / checkpoints.STATE), checkpoint.state
    for key, (least, most) in ranges.items():
        value: Any = state
        for name in key.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise PolyfieldError(
                f"{where}: {key} is {value!r:.80}; expected a number from {least} to {most}; {_ALTERED}"
            )
    if state["steps"] != checkpoint.step:
        raise PolyfieldError(
            f"{where}: steps is {state['steps']}; the folder's name says {checkpoint.step}; {_ALTERED}"
        )


def figures(task: Task, fit: Fit, config: FitConfig) -> dict[str, Any]:
    """Return what a fit took."""
    return _figures(task, fit.state(), _repeats(config, str(fit.device)))


def figures_of(task: Task, run: Run, config: FitConfig) -> dict[str, Any]:
    """Return what a finished run's fit took. Raises PolyfieldError where its newest checkpoint cannot say."""
    checkpoint = checkpoints.load(run.path)
    check_state(checkpoint, task.ranges)
    state, begun_on = checkpoint.state, run.config.get("machine")
    if config.length.progress(state["steps"], state["seconds"]) < 1:
        raise PolyfieldError(
            f"{shown(checkpoint.path)} was not written at the end of the fit; resume the run to finish the fit"
        )
    device = begun_on.get("device") if isinstance(begun_on, dict) else None
    return _figures(task, state, _repeats(config, device))


def _repeats(config: FitConfig, device: str | None) -> bool:
    return config.steps is not None and (config.deterministic or device == "cpu")


def _figures(task: Task, state: dict[str, Any], repeats: bool) -> dict[str, Any]:
    return {
        "steps": state["steps"],
        "train_seconds": state["seconds"],
        "prepare_seconds": state["prepare_seconds"],
        **task.figures(state),
        "steps_skipped": state["totals"]["skipped"],
        "deterministic": repeats,
    }


def open_field(path: Path, device: str) -> tuple[StoredField, FieldContext]:
    """Return the field of a file on a device, which may be `auto`, and its context."""
    device = device_of(device)
    field, context = load_field(path)
    if context.cameras:
        with naming(path):
            Cameras.from_json(context.cameras)
    if context.occupancy is not None:
        context = replace(context, occupancy=context.occupancy.to(device))
    return field.to(device), context
