"""Converting a field to another architecture by distillation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.api.fit import DEFAULT_SECONDS, FitResult, begin, fit
from polyfield.api.sources import absolute
from polyfield.api.tasks import is_field, is_function, open_conversion
from polyfield.errors import PolyfieldError, shown

if TYPE_CHECKING:
    from polyfield.fitting.losses import Term


def convert(
    teacher: str | os.PathLike[str],
    /,
    *,
    to: str = "mlp",
    steps: int | None = None,
    seconds: float | None = None,
    bytes: int | None = None,
    bits: int | None = None,
    options: Mapping[str, int | str] | None = None,
    stages: Sequence[float] | None = None,
    hard: Sequence[str] = ("poses", "rays", "points"),
    init_head: bool = True,
    init_field: bool = True,
    loss: Sequence[Term | Mapping[str, Any]] | None = None,
    signal: str | None = None,
    box: Sequence[float] | None = None,
    seed: int = 0,
    device: str = "auto",
    deterministic: bool = False,
    out: str | os.PathLike[str] | None = None,
    save_seconds: float = 30.0,
    view: bool = False,
) -> FitResult:
    """Fit a new field of any architecture (the student) to an existing field (the teacher), then compare the two fields.

    The teacher's photographs or other source data are not needed. The student, its configuration and its figures are
    written to a run folder.

    For radiance, up to three stages compare latent vectors, then samples on rays, then rendered colours (progressive
    volume distillation, Fang et al. 2023). A colour network maps a latent vector and the direction to a colour. For
    other signals, values are compared at points.

    Parameters
    ----------
    teacher
        A run folder, a .field file, a mesh, or a Python function, written as ``module:function``. To a mesh, the student is
        fitted directly, as by `fit`.
    to
        The architecture of the student, one of `polyfield.ARCHITECTURES`.
    steps
        The number of training steps. On a CPU with the same number of threads, fits with `steps` repeat bit-identically.
    seconds
        The training time in seconds. Give at most one of `steps` and `seconds`. If neither is given, 120.
    bytes
        Use the largest field whose stored parameters and buffers take at most this many bytes. The hidden layers of an mlp
        then have at most 64 units, and the rank of cp is at most 256.
    bits
        With 8, tables and networks are stored as compressed 8-bit integers with scales. If None, tables are
        stored in half precision and networks in single precision.
    options
        Options of the student's architecture, for example ``{"width": 128, "layers": 8}``.
    stages
        For radiance: two shares of the fit, from 0 to 1, at which the first two of three stages end. If None, (0.02, 0.1),
        and for mlp and cam (0.05, 0.5), or (0.05, 1) if the teacher has no occupancy grid.
    hard
        For radiance: the levels of active learning (Fang et al. 2024), some of "poses", "rays" and "points". Poses and rays
        with large errors, and important points on rays, are compared more often. Important points have large rendering
        weights.
    init_head
        For radiance: start with the teacher's colour network if the student's colour network has the same shape. Latent
        vectors are compared only in this case, and only if the teacher is neither edited nor restricted by `box`.
    init_field
        Start with all parameters of the teacher if student and teacher have the same architecture, options and domain. Of an
        edited teacher, these are the parameters of the field that was edited, except for voxels and rbf. For radiance, this
        start requires `init_head`.
    loss
        Loss terms that replace the default terms at samples or points, in the form that `fit` takes. For radiance, the loss
        of rendered colours does not change.
    signal
        For functions (required) and meshes: the kind of value that the field stores, such as "sdf" or "radiance".
    box
        The student's domain, a cube in the source's coordinates: the centre and the half size, (x, y, z, h). Functions of
        three coordinates require `box`. With a field as teacher, only this part of the field is converted.
    seed
        The seed of all random numbers.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".
    deterministic
        On a CPU, without effect. On a GPU, True raises PolyfieldError, because conversions have no deterministic kernels.
    out
        The run folder that is written, new or empty. If None, ``runs/TEACHER-TO-N``, with the first free number N.
    save_seconds
        The time between checkpoints, in seconds.
    view
        As in `fit`, with student and teacher side by side.

    Returns
    -------
    FitResult
        The run folder, its figures, and the OS signal that stopped the fit, if any. The figure ``psnr_to_teacher`` or, for
        distances and occupancy, ``error_to_teacher`` compares student and teacher. If the teacher is an unedited run whose
        source still exists, the student is also evaluated on this source, except with `box`. For a mesh, the figures are
        those of `fit`.

    Raises
    ------
    PolyfieldError
        If the teacher cannot be read, an option is invalid, there is not enough memory, or the fit diverges.

    Examples
    --------
    >>> import polyfield, tempfile
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     teacher = polyfield.fit("demo", steps=20, out=f"{folder}/teacher").run
    ...     result = polyfield.convert(teacher, to="mlp", steps=20, out=f"{folder}/student")
    >>> result.figures["psnr_to_teacher"] > 10
    True
    """
    from polyfield.distill.options import Conversion
    from polyfield.fields.signals import SIGNALS
    from polyfield.fitting.losses import Term
    from polyfield.fitting.runs.config import FitConfig

    source = os.fspath(teacher)
    common: dict[str, Any] = {
        "seed": seed,
        "device": device,
        "save_seconds": save_seconds,
        "bytes": bytes,
        "bits": bits,
    }
    if not is_field(source) and not is_function(source):
        return _of_mesh(
            source,
            signal,
            {"box": box, "stages": stages, "hard": hard},
            field=to,
            steps=steps,
            seconds=seconds,
            options=options,
            loss=loss,
            deterministic=deterministic,
            out=out,
            view=view,
            **common,
        )
    if is_function(source) and signal is None:
        raise PolyfieldError(
            f"{shown(source)}: a function needs --signal; expected one of "
            f"{', '.join(name for name, kind in SIGNALS.items() if not kind.moving)}"
        )
    if is_field(source) and signal is not None:
        raise PolyfieldError(
            f"{shown(source)}: a field has its own signal; --signal is for functions and meshes only; omit it"
        )
    if steps is None and seconds is None:
        seconds = DEFAULT_SECONDS
    shares = None if stages is None else tuple(stages)
    conversion = Conversion(shares, tuple(hard), init_head, init_field)  # type: ignore[arg-type]  # it checks their number
    config = FitConfig(
        source=source if is_function(source) else absolute(source),
        field=to,
        steps=steps,
        seconds=seconds,
        options=dict(options or {}),
        deterministic=deterministic,
        box=None if box is None else list(box),
        signal=signal or "radiance",
        loss=[term.to_json() if isinstance(term, Term) else dict(term) for term in loss or ()],
        conversion=conversion.to_json(),
        **common,
    )
    return begin(config, open_conversion(source, config), None if out is None else Path(out), view=view)


def _of_mesh(source: str, signal: str | None, unused: dict[str, Any], **options: Any) -> FitResult:
    """Fit a field to a mesh, whose distances are exact: it needs no teacher."""
    from polyfield.data.kinds import kind_of
    from polyfield.distill.options import LEVELS

    kind = kind_of(source, None)
    if kind.name != "mesh":
        raise PolyfieldError(
            f"{shown(source)} is a {kind.name}; expected a run, a .field file, a mesh or module:function; "
            "to fit a field to it, use polyfield fit"
        )
    for name, value in unused.items():
        if value is not None and tuple(value) != LEVELS:
            raise PolyfieldError(
                f"--{name}: {shown(source)} is a mesh, and --{name} is for fields and functions only; omit it"
            )
    return fit(source, signal=signal, kind="mesh", **options)
