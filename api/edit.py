"""Editing a radiance field: erasing, moving, copying, recolouring and pasting what is in a box."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polyfield.api.opening import EDIT, applied, open_any, sha256_of
from polyfield.api.report import say, showing
from polyfield.errors import PolyfieldError


def edit(
    source: str | os.PathLike[str],
    /,
    *,
    erase: Sequence[float] | None = None,
    move: Sequence[float] | None = None,
    copy: Sequence[float] | None = None,
    recolour: Sequence[float] | None = None,
    paste: tuple[str | os.PathLike[str], Sequence[float]] | None = None,
    mask: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a new run whose field is an edited radiance field, and return the folder of the new run.

    A box is given by its centre and half sizes, (x, y, z, hx, hy, hz), in the source's coordinates. Several edits are
    applied in the order of the parameters below. An edited run can be edited again.

    The new run stores only the edits. `render`, `load` and `convert` accept the new run while the files of the original
    fields and of the mask exist and are unchanged. To store the edited field, convert the new run.

    Parameters
    ----------
    source
        A run folder or a .field file with a radiance field.
    erase
        A box that is emptied.
    move
        A box, and the vector by which its content is moved: nine numbers.
    copy
        A box, and the vector from its content to the copy: nine numbers.
    recolour
        A box, and the new colour of its content, (r, g, b) from 0 to 1: nine numbers. The brightness of each point is kept.
    paste
        Another run folder or .field file, and a box. In this box, the other field replaces the edited field.
    mask
        A volume file (.npy, .npz, .nii or .tif) with one channel, stretched over each box. Where the mask is 0, nothing is
        edited. An array in a .npy file has the shape (Z, Y, X).
    out
        The run folder that is written, new or empty. If None, ``runs/SOURCE-edited-N``, with the first free number N.

    Returns
    -------
    Path
        The folder of the new run.

    Raises
    ------
    PolyfieldError
        If a field or the mask cannot be read, an edit is invalid, or no edit is given.

    Examples
    --------
    >>> import polyfield, tempfile
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     run = polyfield.fit("demo", steps=20, out=f"{folder}/run").run
    ...     edited = polyfield.load(polyfield.edit(run, erase=(0, 0, 0, 9, 9, 9), out=f"{folder}/edited"))
    >>> float(edited.context.occupancy.sum())
    0.0
    """
    from polyfield.fitting.runs.run import Run

    path = Path(source)
    operations: list[dict[str, Any]] = []
    if erase is not None:
        operations.append({"kind": "erase", "box": [*erase]})
    for kind, numbers, key in (("move", move, "by"), ("copy", copy, "by"), ("recolour", recolour, "colour")):
        if numbers is not None:
            if len(numbers) != 9:
                what = "an RGB colour" if kind == "recolour" else "a displacement"
                raise PolyfieldError(
                    f"edit ({kind}): found {len(numbers)} numbers; expected 9: the centre and the half sizes of a box, and {what}"
                )
            operations.append({"kind": kind, "box": [*numbers[:6]], key: [*numbers[6:]]})
    if paste is not None:
        other = Path(paste[0])
        operations.append(
            {"kind": "paste", "box": [*paste[1]], "of": str(other.resolve()), "sha256": sha256_of(other)}
        )
    if not operations:
        raise PolyfieldError("edit: nothing to do; give --erase, --move, --copy, --recolour or --paste")
    if mask is not None:
        marked = Path(mask)
        for operation in operations:
            operation |= {"mask": str(marked.resolve()), "mask_sha256": sha256_of(marked)}
    record = {"of": str(path.resolve()), "sha256": sha256_of(path), "operations": operations}
    field, context = open_any(path, "cpu")
    with showing("editing") as progress:  # an edit that makes no sense is not written
        applied(field, context, operations, "cpu", "")
        progress(1.0)
    name = path.resolve().name.removesuffix(".field")
    run = Run.create(
        None if out is None else Path(out),
        source_name=name,
        architecture="edited",
        config={EDIT: record},
        scene={},
    )
    say(
        f"{run.path}: {', '.join(o['kind'] for o in operations)}; "
        f"to store the edited field, use polyfield convert {run.path}"
    )
    return run.path
