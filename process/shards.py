"""Fitting one shard of a bank: its objects, from their sources to stored fields. The result depends on the seed and the objects alone."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.data.sets import ObjectSet, SetObject
from polyfield.fields import FieldSpec, StoredField
from polyfield.process.bank import Entry, Shard, shard_of
from polyfield.process.fitting import fit_fields
from polyfield.process.objects import Shape, shape_of
from polyfield.process.quality import quality_of
from polyfield.process.recipes import Recipe
from polyfield.process.scenes import fit_scene
from polyfield.progress import Progress, silent

TOGETHER = 32  # objects in memory at once
_BAD = 3.0  # medians of the chamfer distance; objects beyond are fitted again
_LEAST_PSNR = 20.0  # dB; scenes below are flagged


@dataclass(frozen=True)
class Job:
    """All that a shard's fit needs beside the set of objects. It is small, and travels between machines."""

    spec: FieldSpec
    recipe: Recipe
    seed: int
    device: str = "cpu"
    limit: int | None = None  # of the objects of each class


def seed_of(seed: int, name: str, purpose: str = "") -> int:
    """Return an object's own seed. It depends on the run's seed and the object's name, not on its place in the set."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 2


def fit_shard(job: Job, objects: ObjectSet, rows: range, progress: Progress = silent) -> Shard:
    """Return the shard of some rows of a set. Raises PolyfieldError, which names the object, where one cannot be fitted."""
    if objects.kind == "scene":
        return _of_scenes(job, objects, rows, progress)
    entries: list[Entry] = []
    stored: list[dict[str, Tensor]] = []
    clouds: list[np.ndarray] = []
    for begin in range(rows.start, rows.stop, TOGETHER):
        some = range(begin, min(begin + TOGETHER, rows.stop))
        names = [objects.objects[row].name for row in some]
        shapes = [_shape(job, objects, row) for row in some]
        fields = _fitted(job, shapes, names)
        qualities = [_quality(job, *pair) for pair in zip(fields, shapes, names)]
        flagged = _worst(qualities)
        if flagged:
            _again(job, shapes, names, fields, qualities, flagged)
        still = _worst(qualities)
        for at, row in enumerate(some):
            entries.append(_entry(objects.objects[row], shapes[at], qualities[at], at in still))
            stored.append(fields[at].stored())
            clouds.append(shapes[at].cloud)
        progress((some.stop - rows.start) / len(rows))
    count = max(len(cloud) for cloud in clouds)
    points = torch.from_numpy(np.stack([np.resize(cloud, (count, 3)) for cloud in clouds]))
    return shard_of(
        entries,
        {name: torch.stack([tensors[name] for tensors in stored]) for name in stored[0]},
        points=points,
        parts=_parts(objects, rows),
    )


def _shape(job: Job, objects: ObjectSet, row: int) -> Shape:
    opened: Any = objects.open(row)
    return shape_of(opened, job.spec.meaning.signal, _random(job, objects.objects[row].name, "cloud"))


def _random(job: Job, name: str, purpose: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed_of(job.seed, name, purpose)))


def _fitted(job: Job, shapes: list[Shape], names: list[str], purpose: str = "") -> list[StoredField]:
    signal = job.spec.meaning.signal
    pools = [
        shape.pool(job.recipe, signal, _random(job, name, f"pool{purpose}"))
        for shape, name in zip(shapes, names)
    ]
    seeds = [seed_of(job.seed, name, f"field{purpose}") for name in names]
    return fit_fields(job.spec, job.recipe, pools, seeds, job.device)


def _quality(job: Job, field: StoredField, shape: Shape, name: str) -> dict[str, float]:
    return quality_of(field, shape, seed_of(job.seed, name, "quality"))


def _worst(qualities: list[dict[str, float]]) -> list[int]:
    """Return the objects whose chamfer distance is far above the median of those fitted beside them."""
    distances = np.array([quality["chamfer"] for quality in qualities])
    return np.flatnonzero(distances > _BAD * np.median(distances)).tolist()


def _again(
    job: Job,
    shapes: list[Shape],
    names: list[str],
    fields: list[StoredField],
    qualities: list[dict[str, float]],
    which: list[int],
) -> None:
    """Fit some objects again with another seed, and keep the better fields."""
    others = _fitted(job, [shapes[at] for at in which], [names[at] for at in which], " again")
    for at, field in zip(which, others):
        quality = _quality(job, field, shapes[at], names[at])
        if quality["chamfer"] < qualities[at]["chamfer"]:
            fields[at], qualities[at] = field, quality


def _entry(thing: SetObject, shape: Shape, quality: dict[str, float], flagged: bool) -> Entry:
    return Entry(thing.name, thing.label, thing.split, shape.centre, shape.half_size, quality, flagged)


def _parts(objects: ObjectSet, rows: range) -> Tensor | None:
    parts = [objects.parts_of(row) for row in rows]
    return None if parts[0] is None else torch.from_numpy(np.stack([p for p in parts if p is not None]))


def _of_scenes(job: Job, objects: ObjectSet, rows: range, progress: Progress) -> Shard:
    """Return the shard of folders of posed photographs."""
    entries, stored, clouds, occupancies = [], [], [], []
    for done, row in enumerate(rows):
        thing = objects.objects[row]
        assert thing.path is not None
        fitted = fit_scene(
            job.spec, job.recipe, str(thing.path), seed_of(job.seed, thing.name, "field"), job.device
        )
        flagged = fitted.quality["psnr"] < _LEAST_PSNR
        place = (fitted.centre, fitted.half_size, fitted.quality, flagged, fitted.context)
        entries.append(Entry(thing.name, thing.label, thing.split, *place))
        stored.append(fitted.stored)
        clouds.append(fitted.cloud)
        occupancies.append(fitted.occupancy)
        progress((done + 1) / len(rows))
    return shard_of(
        entries,
        {name: torch.stack([tensors[name] for tensors in stored]) for name in stored[0]},
        points=torch.stack(clouds),
        occupancy=torch.stack(occupancies),
    )
