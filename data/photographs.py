"""Photographs: found in the scene's folder, then decoded, hashed and downscaled by a few threads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from polyfield.data import images
from polyfield.data.frames import Frame
from polyfield.data.lookup import TRIED, Folder
from polyfield.errors import PolyfieldError, shown
from polyfield.progress import Progress

MISSING_ALLOWED = 0.1  # of all frames


@dataclass(frozen=True)
class Photograph:
    """A frame and its files."""

    frame: Frame
    name: str  # path below the scene's folder, separated by '/'
    path: Path
    keep: Path | None  # a mask whose black pixels are ignored (nerfstudio)
    ignore: Path | None  # a mask whose non-black pixels are ignored (instant-ngp)
    upright: bool = False  # whether the poses belong to the pixels as EXIF turns them, not as they are stored

    @property
    def label(self) -> str:
        """Its name in errors: file, frame and key."""
        return f"{self.frame.own.where}: file_path {self.name!r}"


@dataclass(frozen=True)
class Pixels:
    """A photograph's pixels."""

    image: np.ndarray  # (H, W, 4) uint16 premultiplied
    mask: np.ndarray | None  # (H, W) bool, True where the pixel is used
    digest: str  # SHA-256 of the file


@dataclass(frozen=True)
class Located:
    """The photographs of frames: those that exist, in the frames' order, and the names of those that do not."""

    photographs: list[Photograph]
    missing: tuple[str, ...]
    notes: tuple[str, ...]  # warnings, a line each


def locate(frames: Sequence[Frame], root: Path) -> Located:
    """Return the photographs of frames.

    Raises PolyfieldError for a path that points outside `root`, for a photograph named twice, and if more than a
    tenth is missing.
    """
    found: list[Photograph] = []
    missing: list[tuple[str, Frame]] = []
    first: dict[str, Frame] = {}
    folder = Folder(root)
    for frame in frames:
        name, path = folder.find(frame.own, "file_path")
        for key in (name, str(path)) if path else (name,):
            if key in first and first[key] is not frame:
                raise frame.own.fail("file_path", f"{name!r} is in {first[key].own.where} too; keep one")
            first[key] = frame
        if path is None:
            missing.append((name, frame))
        else:
            found.append(
                Photograph(frame, name, path, _mask_path(frame, folder), _dynamic_mask(frame, path, folder))
            )
    if len(missing) > MISSING_ALLOWED * len(frames):
        # The file that names most of them is the one to look at.
        files = [frame.shared.where for _, frame in missing]
        where = max(dict.fromkeys(files), key=files.count)
        absent = [name for name, frame in missing if frame.shared.where == where]
        named = sum(frame.shared.where == where for frame in frames)
        listed = ", ".join(repr(name)[:80] for name in absent[:3])
        raise PolyfieldError(
            f"{where}: file_path: {len(absent)} of {named} photographs do not exist"
            f" in {shown(root)}, with or without {TRIED} (the first: {listed}); restore them or remove their frames:"
            " at most a tenth may be missing"
        )
    notes = []
    if folder.other:
        name, on_disk = next(iter(folder.other.items()))
        count = len(folder.other)
        notes.append(
            f"{count} files are used under names that differ in case or Unicode form, the first: {on_disk!r:.80} for {name!r:.80}"
        )
    return Located(found, tuple(name for name, _ in missing), tuple(notes))


def exist(frames: Sequence[Frame], root: Path) -> bool:
    """Return whether any photograph of the frames exists."""
    folder = Folder(root)
    return any(folder.find(frame.own, "file_path")[1] is not None for frame in frames)


