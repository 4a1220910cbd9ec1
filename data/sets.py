"""Sets of objects: an npz of many clouds, or a folder with a file or a scene for each object, and their classes.

An npz holds `points` (M, P, 3), and may hold `label` (M,) with `classes`, `name` (M,), `split` (M,), and `parts` (M, P) with
`part_names`. In a folder, CLASS/OBJECT or CLASS/SPLIT/OBJECT says the class, where SPLIT is train, val or test; or
`labels.csv` does, with the columns name, class and, optionally, split.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from polyfield.data.blender import TRAIN
from polyfield.data.clouds import Cloud, open_cloud
from polyfield.data.decoding import decoding
from polyfield.data.kinds import array_heads, fingerprint, kind_of, read_array
from polyfield.data.meshes import Mesh, open_mesh
from polyfield.data.transforms import NAME
from polyfield.data.volumes import Volume, open_volume
from polyfield.errors import PolyfieldError, shown

LABELS = "labels.csv"
_MANY = {"cloud": "clouds", "mesh": "meshes", "volume": "grids of occupancy", "scene": "scenes"}
SPLITS = ("train", "val", "test")
_SUFFIXES = {".off", ".obj", ".ply", ".stl", ".glb", ".pcd", ".npz", ".npy", ".nii", ".tif", ".tiff"}


@dataclass(frozen=True)
class SetObject:
    """One object of a set, not yet opened."""

    name: str
    label: int | None = None  # its row of the set's classes
    split: str = ""  # train, val, test, or nothing where the source does not say
    path: Path | None = None  # its file or folder; None in an npz


@dataclass(frozen=True, eq=False)
class ObjectSet:
    """Objects of one kind: cloud, mesh, volume (an occupancy grid) or scene."""

    root: Path
    kind: str
    objects: tuple[SetObject, ...]
    classes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()  # names of the parts that points belong to
    found: str = ""  # one sentence: what was detected
    sha256: str | None = None  # of an npz
    arrays: dict[str, np.ndarray] = field(default_factory=dict)  # of an npz: points, and parts

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def names_sha256(self) -> str:
        """The SHA-256 of the objects' names, classes and splits, which tells a folder from what it was before."""
        words = [[thing.name, thing.label, thing.split] for thing in self.objects]
        return hashlib.sha256(json.dumps([words, self.classes, self.parts]).encode()).hexdigest()

    def open(self, row: int) -> Cloud | Mesh | Volume | Path:
        """Return an object: a cloud, a mesh, a volume, or the folder of a scene.

        Raises PolyfieldError where its file cannot be read.
        """
        thing = self.objects[row]
        if thing.path is None:
            points = self.arrays["points"][row].astype(np.float64)
            if not np.isfinite(points).all():
                raise PolyfieldError(
                    f"{shown(self.root)}: object {row} ({thing.name:.80}) has points with NaN or infinite coordinates; "
                    "replace these points, or remove the object"
                )
            return Cloud(thing.name, points, None, "", self.sha256 or "")
        if self.kind == "cloud":
            return open_cloud(thing.path)
        if self.kind == "mesh":
            return open_mesh(thing.path)
        return open_volume(thing.path) if self.kind == "volume" else thing.path

    def parts_of(self, row: int) -> np.ndarray | None:
        """Return the part (P,) of each point of an object, or None where parts are not known."""
        return self.arrays["parts"][row] if "parts" in self.arrays else None


def open_set(path: str | Path) -> ObjectSet:
    """Return the set of objects at a path. Raises PolyfieldError where there is none, or its parts do not fit together."""
    path = Path(path)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise PolyfieldError(f"{shown(path)}: no such file or folder")
    if path.suffix.lower() != ".npz":
        raise PolyfieldError(
            f"{shown(path)} is not a set of objects; expected a folder, or an .npz with points (M, P, 3)"
        )
    return _npz(path)


def first_of_each_class(objects: ObjectSet, count: int) -> ObjectSet:
    """Return a set of the first `count` objects of each class."""
    seen: dict[int | None, int] = {}
    rows = []
    for row, thing in enumerate(objects.objects):
        seen[thing.label] = seen.get(thing.label, 0) + 1
        if seen[thing.label] <= count:
            rows.append(row)
    arrays = {name: array[rows] for name, array in objects.arrays.items()}
    return replace(objects, objects=tuple(objects.objects[row] for row in rows), arrays=arrays)


def _npz(path: Path) -> ObjectSet:
    heads = array_heads(path)
    head = heads.get("points")
    if head is None or len(head.shape) != 3 or head.shape[2] != 3 or 0 in head.shape:
        found = "is missing" if head is None else f"has shape {head.shape}"
        raise PolyfieldError(
            f"{shown(path)}: array 'points' {found}; expected (M, P, 3): M clouds of P points each"
        )
    count, each = head.shape[:2]
    arrays = {"points": read_array(path, head)}
    if arrays["points"].dtype == np.int16:  # whole numbers of a unit ball
        arrays["points"] = arrays["points"] / np.float32(32767)
    labels, classes = None, _words(path, heads, "classes")
    if "label" in heads:
        labels = _checked(path, heads, "label", (count,))
        classes = classes or tuple(str(k) for k in range(int(labels.max()) + 1))
        if labels.min() < 0 or labels.max() >= len(classes):
            raise PolyfieldError(
                f"{shown(path)}: array 'label' has numbers from {labels.min()} to {labels.max()}; expected 0 to "
                f"{len(classes) - 1}, one number for each of the {len(classes)} classes"
            )
    parts: tuple[str, ...] = ()
    if "parts" in heads:
        arrays["parts"] = _checked(path, heads, "parts", (count, each))
        most = int(arrays["parts"].max())
        parts = _words(path, heads, "part_names") or tuple(f"part {k}" for k in range(most + 1))
        if arrays["parts"].min() < 0 or most >= min(len(parts), 256):
            raise PolyfieldError(
                f"{shown(path)}: array 'parts' has numbers from {arrays['parts'].min()} to {most}; expected 0 to "
                f"{min(len(parts), 256) - 1}, as there are {len(parts)} part names and at most 256 are allowed"
            )
    names = _words(path, heads, "name") or tuple(f"{row:05d}" for row in range(count))
    splits = _words(path, heads, "split") or ("",) * count
    for key, words in (("name", names), ("split", splits)):
        if len(words) != count:
            raise PolyfieldError(
                f"{shown(path)}: array {key!r} has {len(words)} entries; expected {count}, one for each cloud"
            )
    objects = [
        SetObject(names[row], None if labels is None else int(labels[row]), splits[row])
        for row in range(count)
    ]
    found = f"{shown(path.name)} is a set of {count} clouds of {each} points in {len(classes)} classes."
    return _checked_set(
        ObjectSet(path, "cloud", tuple(objects), classes, parts, found, fingerprint(path), arrays)
    )


