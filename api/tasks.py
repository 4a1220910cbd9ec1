"""The tasks of runs: opening again what a run was begun with, and opening what a field is converted from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from polyfield.api.opening import EDIT, cropped, open_any, sha256_of
from polyfield.api.report import say
from polyfield.api.sources import BUILT_IN, open_task
from polyfield.errors import PolyfieldError, shown
from polyfield.fitting.runs.run import Run

if TYPE_CHECKING:
    from polyfield.distill.task import ConversionTask
    from polyfield.fitting.runs.config import FitConfig
    from polyfield.fitting.tasks.task import Task


def is_function(source: str) -> bool:
    """Return whether a source has the form `module:function`."""
    module, colon, name = source.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def is_field(source: str) -> bool:
    """Return whether a source is a run's folder or a .field file."""
    path = Path(source)
    return (path / "config.json").is_file() or path.suffix == ".field"


_MOVED = "if the source was moved, give its path with --source"


def open_again(
    run: Run, config: FitConfig, source: str | os.PathLike[str] | None, *, missing: str = _MOVED
) -> Task:
    """Return the task that a run was begun with, at another path if `source` is one.

    Raises PolyfieldError if the source has changed, or is no longer there. `missing` is then the advice.
    """
    place = config.source if source is None else os.fspath(source)
    taught = config.conversion is not None
    if place not in BUILT_IN and not os.path.exists(place) and not (taught and is_function(place)):
        raise PolyfieldError(f"{shown(place)}: no such file or folder; {missing}")
    if taught:
        task: Task = open_conversion(place, config)
    else:
        try:
            task = open_task(
                place, config.signal, config.downscale, kind=config.kind, box=config.centre_and_half
            )
        except PolyfieldError as error:
            if not str(error).startswith("--"):
                raise
            reason = str(error).partition(";")[0]
            raise PolyfieldError(
                f"{shown(place)} does not suit the stored options of {shown(run.path)} ({reason}); restore the source; {missing}"
            ) from None
    now, then = task.summary(), run.scene
    for key in now.keys() - {"root", "name", "format", "near", "skipped"}:
        if now[key] != then.get(key):
            raise PolyfieldError(
                f"{run.path / 'scene.json'}: the source {shown(place)} has changed since the run began "
                f"({key} has another value); restore it, or begin a new run"
            )
    return task


def open_conversion(source: str, config: FitConfig) -> ConversionTask:
    """Return the task of fitting a field to another: that of a run or a .field file, or a function.

    Raises PolyfieldError where there is none, or its file is damaged.
    """
    from polyfield.distill.options import Conversion
    from polyfield.distill.radiance_task import RadianceConversion
    from polyfield.distill.task import Taught
    from polyfield.distill.value_task import ValueConversion

    conversion = Conversion.from_json(config.conversion)
    taught = _function(source, config) if is_function(source) else _stored(source, config)
    assert isinstance(taught, Taught)
    say(f"the teacher is {taught.name}, a field with the signal {taught.field.meaning.signal!r}")
    if taught.field.meaning.kind.directional:
        return RadianceConversion(taught, conversion)
    return ValueConversion(taught, conversion)


def _stored(source: str, config: FitConfig) -> object:
    from polyfield.distill.task import Taught
    from polyfield.fitting.runs.devices import device_of

    path, box = Path(source), config.centre_and_half
    run = Run.open(path) if path.is_dir() else None
    field, context = open_any(path, device_of(config.device))
    if box is not None:
        field, context = cropped(field, context, box, shown(source))
    field.context = context
    task = None if run is None or EDIT in run.config else _own_task(run)
    name, sha256 = path.resolve().name.removesuffix(".field"), sha256_of(path)
    # The source is that of the whole field: sizes that suit it suit a part too, but a part cannot be compared with it.
    return Taught(field, context, name, sha256, None if box is not None else task, sized_by=task)


def _own_task(run: Run) -> Task | None:
    """Return the task of the source that a run's field comes from, at the end of any chain of conversions, or None."""
    from polyfield.fitting.runs.config import FitConfig
    from polyfield.fitting.runs.run import Run

    try:
        for _ in range(100):
            if EDIT in run.config:
                return None
            config = FitConfig.of(run.config, str(run.path / "config.json"))
            if config.conversion is None:
                return open_again(run, config, None, missing="for the comparison, move it back to this path")
            if config.box is not None:  # a part of its teacher, or a function
                return None
            if not Path(config.source).is_dir():
                return None
            run = Run.open(config.source)
    except PolyfieldError as error:
        say(f"warning: the student is not compared with the teacher's source: {error}")
    return None


def _function(source: str, config: FitConfig) -> object:
    from polyfield.distill.function import FunctionField, function_of
    from polyfield.distill.task import Taught
    from polyfield.fields import Domain, Meaning
    from polyfield.fields.context import FieldContext
    from polyfield.fields.signals import signal
    from polyfield.fitting.runs.devices import device_of

    kind = signal(config.signal)
    box = config.centre_and_half
    if kind.moving:
        raise PolyfieldError(
            f"{shown(source)}: --signal {kind.name}: functions of time cannot be converted; choose another signal"
        )
    if box is not None and kind.dimensions != 3:
        raise PolyfieldError(
            f"{shown(source)}: --box is for signals in three dimensions; the domain of {kind.name} is [0, 1]^2; "
            "omit --box"
        )
    if box is None and kind.dimensions == 3:
        raise PolyfieldError(
            f"{shown(source)}: a function needs --box, the centre and half size x y z h of its domain"
        )
    centre, half = (box[:3], box[3]) if box and kind.dimensions == 3 else ((0.5, 0.5), 0.5)
    function, code = function_of(source)
    meaning = Meaning.of(kind.name, Domain.around(centre, [half] * len(centre)), channels=kind.channels or 3)
    context = FieldContext(step_size=half / 256) if kind.directional else FieldContext()
    sha256 = hashlib.sha256(code).hexdigest()
    field = FunctionField(function, meaning, source, device_of(config.device))
    return Taught(field, context, source.replace(":", "-"), sha256)