def measure(photographs: Sequence[Photograph], downscale: int) -> list[tuple[int, int]]:
    """Return the width and height of every photograph before downscaling, from the files' headers alone.

    Raises PolyfieldError if downscaling leaves no pixels, or the pixels do not fit into memory.
    """
    sizes = [_size(photograph) for photograph in photographs]
    for photograph, (width, height) in zip(photographs, sizes):
        if downscale > min(width, height):
            raise PolyfieldError(
                f"{photograph.label} has {width} x {height} pixels; --downscale {downscale} is larger than one side"
            )
    needed = sum((width // downscale) * (height // downscale) * 8 for width, height in sizes)
    if needed > (available := _memory()):
        raise PolyfieldError(
            f"{photographs[0].frame.shared.where}: {len(sizes)} photographs need {needed / 1e9:.1f} GB of memory, but"
            f" this machine has {available / 1e9:.1f} GB; resize the photographs, or use `polyfield fit` with"
            f" --downscale {downscale * 2} or more"
        )
    return sizes


def orient(photographs: Sequence[Photograph]) -> tuple[list[Photograph], list[str]]:
    """Return the photographs with `upright` decided, and what there is to say of it, a line each.

    The width and height in the scene's file tell whether its poses belong to a photograph as EXIF turns it. Where they
    do not tell, its poses belong to the stored pixels: structure from motion ignores EXIF, or has removed it.
    """
    oriented, stored, turned = [], 0, 0
    for photograph in photographs:
        (width, height), turns, mirrored = images.read_header(photograph.path, photograph.label)
        upright = False
        if turns or mirrored:
            declared = tuple(photograph.frame.integer(key) for key in "wh")
            upright = turns % 2 == 1 and width != height and declared == (height, width)
            turned, stored = turned + upright, stored + (not upright)
        oriented.append(replace(photograph, upright=upright))
    notes = []
    if turned:
        notes.append(
            f"{turned} photographs are turned by their EXIF orientation, because w and h are those of the turned photograph"
        )
    if stored:
        notes.append(
            f"{stored} photographs have an EXIF orientation that is not applied: poses are taken to belong to the stored pixels"
        )
    return oriented, notes


def _size(photograph: Photograph) -> tuple[int, int]:
    (width, height), turns, _ = images.read_header(photograph.path, photograph.label)
    return (height, width) if photograph.upright and turns % 2 else (width, height)


def load(photographs: Sequence[Photograph], downscale: int, progress: Progress | None = None) -> list[Pixels]:
    """Return the pixels of every photograph, averaged over blocks of `downscale` x `downscale` pixels.

    If several cannot be read, raises the error of the first in the list.
    """
    results: list[Pixels] = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        try:
            for pixels in pool.map(lambda photograph: _read(photograph, downscale), photographs):
                results.append(pixels)
                if progress is not None:
                    progress(len(results) / len(photographs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def _read(photograph: Photograph, downscale: int) -> Pixels:
    data = images.read_bytes(photograph.path, photograph.label)
    image = images.decode(data, photograph.label, upright=photograph.upright)
    mask = _read_masks(photograph, (image.shape[0], image.shape[1]))
    return Pixels(
        images.downscale(image, downscale),
        None if mask is None else images.downscale_mask(mask, downscale),
        hashlib.sha256(data).hexdigest(),
    )


def _read_masks(photograph: Photograph, shape: tuple[int, int]) -> np.ndarray | None:
    mask = None
    for path, black_counts in ((photograph.keep, False), (photograph.ignore, True)):
        if path is None:
            continue
        label = f"{photograph.frame.own.where}: mask {path.name!r}"
        bright = (
            images.decode(images.read_bytes(path, label), label, upright=photograph.upright)[..., :3].max(
                axis=-1
            )
            > 0
        )
        if bright.shape != shape:
            raise PolyfieldError(
                f"{label} has {bright.shape[1]} x {bright.shape[0]} pixels; expected {shape[1]} x {shape[0]},"
                f" the size of photograph {photograph.name!r}; resize the mask"
            )
        counts = bright != black_counts
        mask = counts if mask is None else mask & counts
    return mask


def _mask_path(frame: Frame, folder: Folder) -> Path | None:
    if "mask_path" not in frame.own:
        return None
    name, path = folder.find(frame.own, "mask_path")
    if path is None:
        raise frame.own.fail("mask_path", f"{name!r} does not exist; restore the file or remove the key")
    return path


def _dynamic_mask(frame: Frame, photograph: Path, folder: Folder) -> Path | None:
    path = photograph.parent / f"dynamic_mask_{photograph.stem}.png"
    if not os.path.isfile(path):
        return None
    folder.refuse_link_out(frame.own, "file_path", path)
    return path


def _memory() -> float:
    """Return this machine's memory in bytes, infinite if it is not known."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
