"""Opening the field of a run, an edited run or a .field file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.errors import PolyfieldError, naming, shown
from polyfield.fitting.runs.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from polyfield.distill.edited import Box, RadianceView
    from polyfield.fields import Field
    from polyfield.fields.context import FieldContext

EDIT = "edit"  # the key of an edited run's config.json
_DEEPEST = 32  # edits of edits


def file_of(path: Path) -> Path:
    """Return the file by which a field is known: a .field file, or an edited run's config.json."""
    if not path.is_dir():
        return path
    run = Run.open(path)
    return path / "config.json" if EDIT in run.config else fitted(run)


def fitted(run: Run) -> Path:
    """Return the field file of a run. Raises PolyfieldError where the fit has not written it."""
    if not run.field_path.exists():
        raise PolyfieldError(
            f"{shown(run.field_path)}: no such file; run `polyfield resume {shown(run.path)}` to finish the fit"
        )
    return run.field_path


def sha256_of(path: Path) -> str:
    """Return the hash of `file_of` a field, in hexadecimal digits."""
    file = file_of(path)
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise PolyfieldError(f"{shown(file)}: no such file; check the path") from None
    except OSError as error:
        raise PolyfieldError(f"{shown(file)} cannot be read: {error.strerror}") from None


def open_any(path: Path, device: str, depth: int = 0) -> tuple[Field, FieldContext]:
    """Return a field and its context. Raises PolyfieldError where the file is damaged, or what was edited has changed."""
    from polyfield.fitting.session import open_field

    run = Run.open(path) if path.is_dir() else None
    if run is None or EDIT not in run.config:
        return open_field(path if run is None else fitted(run), device)
    if depth >= _DEEPEST:
        raise PolyfieldError(
            f"{shown(path)}: a chain of {_DEEPEST} further edits builds on this edited run, but a chain may have "
            f"at most {_DEEPEST} edits; convert this run, and repeat the later edits on the converted run"
        )
    where = f"{shown(path / 'config.json')}: {EDIT}"
    match run.config[EDIT]:
        case {"of": str(of), "sha256": str(sha256), "operations": [*operations]}:
            pass
        case other:
            raise PolyfieldError(
                f"{where} is {other!s:.200}; expected an object with the keys 'of', 'sha256' and 'operations'"
            )
    _unchanged(Path(of), sha256, where)
    field, context = open_any(Path(of), device, depth + 1)
    return applied(field, context, operations, device, where, depth)


def applied(
    field: Field, context: FieldContext, operations: list[Any], device: str, where: str, depth: int = 0
) -> tuple[Field, FieldContext]:
    """Return a field with edits, and its context with the occupancy grid of what is left.

    `where` names the edit in a run's config.json, for messages. It is empty for an edit that is not written yet.
    """
    from polyfield.distill.edited import occupancy_of

    with naming(where or "edit"):
        view = whole(field, context)
    for index, operation in enumerate(operations):
        place = f"{where}: operations[{index}]" if where else "edit"
        view = _applied(view, operation, device, depth, place)
    if context.occupancy is not None:
        context = replace(context, occupancy=occupancy_of(view, context.occupancy))
    return view, context


def whole(field: Field, context: FieldContext) -> RadianceView:
    """Return a field as a view that can be edited. Raises PolyfieldError where it is not radiance at rest."""
    from polyfield.distill.edited import RadianceView, Whole

    if isinstance(field, RadianceView):
        return field
    if not field.meaning.kind.directional or field.meaning.moving:
        moving = "moving " if field.meaning.moving else ""
        raise PolyfieldError(
            f"the field stores {moving}{field.meaning.signal}; only still radiance fields can be edited"
        )
    return Whole(field, context)


