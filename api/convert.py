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
    """Fit a field of any architecture to another field, measure it against that field, and write a run folder.

    No photograph or other source is needed. Radiance is taught in up to three stages: latent vectors, then densities and
    colours at samples, then rendered colours (progressive volume distillation, Fang et al. 2023). Other signals are compared at
    points.

    Parameters
    ----------
    teacher
        A run's folder, a .field file, a mesh, or a Python function as ``module:function``.
    to
        The architecture of the new field, one of `polyfield.ARCHITECTURES`.
    steps, seconds
        The length of the fit; give at most one. 120 seconds of training if neither is given.
    bytes
        Take the largest field that stores at most this many bytes.
    bits
        With 8, tables and networks are stored as 8-bit whole numbers with scales, and the last part of the fit takes that into
        account. Without, tables are stored in half precision and networks in single.
    options
        Options of the architecture, for example ``{"width": 128, "layers": 8}``.
    stages
        The shares of the fit, in [0, 1], at which the stages of latent vectors and of samples end. If None,
        (0.02, 0.1). For networks, (0.05, 0.8), or (0.05, 1) if the teacher has no occupancy grid.
    hard
        What is taught more often where the student is wrong: some of "poses", "rays" and "points" (active learning,
        Fang et al. 2024).
    init_head
        Begin with the teacher's colour network if the new field has one of the same shape. Only then latent vectors are
        compared.
    loss
        Loss terms (`polyfield.Term`) at samples that replace the default ones.
    signal
        Of a function: what its values are.
    box
        The centre and half size (x, y, z, h) of the new field's domain, in the source's coordinates. A function in three
        dimensions needs it. Of a field, it is a part of the field's domain, which is then converted alone.
    seed
        All randomness follows from it.
    device
        "cpu", "cuda", or "auto".
    deterministic
        As in `fit`.
    out
        The run's folder, which must be new or empty; ``runs/TEACHER-TO-N`` if None.
    save_seconds
        Seconds between checkpoints.
    view
        Open the interactive viewer, with the student beside the teacher, as in `fit`.

    Returns
    -------
    FitResult
        The run's folder, its figures, and the OS signal that stopped the fit, if any. ``psnr_to_teacher`` compares the
        fields. If the teacher's own source is still there, its figures are given too.

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
    conversion = Conversion(shares, tuple(hard), init_head)  # type: ignore[arg-type]  # it checks their number
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
