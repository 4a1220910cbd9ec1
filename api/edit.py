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
    """Write a new run whose field is an edited view of another, and return its folder.

    Nothing is stored but the edit: `render`, `load` and `convert` take the new run like any other, as long as the fields
    and the mask that it refers to are unchanged. Converting it makes a field of its own. Edits of edits are possible.

    Parameters
    ----------
    source
        A run's folder or a .field file, of radiance.
    erase
        A box (x, y, z, hx, hy, hz): centre and half sizes, in the source's coordinates. Nothing is left in it.
    move, copy
        A box, and the vector (3,) by which what is in it is moved or copied: nine numbers.
    recolour
        A box, and a colour (3,) in [0, 1]. The brightness at each point stays.
    paste
        Another run or .field file, and the box in which its field replaces this one.
    mask
        A volume (.npy, .npz, .nii or .tif) of one channel, stretched over each box. An edit changes only the voxels of its
        box where the mask is not 0. An array in a .npy file has the shape (Z, Y, X).
    out
        The run's folder, which must be new or empty; ``runs/SOURCE-edited-N`` if None.

    Raises
    ------
    PolyfieldError
        If a field cannot be read, or there is no edit.

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