def cropped(
    field: Field, context: FieldContext, box: tuple[float, float, float, float], where: str
) -> tuple[Field, FieldContext]:
    """Return a field in a cube, given by its centre and half size in the source's coordinates, and its context there."""
    import torch

    from polyfield.distill.cropped import CroppedRadiance, CroppedValues, part_of
    from polyfield.distill.edited import Box, occupancy_of
    from polyfield.fitting.rays.grid import MOST_CELLS

    meaning = field.meaning
    if meaning.kind.dimensions != 3 or meaning.moving:
        moving = "moving " if meaning.moving else ""
        raise PolyfieldError(
            f"{where}: --box is for still fields in three dimensions; this field stores {moving}{meaning.signal}; omit --box"
        )
    x, y, z = (c - o for c, o in zip(box, meaning.domain.origin))
    domain = part_of(meaning.domain, Box((x, y, z), (box[3],) * 3), where)
    if not meaning.kind.directional:
        return CroppedValues(field, domain), context
    with naming(where):
        view = CroppedRadiance(whole(field, context), domain)
    like = torch.empty(1, *(MOST_CELLS,) * 3, dtype=torch.bool, device=field.device)
    occupancy = occupancy_of(view, like)
    if not occupancy.any():
        raise PolyfieldError(f"{where}: the field is empty in --box {box}; use another box")
    return view, replace(context, occupancy=occupancy)


def box_of(numbers: Any, view: RadianceView, where: str) -> Box:
    """Return the box of six numbers in the source's coordinates, centre and half sizes."""
    from polyfield.distill.edited import Box

    x, y, z, *half = _numbers(numbers, 6, where)
    if not all(map(math.isfinite, (x, y, z, *half))) or min(half) <= 0:
        raise PolyfieldError(
            f"{where} is {numbers}; expected a centre x y z and three half sizes above 0, all finite"
        )
    origin = view.meaning.domain.origin
    return Box((x - origin[0], y - origin[1], z - origin[2]), (half[0], half[1], half[2]))


def _applied(view: RadianceView, operation: Any, device: str, depth: int, where: str) -> RadianceView:
    from polyfield.distill.edited import Erased, Pasted, Recoloured, copied, moved

    kind = operation.get("kind") if isinstance(operation, Mapping) else None
    if kind not in ("erase", "move", "copy", "recolour", "paste"):
        raise PolyfieldError(f"{where}: kind is {kind!r:.80}; expected erase, move, copy, recolour or paste")
    where = f"{where} ({kind})"
    box = box_of(operation.get("box"), view, f"{where}: box")
    if "mask" in operation:
        mask = Path(str(operation["mask"]))
        _unchanged(mask, str(operation.get("mask_sha256")), where)
        box = replace(box, mask=_mask(mask).to(device))
    if kind == "erase":
        return Erased(view, box)
    if kind == "paste":
        of = Path(str(operation.get("of")))
        _unchanged(of, str(operation.get("sha256")), where)
        other = open_any(of, device, depth + 1)
        with naming(of):
            pasted = whole(*other)
        return Pasted(view, box, pasted)
    key = "colour" if kind == "recolour" else "by"
    what = "colour" if kind == "recolour" else "the vector 'by'"
    x, y, z = _numbers(operation.get(key), 3, f"{where}: {what}")
    if kind == "recolour":
        with naming(where):
            return Recoloured(view, box, (x, y, z))
    return (moved if kind == "move" else copied)(view, box, (x, y, z))


def _mask(path: Path) -> Tensor:
    """Return where a volume of one channel is not 0, (X, Y, Z) bool."""
    import torch

    from polyfield.data.volumes import open_volume

    values = open_volume(path).values
    if values.shape[3] != 1:
        raise PolyfieldError(f"{shown(path)} has {values.shape[3]} channels; expected a mask of one channel")
    marked = values[..., 0] != 0
    if not marked.any():
        raise PolyfieldError(
            f"{shown(path)}: all voxels are 0, so nothing would be edited; mark voxels with 1"
        )
    return torch.from_numpy(marked)


def _unchanged(of: Path, sha256: str, where: str) -> None:
    if not of.exists():
        raise PolyfieldError(
            f"{where}: {shown(of)} no longer exists; restore it, or run `polyfield edit` again"
        )
    if sha256_of(of) != sha256:
        raise PolyfieldError(
            f"{where}: {shown(of)} has changed since the edit was made; restore it, or run `polyfield edit` again"
        )


def _numbers(found: Any, count: int, where: str) -> list[float]:
    good = isinstance(found, list | tuple) and len(found) == count
    if not good or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in found):
        raise PolyfieldError(f"{where} is {found!s:.120}; expected {count} numbers")
    return [float(n) for n in found]
