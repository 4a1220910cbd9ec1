"""Kinds of sources: from a path's suffix and, if that is not enough, from the file's header."""

from __future__ import annotations

import hashlib
import lzma
import os
import tokenize
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from polyfield.data.decoding import decoding
from polyfield.data.formats import ply
from polyfield.errors import PolyfieldError, shown

# Suffixes that decide the kind; .ply, .npy and .npz do not.
KINDS = {
    "scene": (".json",),
    "picture": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".exr"),
    "video": (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"),
    "mesh": (".obj", ".stl", ".glb", ".off"),
    "cloud": (".pcd",),
    "volume": (".nii", ".nii.gz", ".tif", ".tiff"),
}

READ = (
    "folders and .json (scenes), .png .jpg .webp .bmp .gif .exr (pictures), .mp4 .mov .webm .mkv .avi (videos), .obj .ply .stl .glb .off (meshes),"
    " .ply .pcd .npz .npy (clouds), .nii .nii.gz .tif .npz .npy (volumes)"
)

# Arrays beside `points` that say what is at each: then the points are not on a surface.
LABELS = {"occupancies", "occupancy", "sdf", "sdfs", "udf", "distances", "labels", "values", "densities"}

# The errors of numpy's formats, beside those of all decoders.
ARRAY_ERRORS = (zipfile.BadZipFile, tokenize.TokenError, lzma.LZMAError)


@dataclass(frozen=True)
class Kind:
    """The kind of source at a path, and the reason."""

    name: str  # "scene" | "picture" | "video" | "mesh" | "cloud" | "volume"
    reason: str  # a few words for printing: "its name ends in .obj"


@dataclass(frozen=True)
class ArrayHead:
    """One array of an npy or npz file, without its values."""

    key: str  # "" in an npy file
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def called(self) -> str:
        """Its name in errors."""
        return f"array {self.key!r}" if self.key else "its array"


def kind_of(path: str | Path, asked: str | None = None) -> Kind:
    """Return whether a path is a scene, picture, video, mesh, cloud or volume: `asked`, or as its name and content tell.

    Raises PolyfieldError for anything else, and where two kinds fit.
    """
    path = Path(path)
    if asked is not None and asked not in KINDS:
        raise PolyfieldError(f"--as {asked:.80}: expected one of {', '.join(KINDS)}")
    if not os.path.exists(path):  # Path.exists raises for names that are too long
        raise PolyfieldError(f"{shown(path)}: no such file or folder")
    if asked is not None:
        return Kind(asked, f"--as {asked}")
    if os.path.isdir(path):
        return Kind("scene", "it is a folder")
    if not os.path.isfile(path):  # a device or a pipe never ends
        raise PolyfieldError(f"{shown(path)} is a device or a pipe; expected a file or a folder")
    suffix = _suffix(path)
    for name, suffixes in KINDS.items():
        if suffix in suffixes:
            return Kind(name, _ending(suffix))
    if suffix == ".ply":
        with decoding(shown(path)), path.open("rb") as file:
            faces = ply.read_head(file).faces
        return Kind("mesh", f"a PLY of {faces} faces") if faces else Kind("cloud", "a PLY without faces")
    if suffix in (".npy", ".npz"):
        return _array_kind(path)
    raise PolyfieldError(f"{shown(path)}: {_ending(suffix)}; polyfield reads {READ}")


