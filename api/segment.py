"""Finding the parts of shapes in the planes of their fields."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyfield.api.learning import (
    bank_in,
    begun,
    check_fits,
    new_folder,
    open_object,
    read_model,
    refuse_options,
    training_figures,
    write_figures,
)
from polyfield.api.report import say, showing
from polyfield.errors import PolyfieldError, shown

if TYPE_CHECKING:
    from torch import Tensor

    from polyfield.process.bank import Bank
    from polyfield.process.model_file import Model

_SHOWN = 6  # objects in parts.png
_POINTS = 4096  # on a field


def segment(
    source: str | os.PathLike[str],
    /,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    model: str | os.PathLike[str] | None = None,
    category: str | None = None,
    split: str | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a network that finds the parts of shapes, measure one, or find the parts of one shape.

    A point's answer depends on the planes of its object, on the object's category and on the point alone; only the parts of
    the category are possible. With a bank alone, a network is trained, and the folder `out` gets model.safetensors, eval.json
    and parts.png. With a bank and `model`, the trained network is measured on that bank. With a field, `model` and `category`,
    points on the shape are written with their parts.

    Parameters
    ----------
    source
        The folder of a bank whose points have parts, or a run's folder or a .field file. A shape of another spec is fitted anew
        by the recipe of the network's bank.
    epochs
        How often each object is seen. If None, 60.
    seed
        All randomness follows from it, and the split of a bank that has none. 0 if None.
    model
        A model.safetensors.
    category
        Of one field: its class, one of the bank's.
    split
        On which objects of a bank it is measured: "val", "test", "train" or "all". If None, val, or test where there is no val.
    out
        The folder of results, which must not exist; ``runs/BANK-parts-N`` if None. Of a bank with `model`: nothing is written if
        None. Of one field: a .ply or .npz file, which is replaced; ``FIELD-parts.ply`` if None.
    device
        "cpu", "cuda", or "auto".

    Returns
    -------
    dict
        Of a bank: `instance_miou`, the mean over objects, and `class_miou`, the mean over categories, of each object's mean IoU over the
        parts of its category, where a part that is neither there nor predicted counts 1 (Yi et al. 2016). Of a field: `file` and
        the number of points of each part.

    Raises
    ------
    PolyfieldError
        If a file is damaged, a bank has no parts, a field cannot be fitted anew, or an option makes no sense.

    Examples
    --------
    >>> import numpy, polyfield, tempfile
    >>> points = numpy.random.default_rng(0).normal(size=(10, 64, 3))
    >>> parts = (points[..., 2] > 0).astype(numpy.uint8)
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     numpy.savez(f"{folder}/clouds.npz", points=points, label=numpy.zeros(10, int), parts=parts)
    ...     bank = polyfield.fit_set(f"{folder}/clouds.npz", out=f"{folder}/bank", steps=5).bank
    ...     figures = polyfield.segment(bank, epochs=1, out=f"{folder}/parts")
    >>> figures["objects"]
    2
    """
    bank = bank_in(source)
    if bank is not None:
        refuse_options("a bank as the source", category=category)
        if model is None:
            return _trained(bank, epochs, seed or 0, split, out, device)
        refuse_options("--model, which is already trained", epochs=epochs, seed=seed)
        return _measured(bank, model, split, out, device)
    if model is None or category is None:
        raise PolyfieldError(
            f"{shown(source)} is a single field; give --model and --category, or give a bank to train on"
        )
    refuse_options("a single field as the source", epochs=epochs, seed=seed, split=split)
    return _found(Path(source), model, category, out, device)


def _trained(
    bank: Bank,
    epochs: int | None,
    seed: int,
    split: str | None,
    out: str | os.PathLike[str] | None,
    device: str,
) -> dict[str, Any]:
    from polyfield.fitting.runs.devices import device_of
    from polyfield.process.inputs import inputs_of
    from polyfield.process.model_file import Model
    from polyfield.process.networks.parts import PartNetwork
    from polyfield.process.parts_training import PARTS_TRAINING, allowed_parts, parts_loss, parts_of_category
    from polyfield.process.training import seeded, train
    from polyfield.progress import part

    on = device_of(device)
    training = PARTS_TRAINING if epochs is None else replace(PARTS_TRAINING, epochs=epochs)
    if not bank.part_names:
        raise PolyfieldError(
            f"{shown(bank.path)}: the points have no part labels; fit a bank from an .npz set that has the array 'parts'"
        )
    parts, held_out, rows, folder = begun(bank, seed, split, out, "parts")
    with showing("training") as progress:
        everything = range(len(bank))
        planes = inputs_of(bank, everything, "planes", part(progress, 0, 0.02, "reading"))
        points, true = bank.points(everything).float(), bank.parts(everything)
        own = parts_of_category(true, bank.labels, bank.part_names, len(bank.classes), bank.path)
        with seeded(seed):
            network = PartNetwork(
                categories=len(bank.classes), parts=len(bank.part_names), nodes=planes.shape[-1]
            )
        network.to(on)
        start = time.perf_counter()
        allowed = allowed_parts(own, len(bank.part_names))
        loss = parts_loss(network, planes, points, true, bank.labels, allowed)
        history = train(
            network, loss, parts.train, training, seed=seed, progress=part(progress, 0.02, 1, "training")
        )
        seconds = time.perf_counter() - start
    model = Model(network, bank.classes, bank.part_names, own, bank.spec, bank.manifest.recipe, seed)
    model.write(folder / "model.safetensors")
    measured, found = _figures(model, bank, rows, held_out)
    figures = {
        "network": network.kind,
        **training_figures(network, training, parts, seconds, seed),
        **measured,
        "loss_by_epoch": history,
        "folder": str(folder),
    }
    _write(folder, figures, bank, rows, found)
    return figures