def _folder(root: Path) -> ObjectSet:
    paths = _objects_below(root)
    if not paths:
        raise PolyfieldError(
            f"{shown(root)}: no objects found; expected CLASS/OBJECT or CLASS/SPLIT/OBJECT, where an object is a file "
            f"({', '.join(sorted(_SUFFIXES))}, .nii.gz) or a folder with {TRAIN}"
        )
    listed = _labels_file(root / LABELS) if (root / LABELS).is_file() else None
    entries = []
    for path in paths:
        inside = path.relative_to(root)
        name = inside.with_suffix("").as_posix() if path.is_file() else inside.as_posix()
        if listed is None:
            *folders, _ = inside.parts
            split = folders[-1] if folders and folders[-1] in SPLITS else ""
            entries.append((name, folders[0] if folders and folders[0] not in SPLITS else None, split, path))
        elif (row := listed.get(name) or listed.get(path.stem)) is not None:
            entries.append((name, *row, path))
    if not entries:
        raise PolyfieldError(
            f"{shown(root / LABELS)} names none of the {len(paths)} objects in this folder; expected names without suffix, "
            f"such as {paths[0].stem!r:.80}, in the column 'name'"
        )
    classes = tuple(sorted({word for _, word, _, _ in entries if word is not None}))
    kinds = {_kind(path) for *_, path in entries}
    if len(kinds) > 1:
        raise PolyfieldError(
            f"{shown(root)} holds objects of several kinds: {', '.join(sorted(kinds))}; expected one kind"
        )
    objects = tuple(
        SetObject(name, None if word is None else classes.index(word), split, path)
        for name, word, split, path in entries
    )
    kind = kinds.pop()
    found = f"{shown(root.name)} is a set of {len(objects)} {_MANY[kind]} in {len(classes)} classes."
    return _checked_set(ObjectSet(root, kind, objects, classes, (), found))


def _objects_below(root: Path) -> list[Path]:
    """Return objects in a folder, in the order of their names. A scene's folder is one object."""
    with decoding(shown(root)):
        found: list[Path] = []
        for path in sorted(root.iterdir()):
            if path.name.startswith("."):
                continue
            if path.is_dir():
                is_scene = (path / TRAIN).is_file() or (path / NAME).is_file()
                found += [path] if is_scene else _objects_below(path)
            elif path.suffix.lower() in _SUFFIXES or path.name.lower().endswith(".nii.gz"):
                found.append(path)
        return found


def _kind(path: Path) -> str:
    kind = kind_of(path).name
    if kind not in ("cloud", "mesh", "volume", "scene"):
        raise PolyfieldError(
            f"{shown(path)} is a {kind}; expected a cloud, a mesh, a grid of occupancy or a scene"
        )
    return kind


def _labels_file(path: Path) -> dict[str, tuple[str, str]]:
    """Return class and split by the name of the object."""
    with decoding(shown(path)), path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"name", "class"} <= rows[0].keys():
        raise PolyfieldError(
            f"{shown(path)}: expected a first line with the columns name, class and, optionally, split, "
            "and a line for each object"
        )
    return {row["name"]: (row["class"], row.get("split") or "") for row in rows}


def _words(path: Path, heads: dict[str, Any], key: str) -> tuple[str, ...]:
    """Return an array of words, or nothing where there is none."""
    if key not in heads:
        return ()
    if heads[key].dtype.kind != "U":
        raise PolyfieldError(f"{shown(path)}: array {key!r} is of type {heads[key].dtype}; expected text")
    with decoding(shown(path)), np.load(path, allow_pickle=False) as archive:
        return tuple(str(word) for word in archive[key].reshape(-1))


def _checked(path: Path, heads: dict[str, Any], key: str, shape: tuple[int, ...]) -> np.ndarray:
    head = heads[key]
    if head.shape != shape or head.dtype.kind not in "iu":
        raise PolyfieldError(
            f"{shown(path)}: array {key!r} is {head.dtype} of shape {head.shape}; "
            f"expected whole numbers of shape {shape}"
        )
    return read_array(path, head)


def _checked_set(found: ObjectSet) -> ObjectSet:
    """Refuse names that occur twice, and splits that are not known."""
    names = [thing.name for thing in found.objects]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PolyfieldError(
            f"{shown(found.root)}: the name {twice!r:.80} occurs twice; give each object its own name"
        )
    for thing in found.objects:
        if thing.split not in ("", *SPLITS):
            raise PolyfieldError(
                f"{shown(found.root)}: the split of {thing.name!r:.80} is {thing.split!r:.40}; "
                f"expected one of {', '.join(SPLITS)}, or an empty text"
            )
    return found
