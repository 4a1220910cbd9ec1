"""Assembly: located photographs -> a scene. All formats of photographs with poses share it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from polyfield.cameras.cameras import Cameras
from polyfield.data import photographs
from polyfield.data.frames import cameras, scale_of
from polyfield.data.photographs import Photograph
from polyfield.data.placement import Box, Placement
from polyfield.data.scene import Scene
from polyfield.errors import PolyfieldError, naming, shown
from polyfield.progress import Progress

HOLD = 8  # every 8th by sorted name, from the first


def every_eighth(names: Sequence[str]) -> set[str]:
    """Return the names held out for testing if a source has no split of its own."""
    return set(sorted(names)[::HOLD])


def assemble(
    pictures: Sequence[Photograph],
    tested: AbstractSet[str],
    *,
    root: Path,
    format: str,
    found: str,
    background: tuple[float, float, float],
    place: Callable[[Cameras], Placement],
    box: Box | None,
    skipped: tuple[str, ...],
    notes: Sequence[str],
    downscale: int,
    progress: Progress | None,
) -> Scene:
    """Read the pictures and return the scene.

    `tested` are the names of the test split; all other photographs are in the training split. `box` takes the place of
    the centre and size that `place` finds.
    Poses, intrinsics and sizes are checked before the first picture is decoded.
    """
    names = tuple(picture.name for picture in pictures)
    train = tuple(i for i, name in enumerate(names) if name not in tested)
    test = tuple(i for i, name in enumerate(names) if name in tested)
    if not train:
        raise PolyfieldError(
            f"{shown(root)}: all {len(names)} photographs are test views, so none is left for training; "
            "add photographs, or name fewer of them as test views"
        )
    pictures, turns = photographs.orient(pictures)
    sizes = photographs.measure(pictures, downscale)
    views = cameras([picture.frame for picture in pictures], names, sizes, downscale)
    with naming(root):
        placed = place(views) if box is None else place(views).within(box)
    pixels = photographs.load(pictures, downscale, progress)
    remarks = [*notes, *turns, *placed.notes]
    if scaled := sum(scale_of(picture.frame.own) != 1 for picture in pictures):
        remarks.append(
            f"{scaled} frames have a transform_matrix with the last row 0 0 0 s; each matrix was divided by its s"
        )
    if skipped:
        remarks.append(
            f"{len(skipped)} photographs do not exist and were left out, the first: {skipped[0]!r}"
        )
    if not test:
        remarks.append("no photograph is held out for testing; nothing can be evaluated")
    if dark := [name for name, p in zip(names, pixels) if p.mask is not None and not p.mask.any()]:
        remarks.append(f"{len(dark)} photographs have no pixel left after masking, the first: {dark[0]!r}")
    return Scene(
        name=root.resolve().name,
        root=root,
        format=format,
        found=found,
        cameras=views,
        images=tuple(p.image for p in pixels),
        masks=tuple(p.mask for p in pixels),
        names=names,
        train=train,
        test=test,
        background=background,
        domain=placed.domain,
        near=placed.near,
        downscale=downscale,
        skipped=skipped,
        hashes={name: p.digest for name, p in zip(names, pixels)},
        notes=tuple(remarks),
    )
