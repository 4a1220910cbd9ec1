"""Fitting a field to a source, and continuing a fit that was stopped."""

from __future__ import annotations

import contextlib
import os
import signal as signals
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.api.evaluate import measured
from polyfield.api.notebook import as_html
from polyfield.api.report import say, showing
from polyfield.api.sources import absolute, open_task
from polyfield.api.tasks import open_again

if TYPE_CHECKING:
    from polyfield.fitting.fit import Fit
    from polyfield.fitting.losses import Term
    from polyfield.fitting.runs.config import FitConfig
    from polyfield.fitting.runs.run import Run
    from polyfield.fitting.tasks.task import Task

DEFAULT_SECONDS = 120.0


@dataclass(frozen=True)
class FitResult:
    """The folder, the figures and the end of a fit."""

    run: Path  # the run's folder
    figures: dict[str, Any]  # training time, steps and quality, as in eval.json
    stopped_by: str | None = None  # the OS signal that stopped the fit, such as SIGINT; the fit was saved

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the figures of quality, and the picture of the evaluation."""
        return as_html(self.run, self.figures)


def fit(
    source: str | os.PathLike[str] = "demo",
    /,
    *,
    field: str | None = None,
    kind: str | None = None,
    box: Sequence[float] | None = None,
    signal: str | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    downscale: int = 1,
    bytes: int | None = None,
    bits: int | None = None,
    options: Mapping[str, int | str] | None = None,
    loss: Sequence[Term | Mapping[str, Any]] | None = None,
    seed: int = 0,
    device: str = "auto",
    deterministic: bool = False,
    out: str | os.PathLike[str] | None = None,
    save_seconds: float = 30.0,
    view: bool = False,
) -> FitResult:
    """Fit a field to a source, measure it, and write a run folder.

    Parameters
    ----------
    source
        A path to posed photographs, a picture, a video, a mesh, a point cloud or a volume; or a built-in scene, "demo" or
        "demo-moving".
    field
        The architecture, one of `polyfield.ARCHITECTURES`. If None, hashgrid, and kplanes for a video.
    kind
        What to read the source as: "scene", "picture", "video", "mesh", "cloud" or "volume". Its name and content decide if None.
    box
        Centre and half size (x, y, z, h) of a scene's region of detail, in its own coordinates: the box of a Blender scene,
        the part of space that is not contracted of any other. The cameras decide if None.
    signal
        What the field's values are, one of `polyfield.SIGNALS`. The source decides if None.
    steps, seconds
        The length of the fit; give at most one. 120 seconds of training if neither is given. With steps, the same
        seed gives the same bytes on a CPU; on a GPU also set `deterministic`.
    downscale
        Average blocks of `downscale` x `downscale` pixels into one.
    bytes
        Take the largest field that stores at most this many bytes.
    bits
        With 8, tables and networks are stored as 8-bit whole numbers with scales, and the last part of the fit takes that into
        account. Without, tables are stored in half precision and networks in single.
    options
        Options of the architecture, for example ``{"log2_size": 17}``.
    loss
        Loss terms (`polyfield.Term`) that replace the default ones for this kind of source, for example
        ``[{"part": "colour", "measure": "huber"}, {"part": "weights", "measure": "distortion", "weight": 0.01}]``.
    seed
        All randomness follows from it.
    device
        "cpu", "cuda", or "auto".
    deterministic
        On a GPU, sum gradients in fixed point, so that a fit by steps can be repeated bit for bit.
    out
        The run's folder, which must be new or empty; ``runs/SOURCE-FIELD-N`` if None.
    save_seconds
        Seconds between checkpoints.
    view
        Open the interactive viewer (see `polyfield.view`) while the field is fitted, and until Ctrl-C after that.

    Returns
    -------
    FitResult
        The run's folder, its figures, and the OS signal that stopped the fit, if any.

    Raises
    ------
    PolyfieldError
        If the source cannot be read, an option is invalid, there is not enough memory, or the fit diverges.

    Examples
    --------
    >>> import polyfield, tempfile
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     result = polyfield.fit("demo", steps=20, out=f"{folder}/run")
    >>> result.figures["steps"], result.figures["psnr"] > 2
    (20, True)
    """
    from polyfield.fitting.losses import Term
    from polyfield.fitting.runs.config import FitConfig
    from polyfield.fitting.runs.devices import device_of
    from polyfield.fitting.tasks.task import Task

    if steps is None and seconds is None:
        seconds = DEFAULT_SECONDS
    config = FitConfig(
        source=absolute(os.fspath(source)),
        field=field or Task.architecture,
        steps=steps,
        seconds=seconds,
        downscale=downscale,
        options=dict(options or {}),
        seed=seed,
        device=device,
        save_seconds=save_seconds,
        deterministic=deterministic,
        kind=kind,
        box=None if box is None else list(box),
        signal=signal or "radiance",
        bytes=bytes,
        bits=bits,
        loss=[term.to_json() if isinstance(term, Term) else dict(term) for term in loss or ()],
    )
    device_of(device)
    task = open_task(os.fspath(source), signal, downscale, kind=kind, box=config.centre_and_half)
    if field is None:
        config = replace(config, field=task.architecture)
    return begin(config, task, None if out is None else Path(out), view=view)


def begin(config: FitConfig, task: Task, out: Path | None, *, view: bool = False) -> FitResult:
    """Begin the fit of a configuration in a new run folder, and finish it."""
    from polyfield.fitting.runs.devices import machine
    from polyfield.fitting.runs.run import Run

    fitting = _prepare(config, task, resumed=False)
    config = replace(config, signal=task.meaning.signal, spec=fitting.field.spec.to_json())
    run = Run.create(  # only now: a fit that is refused leaves no folder
        out,
        source_name=task.name,
        architecture=config.field,
        config={**vars(config), "machine": machine(fitting.device)},
        scene=task.summary(),
    )
    with run.lock():
        return _train(run, config, task, fitting, view)


def resume(
    run: str | os.PathLike[str],
    /,
    *,
    generation: int | None = None,
    source: str | os.PathLike[str] | None = None,
    view: bool = False,
) -> FitResult:
    """Continue a run's fit from a checkpoint, with the options that it was begun with.

    Parameters
    ----------
    run
        The run's folder.
    generation
        The step of the checkpoint to continue from; the newest if None.
    source
        The path of the source, if it was moved since the fit began.
    view
        As in `fit`.

    Returns
    -------
    FitResult
        As for `fit`. If the run was begun with ``steps``, the final tensors equal those of an uninterrupted fit, bit for
        bit, on a CPU with the same number of threads, or on a GPU with ``deterministic``.

    Raises
    ------
    PolyfieldError
        If the folder holds no run, its source has changed, or no checkpoint is intact. A run that saved nothing starts
        over.

    Examples
    --------
    >>> import polyfield, tempfile
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     begun = polyfield.fit("demo", steps=20, out=f"{folder}/run")
    ...     resumed = polyfield.resume(begun.run)
    >>> resumed.figures["psnr"] == begun.figures["psnr"]
    True
    """
    from polyfield.fitting import session
    from polyfield.fitting.runs import checkpoints
    from polyfield.fitting.runs.config import FitConfig
    from polyfield.fitting.runs.run import Run

    opened = Run.open(run)
    config = FitConfig.of(opened.config, str(opened.path / "config.json"))
    task = open_again(opened, config, source)
    placed = generation is not None or checkpoints.begun(opened.path)
    fitting = _prepare(config, task, resumed=placed)
    with opened.lock():
        for warning in session.resume(task, fitting, opened, generation):
            say(f"warning: {warning}")
        say(f"{opened.path}: continuing from step {fitting.steps}")
        return _train(opened, config, task, fitting, view)


def _prepare(config: FitConfig, task: Task, *, resumed: bool) -> Fit:
    say(f"fitting {task.meaning.signal}")
    say(f"memory: about {task.memory(config)}")
    with showing("preparing") as progress:
        return task.begin(config, progress, resumed=resumed)


def _train(run: Run, config: FitConfig, task: Task, fitting: Fit, view: bool) -> FitResult:
    from polyfield.api.view import watching
    from polyfield.fitting.runs.loop import train

    made = fitting.field
    say(
        f"{run.path}: {config.field}, {made.parameter_count():,} parameters, {made.stored_bytes():,} bytes, on "
        f"{fitting.device}"
    )
    with watching(run, task, fitting) if view else contextlib.nullcontext() as watch:
        with showing("fitting") as progress:
            status = train(
                fitting,
                run,
                save_seconds=config.save_seconds,
                report=lambda step: progress(fitting.progress, f"{step}, {fitting.rate}"),
                between=watch.between if watch else None,
            )
        result = _finished(run, config, task, fitting, status)
        if watch and not status:
            watch.stay()
    return result


def _finished(run: Run, config: FitConfig, task: Task, fitting: Fit, status: int) -> FitResult:
    from polyfield.fitting import session

    took = session.figures(task, fitting, config)
    if status:
        name = signals.Signals(status - 128).name
        say(f"stopped by {name} at step {fitting.steps}; continue with: polyfield resume {run.path}")
        return FitResult(run.path, took, stopped_by=name)
    task.save(fitting, run)
    return FitResult(run.path, measured(run, task, took, str(fitting.device)))
