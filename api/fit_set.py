"""Fitting a field to every object of a set, which makes a bank."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.api.report import say, showing
from polyfield.errors import PolyfieldError, shown
from polyfield.progress import Progress, part

if TYPE_CHECKING:
    from polyfield.data.sets import ObjectSet
    from polyfield.process.bank import Manifest
    from polyfield.process.shards import Job

_SIGNALS = {"cloud": "udf", "mesh": "sdf", "volume": "occupancy", "scene": "radiance"}  # defaults
SHARD_SIZE = 128


@dataclass(frozen=True)
class BankResult:
    """The result of `fit_set`.

    Attributes
    ----------
    bank
        The folder of the bank.
    figures
        The figures of quality.json, and ``fitted_now``, ``seconds`` and ``objects_per_second``. These three figures are the
        number of objects that the call fitted, its time, and its speed.
    """

    bank: Path
    figures: dict[str, Any]


def fit_set(
    source: str | os.PathLike[str],
    /,
    *,
    out: str | os.PathLike[str],
    signal: str | None = None,
    recipe: str = "fast",
    steps: int | None = None,
    options: Mapping[str, int | str] | None = None,
    limit: int | None = None,
    shard_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    cluster: str | None = None,
) -> BankResult:
    """Fit a tri-plane to every object of a set, and write the fields to a folder, called a bank.

    A tri-plane is a field with features on three axis-aligned planes and a small network. Each object has its own planes,
    its own network and its own seed.

    If a call was interrupted, the same call continues it. The bank then has the same bytes as without the interruption.

    Parameters
    ----------
    source
        A set of objects: an .npz file or a folder.
        The .npz file holds point clouds: the array ``points`` (M, P, 3). Its optional arrays are ``label``, ``classes``,
        ``name``, ``split``, ``parts`` and ``part_names``.
        The folder holds CLASS/OBJECT or CLASS/SPLIT/OBJECT, where SPLIT is train, val or test.
        The objects are all point clouds, all meshes, all occupancy grids, or all folders of posed photographs.
    out
        The folder of the bank: a new or empty folder, or the folder of an interrupted call.
    signal
        The kind of value that the fields store: "udf", "sdf", "occupancy" or "radiance". If None: udf for clouds, sdf for
        meshes, occupancy for grids, radiance for photographs. If some meshes are not closed, udf for all meshes.
    recipe
        The size of the fields and how they are fitted: "fast", or "published" (Cardace et al. 2024). The recipe "published"
        is only for udf and sdf.
    steps
        The number of training steps of each field. If None, the number of the recipe.
    options
        Options of the tri-planes, for example ``{"features": 16}``.
    limit
        Fit only the first objects of each class, at most this many. If None, all objects.
    shard_size
        The number of objects in each file of the bank. If None, 128, or 8 for photographs.
    seed
        The seed of all random numbers. Each object's own seed also depends on its name.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".
    cluster
        With "local", fit on all cores of this machine, with the library Ray. With the address of a Ray cluster, fit on its
        machines. All machines must have the set at the same path. If None, fit in this process, without Ray.

    Returns
    -------
    BankResult
        The folder of the bank, and its figures: size, quality and speed.

    Raises
    ------
    PolyfieldError
        If the source cannot be read, an object cannot be fitted, or the folder holds another bank.

    Examples
    --------
    >>> import numpy, polyfield, tempfile
    >>> points = numpy.random.default_rng(0).normal(size=(2, 256, 3))
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     numpy.savez(f"{folder}/balls.npz", points=points / numpy.linalg.norm(points, axis=2, keepdims=True))
    ...     result = polyfield.fit_set(f"{folder}/balls.npz", out=f"{folder}/bank", steps=50)
    >>> result.figures["objects"]
    2
    """
    from polyfield.data.sets import open_set
    from polyfield.files.locks import one_at_a_time
    from polyfield.fitting.runs.devices import device_of
    from polyfield.process.shards import Job

    source = str(Path(source).resolve())
    objects = _limited(open_set(source), limit)
    say(objects.found if limit is None else f"{objects.found} {len(objects)} of them will be fitted.")
    if shard_size is not None and shard_size < 1:
        raise PolyfieldError(f"--shard-size {shard_size}: expected at least 1")
    signal = signal or _signal(objects)
    made, spec = _made(recipe, signal, steps, dict(options or {}))
    if (signal == "radiance") != (objects.kind == "scene"):
        expected = "sdf, udf or occupancy" if objects.kind == "mesh" else _SIGNALS[objects.kind]
        raise PolyfieldError(
            f"--signal {signal}: each object of {shown(source)} is a {objects.kind}; expected {expected}"
        )
    job = Job(spec, made, seed, device_of(device), limit)
    size = shard_size or (8 if objects.kind == "scene" else SHARD_SIZE)
    bank = Path(out)
    bank.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(bank):
        manifest = _begun(bank, _manifest(job, objects, size))
        began, before = time.perf_counter(), _missing(bank, manifest)
        _fit_missing(bank, manifest, job, objects, cluster, before)
        seconds = time.perf_counter() - began
        return BankResult(bank, _finish(bank, manifest, seconds, sum(len(rows) for rows in before.values())))


def _limited(objects: ObjectSet, limit: int | None) -> ObjectSet:
    from polyfield.data.sets import first_of_each_class

    if limit is None:
        return objects
    if limit < 1:
        raise PolyfieldError(f"--limit {limit}: expected at least 1")
    return first_of_each_class(objects, limit)


def _signal(objects: ObjectSet) -> str:
    """Return the signal that suits all objects of a set."""
    if objects.kind != "mesh":
        return _SIGNALS[objects.kind]
    opens = []
    with showing("reading meshes") as progress:
        for row in range(len(objects)):
            mesh: Any = objects.open(row)
            opens += [f"{mesh.name}: {mesh.why_open}"] if mesh.why_open else []
            progress((row + 1) / len(objects))
    if opens:
        say(
            "warning: unsigned distances are fitted, because some meshes have no inside "
            f"({len(opens)} of {len(objects)}; the first: {opens[0]})"
        )
    return "udf" if opens else "sdf"


def _made(name: str, signal: str, steps: int | None, options: dict[str, Any]) -> tuple[Any, Any]:
    from polyfield.fields import build
    from polyfield.process.recipes import SIGNALS, recipe_of, spec_of

    if signal not in SIGNALS:
        raise PolyfieldError(f"--signal {signal:.80}: expected one of {', '.join(SIGNALS)}")
    if steps is not None and steps < 1:
        raise PolyfieldError(f"--steps {steps}: expected at least 1")
    recipe = recipe_of(name, signal, steps=steps, options=options)
    spec = spec_of(recipe, signal)
    build(spec)  # refuses options that make no sense
    return recipe, spec


def _manifest(job: Job, objects: ObjectSet, shard_size: int) -> Manifest:
    from polyfield.process.bank import Manifest
    from polyfield.process.recipes import plain

    source = {
        "path": str(objects.root),
        "kind": objects.kind,
        "sha256": objects.sha256,
        "names_sha256": objects.names_sha256,
        "limit": job.limit,
        "seed": job.seed,
    }
    return Manifest(
        job.spec, len(objects), shard_size, objects.classes, objects.parts, plain(job.recipe), source
    )


def _begun(bank: Path, manifest: Manifest) -> Manifest:
    """Return the manifest of a bank that is begun or continued. Raises PolyfieldError where the folder holds another one."""
    from polyfield.process.bank import MANIFEST, Manifest

    if not (bank / MANIFEST).exists():
        if any(bank.iterdir()):
            raise PolyfieldError(
                f"{shown(bank)} is not empty and is not a bank; give a new folder with --out"
            )
        manifest.write(bank)
        (bank / "shards").mkdir()
    found = Manifest.read(bank)
    for key in ("spec", "objects", "shard_size", "classes", "parts", "recipe", "source"):
        if getattr(found, key) != getattr(manifest, key):
            raise PolyfieldError(
                f"{shown(bank / MANIFEST)}: the value of {key!r} differs from the value for this command, so the "
                "folder holds another bank; give a new folder with --out, or repeat the command that began the bank"
            )
    (bank / "shards").mkdir(exist_ok=True)
    return replace(found, shards={})


def _missing(bank: Path, manifest: Manifest) -> dict[int, range]:
    return {
        shard: manifest.rows(shard)
        for shard, name in enumerate(manifest.names())
        if not (bank / "shards" / name).exists()
    }


def _fit_missing(
    bank: Path, manifest: Manifest, job: Job, objects: ObjectSet, cluster: str | None, todo: dict[int, range]
) -> None:
    from polyfield.files.atomic import write_bytes

    total = sum(len(rows) for rows in todo.values())
    if total < manifest.objects:
        say(f"{manifest.objects - total} of {manifest.objects} objects are already fitted")
    with showing("fitting") as progress:
        done = 0
        for shard, data in _shards(job, objects, cluster, todo, progress):
            write_bytes(bank / "shards" / manifest.names()[shard], data)
            done += len(todo[shard])
            progress(done / total)


def _shards(
    job: Job, objects: ObjectSet, cluster: str | None, todo: dict[int, range], progress: Progress
) -> Iterator[tuple[int, bytes]]:
    """Yield shards' numbers and the bytes of their files."""
    from polyfield.process.cluster import shards_on_cluster
    from polyfield.process.shards import fit_shard

    if cluster is not None:
        yield from shards_on_cluster(cluster, job, str(objects.root), todo)
        return
    total, done = sum(len(rows) for rows in todo.values()), 0
    for shard, rows in todo.items():
        here = part(progress, done / total, (done + len(rows)) / total, "fitting")
        yield shard, fit_shard(job, objects, rows, here).to_bytes()
        done += len(rows)


def _finish(bank: Path, manifest: Manifest, seconds: float, fitted: int) -> dict[str, Any]:
    """Write the checksums of all shards and the figures, and return the figures."""
    from polyfield.files.strict_json import write_json
    from polyfield.process.bank import Bank, sha256_of

    names = manifest.names()
    replace(manifest, shards={name: sha256_of(bank / "shards" / name) for name in names}).write(bank)
    opened = Bank(bank)
    entries = opened.entries
    figures: dict[str, Any] = {
        "objects": len(entries),
        "classes": len(opened.classes),
        "bytes": sum((bank / "shards" / name).stat().st_size for name in names),
        "flagged": [entry.name for entry in entries if entry.flagged],
    }
    for key in entries[0].quality:
        values = sorted(entry.quality[key] for entry in entries)
        figures[key] = {
            "mean": sum(values) / len(values),
            "median": values[len(values) // 2],
            "least": values[0],
            "most": values[-1],
        }
    write_json(bank / "quality.json", figures)
    rate = {"fitted_now": fitted, "seconds": seconds, "objects_per_second": fitted / max(seconds, 1e-9)}
    return {"bank": str(bank), **figures, **rate}
