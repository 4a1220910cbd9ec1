"""Labelling the parts of shapes from the planes of their fields."""

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
    """Train a network that labels the parts of shapes, evaluate a trained network, or label the parts of one shape.

    The fields of a bank are tri-planes: they store features on three axis-aligned planes. The category of an object is its
    class. The predicted part of a point depends on the planes and the category of the object, and on the point's position.
    Only parts of the category are predicted.

    With a bank alone, a network is trained on the training objects and evaluated on the held-out objects. The folder
    `out` then holds model.safetensors, eval.json and parts.png. With a bank and `model`, the trained network is evaluated
    on the bank. With one shape, `model` and `category`, points on the shape are written with their part labels.

    Parameters
    ----------
    source
        A bank with part labels, which is a folder that `fit_set` wrote; or a run folder or .field file with one shape. The
        training bank is the bank that the network of `model` was trained on. A shape's field may differ from the fields of
        the training bank in architecture, options or signal. In this case, a new field is fitted to points on the shape's
        surface, with the recipe of the training bank.
    epochs
        The number of training epochs. If None, 60.
    seed
        The seed of all random numbers. If None, 0. If the objects have no split, the seed also determines which objects are
        held out.
    model
        The file model.safetensors of a trained network.
    category
        For one shape: its class, one of the classes of the training bank.
    split
        The objects of the bank for the evaluation: "val", "test", "train" or "all". If None, "val", or "test" if the bank
        has no val.
    out
        For a bank: the folder for results. It must be new or empty. If None, ``runs/BANK-parts-N``. With `model`, results
        are written only if `out` is given. For one shape: a .ply or .npz file of points with part labels. An existing file
        is replaced. If None, ``FIELD-parts.ply``.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".

    Returns
    -------
    dict
        For a bank: `instance_miou`, the mean IoU over objects, and `class_miou`, the mean IoU over categories. The IoU of an
        object is the mean over the parts of its category. The IoU of a category is the mean over its objects. A part that
        is neither present nor predicted has the IoU 1 (Yi et al. 2016). For one shape: `file`, the written file, and
        `points`, the number of points of each part.

    Raises
    ------
    PolyfieldError
        If a file is damaged, the bank has no part labels, a new field cannot be fitted, or an option is invalid.

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
