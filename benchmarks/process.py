"""Banks: the time and the quality of the fits, and the accuracy of networks that read the fields."""

from __future__ import annotations

import functools
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import polyfield
from benchmarks.object_sets import CATEGORIES, write_clouds, write_views
from benchmarks.turns import Budget
from polyfield.data.sets import ObjectSet, open_set
from polyfield.process.fitting import fit_fields
from polyfield.process.objects import shape_of
from polyfield.process.quality import quality_of
from polyfield.process.recipes import recipe_of, spec_of

SAMPLE = 20  # objects that recipes are compared on
SIZES = (100, 300, 1000)  # objects of the banks whose times are compared
CLASSIFIERS = ("transformer", "pointnet", "cnn", "weights", "cloud")
_PARTS, _VIEWS = 120, 40  # objects of each category
_LEAST = 4


class Banks:
    """Banks in a temporary folder, each made once."""

    def __init__(self, objects: str, budget: Budget) -> None:
        self.objects, self._share = objects, budget.share
        self._folder = tempfile.TemporaryDirectory()
        self.path = Path(self._folder.name)

    def count(self, count: int) -> int:
        return max(round(count * self._share), _LEAST)

    @property
    def steps(self) -> int | None:
        return None if self._share == 1 else 5

    @property
    def epochs(self) -> int | None:
        return None if self._share == 1 else 1

    @functools.cached_property
    def of_objects(self) -> Path:
        limit = None if self._share == 1 else _LEAST
        return self._fitted(self.objects, "objects", limit)

    @functools.cached_property
    def of_parts(self) -> Path:
        write_clouds(self.path / "parts.npz", self.count(_PARTS))
        return self._fitted(str(self.path / "parts.npz"), "parts", None)

    @functools.cached_property
    def of_views(self) -> Path:
        write_views(self.path / "views", self.count(_VIEWS))
        return self._fitted(str(self.path / "views"), "views", None)

    def _fitted(self, source: str, name: str, limit: int | None) -> Path:
        return polyfield.fit_set(source, out=self.path / f"bank-{name}", limit=limit, steps=self.steps).bank


def recipe(name: str, banks: Banks, budget: Budget) -> dict[str, Any]:
    """The cell of a recipe: its quality on a sample of a set's objects, and what an object costs."""
    objects = open_set(banks.objects)
    rows = np.linspace(0, len(objects) - 1, banks.count(SAMPLE)).astype(int)
    made = recipe_of(name, "udf", steps=banks.steps, options={})
    spec, qualities, start = spec_of(made, "udf"), [], time.perf_counter()
    for row in rows.tolist():
        opened: Any = objects.open(row)
        shape = shape_of(opened, "udf", np.random.Generator(np.random.Philox(row)))
        pool = shape.pool(made, "udf", np.random.Generator(np.random.Philox(row)))
        (field,) = fit_fields(spec, made, [pool], [row])
        qualities.append(quality_of(field, shape, row))
    figures = {
        "recipe": name,
        "chamfer, half sides": statistics.mean(quality["chamfer"] for quality in qualities),
        "F-score at 0.02": statistics.mean(quality["f_score"] for quality in qualities),
        "seconds an object": (time.perf_counter() - start) / len(rows),
        "numbers": field.parameter_count(),
        "bytes stored": field.stored_bytes(),
    }
    return {"rows": [figures], "notes": [f"{len(rows)} objects of {Path(banks.objects).name}"]}


def size(count: int, banks: Banks, budget: Budget) -> dict[str, Any]:
    """The cell of a number of objects: seconds and memory of a bank."""
    objects = open_set(banks.objects)
    limit = max(banks.count(count) // max(len(objects.classes), 1), 1)
    with tempfile.TemporaryDirectory() as folder:
        figures = polyfield.fit_set(
            banks.objects, out=Path(folder) / "bank", limit=limit, steps=banks.steps
        ).figures
    row = {
        "objects": figures["objects"],
        "seconds": figures["seconds"],
        "objects a second": figures["objects_per_second"],
        "chamfer": figures["chamfer"]["mean"],
        "flagged": len(figures["flagged"]),
        "bytes an object": figures["bytes"] / figures["objects"],
        "most memory of the process, bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    return {"rows": [row], "notes": [f"{Path(banks.objects).name}, the first {limit} of each class"]}


def classifier(name: str, banks: Banks, budget: Budget) -> dict[str, Any]:
    """The cell of a network: how many classes of the objects held out it names."""
    return _classified(name, banks.of_objects, banks)


def views(banks: Banks, budget: Budget) -> dict[str, Any]:
    """The cell of radiance: fields of rendered photographs, classified."""
    found = _classified("transformer", banks.of_views, banks)
    bank = polyfield.Bank(banks.of_views)
    found["rows"][0]["dB of the fields"] = statistics.mean(entry.quality["psnr"] for entry in bank.entries)
    return found


def _classified(name: str, bank: Path, banks: Banks) -> dict[str, Any]:
    out = banks.path / f"{bank.name}-{name}"
    figures = polyfield.classify(bank, network=name, epochs=banks.epochs, out=out)
    low, high = figures["accuracy_interval"]
    row = {
        "network": name,
        "accuracy": figures["accuracy"],
        "from": low,
        "to": high,
        "numbers": figures["parameters"],
        "epochs": figures["epochs"],
        "seconds": figures["seconds"],
    }
    note = (
        f"{figures['trained_on']} objects to train on, {figures['objects']} held out; from, to: 95 % (Wilson)"
    )
    return {"rows": [row], "notes": [note]}


def parts(banks: Banks, budget: Budget) -> dict[str, Any]:
    """The cell of part segmentation on procedural shapes."""
    figures = polyfield.segment(banks.of_parts, epochs=banks.epochs, out=banks.path / "segmented")
    row = {
        "categories": len(CATEGORIES),
        "parts": len(polyfield.Bank(banks.of_parts).part_names),
        "instance mIoU": figures["instance_miou"],
        "class mIoU": figures["class_miou"],
        "points right": figures["point_accuracy"],
        "seconds": figures["seconds"],
    }
    return {
        "rows": [row],
        "notes": [f"{figures['trained_on']} objects to train on, {figures['objects']} held out"],
    }


def known(objects: ObjectSet) -> dict[str, Any]:
    """Return what tells a set of objects from another."""
    return {"objects": objects.root.name, "sha256": objects.sha256, "count": len(objects)}
