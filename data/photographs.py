"""Photographs: found in the scene's folder, then decoded, hashed and downscaled by a few threads."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

import numpy as np

from polyfield.data import images
from polyfield.data.frames import Frame
from polyfield.data.records import Record
from polyfield.errors import PolyfieldError, shown
from polyfield.progress import Progress

SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".JPG", ".PNG")  # Blender leaves them out
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


def locate(frames: Sequence[Frame], root: Path) -> tuple[list[Photograph], tuple[str, ...]]:
    """Return the photographs that exist, in the frames' order, and the names of those that do not.

    Raises PolyfieldError for a path that points outside `root`, for a photograph named twice, and if more than a
    tenth is missing.
    """
    found: list[Photograph] = []
    missing: list[tuple[str, Frame]] = []
    first: dict[str, Frame] = {}
    for frame in frames:
        name, path = _inside(frame.own, "file_path", root)
        if name in first:
            raise frame.own.fail("file_path", f"{name!r} is in {first[name].own.where} too; keep one")
        first[name] = frame
        if path is None:
            missing.append((name, frame))
        else:
            found.append(
                Photograph(frame, name, path, _mask_path(frame, root), _dynamic_mask(frame, path, root))
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
            f" in {shown(root)} (at most a tenth may be missing), the first: {listed}"
        )
    return found, tuple(name for name, _ in missing)


def exist(frames: Sequence[Frame], root: Path) -> bool:
    """Return whether any photograph of the frames exists."""
    return any(_inside(frame.own, "file_path", root)[1] is not None for frame in frames)


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
            f"{photographs[0].frame.shared.where}: {len(sizes)} photographs take {needed / 1e9:.1f} GB of memory, this"
            f" machine has {available / 1e9:.1f}; shrink them with --downscale {downscale * 2} or more"
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
        notes.append(f"{turned} photographs are turned by their EXIF orientation, as w and h say")
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


def _inside(record: Record, key: str, root: Path) -> tuple[str, Path | None]:
    """Return the normalised name below `root` that a record gives, and its file or None."""
    text = record.text(key)
    if text is None:
        raise record.fail(key, "is missing; expected a path inside the scene's folder")
    name = posixpath.normpath(text.replace("\\", "/"))
    if name.startswith("/") or PureWindowsPath(name).drive:
        raise record.fail(key, f"{text!r} is absolute; expected a path inside the scene's folder")
    if name.split("/")[0] == "..":
        raise record.fail(key, f"{text!r} leaves the scene's folder {shown(root)}; move the file inside")
    for suffix in SUFFIXES:
        path = root / (name + suffix)
        if os.path.isfile(path):  # Path.is_file raises for names that are too long
            _refuse_link_out(record, key, path, root)
            return name + suffix, path
    return name, None


def _mask_path(frame: Frame, root: Path) -> Path | None:
    if "mask_path" not in frame.own:
        return None
    name, path = _inside(frame.own, "mask_path", root)
    if path is None:
        raise frame.own.fail("mask_path", f"{name!r} does not exist; restore the file or remove the key")
    return path


def _dynamic_mask(frame: Frame, photograph: Path, root: Path) -> Path | None:
    path = photograph.parent / f"dynamic_mask_{photograph.stem}.png"
    if not os.path.isfile(path):
        return None
    _refuse_link_out(frame.own, "file_path", path, root)
    return path


def _refuse_link_out(record: Record, key: str, path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root.resolve()):
        name = path.relative_to(root).as_posix()
        raise record.fail(key, f"{name!r} is a link out of the scene's folder; copy the file inside")


def _memory() -> float:
    """Return this machine's memory in bytes, infinite if it is not known."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