def suffix_of(path: Path, kind: str, suffixes: tuple[str, ...]) -> str:
    """Return the suffix in lower case.

    Raises PolyfieldError if `kind` is not read from files with this suffix.
    """
    suffix = _suffix(path)
    if suffix not in suffixes:
        raise PolyfieldError(f"{shown(path)}: {_ending(suffix)}; a {kind} is read from {', '.join(suffixes)}")
    return suffix


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a source's file. Raises PolyfieldError if there is no file, or it is empty."""
    if os.path.exists(path) and not os.path.isfile(path):  # a folder, or a device that never ends
        raise PolyfieldError(f"{shown(path)} is a folder, a device or a pipe; expected a file")
    with decoding(shown(path)), path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise PolyfieldError(f"{shown(path)} is empty (0 bytes); copy or export it again")
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_heads(path: Path) -> dict[str, ArrayHead]:
    """Return every array of an npy or npz file by its key."""
    with decoding(shown(path)), path.open("rb") as file:
        try:
            heads = _npz_heads(file) if file.read(4) == b"PK\x03\x04" else [_head("", file)]
        except ARRAY_ERRORS as error:
            raise ValueError(str(error)) from None
    return {head.key: head for head in heads}


def main_array(path: Path) -> ArrayHead:
    """Return the main array of an npy or npz file: `points`, or the only one beside `normals`."""
    heads = array_heads(path)
    if "points" in heads:
        return heads["points"]
    others = [head for head in heads.values() if head.key != "normals"]
    if len(others) != 1:
        found = ", ".join(f"{head.key!r} {head.shape}" for head in others[:5]) or "none"
        raise PolyfieldError(
            f"{shown(path)} holds {len(others)} arrays ({found}), not counting 'normals'; expected an array 'points' "
            "(P, 3), or a single array"
        )
    return others[0]


def read_array(path: Path, head: ArrayHead) -> np.ndarray:
    """Return the values of one array, in the machine's byte order.

    Raises PolyfieldError for arrays of objects, because these are pickled.
    """
    if head.dtype.kind not in "biuf":
        raise PolyfieldError(
            f"{shown(path)}: {head.called} is of type {head.dtype}; expected booleans, integers or real floats"
        )
    with decoding(shown(path)):
        try:
            loaded = np.load(path, allow_pickle=False)
            if not isinstance(loaded, np.ndarray):
                with loaded as archive:
                    loaded = archive[head.key]
        except ARRAY_ERRORS as error:
            raise ValueError(str(error)) from None
    return loaded.astype(loaded.dtype.newbyteorder("="), copy=False)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _ending(suffix: str) -> str:
    return f"its name ends in {suffix}" if suffix else "its name has no suffix"


def _array_kind(path: Path) -> Kind:
    heads = array_heads(path)
    head = main_array(path)
    of_points = sorted(LABELS & heads.keys())
    if head.key == "points" and of_points:
        raise PolyfieldError(
            f"{shown(path)} has the arrays {', '.join(['points', *of_points])}, so its points may not lie on a surface;"
            " fit the mesh they were sampled from; if they do lie on a surface, save 'points' alone in a file,"
            f" or use `polyfield fit {shown(path)} --as cloud`"
        )
    if head.key == "points" or (len(head.shape) == 2 and head.shape[1] == 3):
        return Kind("cloud", f"{head.called} has shape {head.shape}")
    if len(head.shape) == 3 and head.shape[2] in (1, 3, 4):
        raise PolyfieldError(
            f"{shown(path)}: {head.called} has shape {head.shape}, which fits a picture (H, W, C) and a volume (Z, Y, X);"
            " save a picture as PNG or EXR; save a volume with shape (Z, Y, X, 1), or use "
            f"`polyfield fit {shown(path)} --as volume`"
        )
    if len(head.shape) in (3, 4):
        return Kind("volume", f"{head.called} has shape {head.shape}")
    raise PolyfieldError(
        f"{shown(path)}: {head.called} has shape {head.shape};"
        " expected (P, 3) of a cloud, or (Z, Y, X) or (Z, Y, X, C) of a volume"
    )


def _npz_heads(file: IO[bytes]) -> list[ArrayHead]:
    heads = []
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                heads.append(_head(name.removesuffix(".npy"), member))
    return heads


def _head(key: str, file: IO[bytes]) -> ArrayHead:
    file.seek(0)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:  # (3, 0) differs in the names of fields, which are refused anyway
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return ArrayHead(key, shape, dtype)
