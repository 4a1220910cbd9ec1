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
from polyfield.errors import PolyfieldError, as_stored, shown

if TYPE_CHECKING:
    from polyfield.fitting.fit import Fit
    from polyfield.fitting.losses import Term
    from polyfield.fitting.runs.config import FitConfig
    from polyfield.fitting.runs.run import Run
    from polyfield.fitting.tasks.task import Task

DEFAULT_SECONDS = 120.0


@dataclass(frozen=True)
class FitResult:
    """The result of a fit.

    Attributes
    ----------
    run
        The run folder.
    figures
        The training time, the number of steps and, if the fit was finished, the figures of the evaluation. The keys are
        those of eval.json.
    stopped_by
        The name of the OS signal that stopped the fit, such as "SIGINT", or None. A stopped fit is saved, and `resume`
        continues it.
    """

    run: Path  # the run's folder
    figures: dict[str, Any]  # training time, steps and quality, as in eval.json
    stopped_by: str | None = None  # the OS signal that stopped the fit, such as SIGINT; the fit was saved

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the run folder, its main figures, and the newest picture in its folder renders."""
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
    """Fit a field to posed photographs, a picture, a video, a mesh, a point cloud or a volume, then evaluate the field.

    The field, its configuration and its figures are written to a run folder.

    Parameters
    ----------
    source
        What the field is fitted to.
        A scene: a folder with transforms.json or transforms_train.json, or the path of one of these files.
        A picture (PNG, JPEG, WebP, BMP, GIF, EXR) or a video (MP4, MOV, WebM, MKV, AVI).
        A mesh (OBJ, PLY, STL, GLB, OFF), a point cloud (PLY, PCD, npz, npy) or a volume (npy, npz, NIfTI, TIFF).
        A built-in scene: "demo", or "demo-moving", which changes with time.
    field
        The architecture, one of `polyfield.ARCHITECTURES`. If None, "kplanes" for videos and "hashgrid" for all other
        sources.
    kind
        The kind of the source: "scene", "picture", "video", "mesh", "cloud" or "volume". If None, it is detected.
    box
        For scenes: the cube to model in detail, (x, y, z, h). The centre x, y, z and the half size h are in the coordinates
        of the camera poses. If None, the cube is computed from the camera poses, and from the point cloud if the scene has
        one.
    signal
        The kind of value that the field stores, one of `polyfield.SIGNALS`.
        Scene: radiance. Picture: image. Video: video. Volume: volume. Point cloud: udf. Mesh: sdf, udf or occupancy.
        sdf and udf are signed and unsigned distances. If None, sdf for closed meshes and udf for other meshes.
    steps
        The number of training steps. On a CPU with the same number of threads, fits with `steps` repeat bit-identically.
    seconds
        The training time in seconds. Give at most one of `steps` and `seconds`. If neither is given, 120.
    downscale
        Replace each block of N x N pixels by its mean, where N is the given number.
    bytes
        Use the largest field whose stored parameters and buffers take at most this many bytes. The hidden layers of an mlp
        then have at most 64 units, and the rank of cp is at most 256.
    bits
        With 8, tables and networks are stored as compressed 8-bit integers with scales. If None, tables are
        stored in half precision and networks in single precision.
    options
        Options of the architecture, for example ``{"entries": 1 << 17}``. A wrong name raises an error that lists all names.
    loss
        Loss terms that replace the default terms for this kind of source. A term is a `polyfield.Term`, or a dictionary
        with the keys part, measure and, optionally, weight and options. An example for scenes is
        ``[{"part": "colour", "measure": "huber"}, {"part": "weights", "measure": "distortion", "weight": 0.01}]``.
    seed
        The seed of all random numbers.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".
    deterministic
        On a GPU, sum gradients in fixed point, so that fits with `steps` repeat bit-identically. This is slower, and
        possible only for radiance fields of the architectures hashgrid and densegrid.
    out
        The run folder that is written, new or empty. If None, ``runs/SOURCE-FIELD-N``, with the first free number N.
    save_seconds
        The time between checkpoints, in seconds.
    view
        Open the interactive viewer during the fit (see `polyfield.view`). The viewer stays open after the fit, until Ctrl-C.

    Returns
    -------
    FitResult
        The run folder, its figures, and the OS signal that stopped the fit, if any.

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
    """Continue a fit that was stopped, with the options that it was started with.

    If the run has no checkpoint yet, the fit starts from the beginning.

    Parameters
    ----------
    run
        The run folder.
    generation
        The step of the checkpoint to continue from. If None, the newest checkpoint.
    source
        The new path of the source, if the source was moved after the fit began.
    view
        As in `fit`.

    Returns
    -------
    FitResult
        As for `fit`. A resumed fit with `steps` gives the same tensors, bit for bit, as an uninterrupted fit. This holds on
        a CPU with the same number of threads, and on a GPU with `deterministic`.

    Raises
    ------
    PolyfieldError
        If the folder holds no run, its source has changed, or no checkpoint is intact.

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
    from polyfield.fitting.runs.devices import device_of
    from polyfield.fitting.runs.run import Run

    opened = Run.open(run)
    where = opened.path / "config.json"
    config = FitConfig.of(opened.config, str(where))
    try:
        device_of(config.device)
    except PolyfieldError as error:
        raise PolyfieldError(
            f"{shown(where)}: {as_stored(error)}; resume the run on a machine with this device, or change "
            "the option in config.json"
        ) from None
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