def _measured(
    bank: Bank,
    path: str | os.PathLike[str],
    split: str | None,
    out: str | os.PathLike[str] | None,
    device: str,
) -> dict[str, Any]:
    from polyfield.fitting.runs.devices import device_of
    from polyfield.process.splits import split_of

    model = read_model(path, of_parts=True)
    check_fits(bank, model, path)
    parts = split_of(bank, model.seed)
    held_out, rows = parts.held_out(split)
    model.network.to(device_of(device))
    measured, found = _figures(model, bank, rows, held_out)
    figures = {"model": str(path), "network": model.network.kind, **measured}
    if out is not None:
        _write(new_folder(out, bank.path, "parts"), figures, bank, rows, found)
    return figures


def _found(
    source: Path, path: str | os.PathLike[str], category: str, out: str | os.PathLike[str] | None, device: str
) -> dict[str, Any]:
    import torch

    from polyfield.export.clouds import write_cloud
    from polyfield.fitting.runs.devices import device_of
    from polyfield.process.parts_training import found_parts
    from polyfield.rendering.surfaces.points import surface_points

    model = read_model(path, of_parts=True)
    if category not in model.classes:
        raise PolyfieldError(
            f"--category {category!r:.80} is unknown; expected one of {', '.join(model.classes)!s:.300}"
        )
    field, planes = open_object(source, model)
    points = surface_points(field, _POINTS)
    domain = field.meaning.domain
    local = domain.to_local(domain.from_source(points))
    model.network.to(device_of(device))
    parts = found_parts(model, planes, local[None], torch.tensor([model.classes.index(category)]))[0]
    name = source.resolve().name.removesuffix(".field")
    file = Path(f"{name}-parts.ply" if out is None else out)
    write_cloud(file, points.numpy(), parts.numpy(), model.parts)
    counts = parts.bincount(minlength=len(model.parts))
    own = model.parts_of[model.classes.index(category)]
    return {
        "field": str(source),
        "category": category,
        "file": str(file),
        "points": {model.parts[k]: int(counts[k]) for k in own},
    }


def _figures(model: Model, bank: Bank, rows: list[int], held_out: str) -> tuple[dict[str, Any], Tensor]:
    """Return the figures of some objects of a bank, and the parts found (N, P) at their points."""
    from polyfield.process.figures import part_iou, segmentation
    from polyfield.process.inputs import inputs_of
    from polyfield.process.parts_training import found_parts

    labels = bank.labels[rows]
    found = found_parts(model, inputs_of(bank, rows, model.network.reads), bank.points(rows).float(), labels)
    true = bank.parts(rows)
    ious = [
        part_iou(one, other, model.parts_of[label]) for one, other, label in zip(found, true, labels.tolist())
    ]
    measured = segmentation(ious, labels.tolist(), bank.classes)
    accuracy = float((found == true).float().mean())
    return {"bank": str(bank.path), "measured_on": held_out, **measured, "point_accuracy": accuracy}, found


def _write(folder: Path, figures: dict[str, Any], bank: Bank, rows: list[int], found: Tensor) -> None:
    from polyfield.export.clouds import write_parts_picture

    write_figures(folder, figures)
    shown_rows = []
    labels = bank.labels[rows].tolist()
    order = sorted(range(len(rows)), key=lambda k: (labels[:k].count(labels[k]), k))  # every category first
    for k in order[:_SHOWN]:
        entry, own = bank.entries[rows[k]], [rows[k]]
        title = f"{bank.classes[labels[k]]} {Path(entry.name).name}"
        shown_rows.append(
            (title, bank.points(own)[0].float().numpy(), bank.parts(own)[0].numpy(), found[k].numpy())
        )
    write_parts_picture(folder / "parts.png", shown_rows)
    say(
        f"{folder}: mean IoU {figures['instance_miou']:.3f} over {figures['objects']} objects, "
        f"{figures['class_miou']:.3f} over categories ({figures['measured_on']})"
    )
