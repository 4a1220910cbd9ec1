"""Classifying shapes and scenes by the parameters of their fields."""

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
    import torch
    from torch import Tensor

    from polyfield.process.bank import Bank
    from polyfield.process.model_file import Model

_NEIGHBOURS = 5


def classify(
    source: str | os.PathLike[str],
    /,
    *,
    network: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    model: str | os.PathLike[str] | None = None,
    split: str | None = None,
    neighbours: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a network that classifies the fields of a bank, evaluate a trained network, or classify one field.

    With a bank alone, a network is trained on the training objects and evaluated on the held-out objects. The folder
    `out` then holds model.safetensors, eval.json and confusion.png. With a bank and `model`, the trained network is
    evaluated on the bank. With one field and `model`, the network predicts the class of the field.

    The fields of a bank are tri-planes: they store features on three axis-aligned planes. A channel is one feature of one
    plane. The networks "transformer" and "published" take each channel as a token (Cardace et al. 2024, "Neural Processing
    of Tri-Plane Hybrid Neural Fields"). "cnn", "weights" and "cloud" are baselines.

    Parameters
    ----------
    source
        A bank, which is a folder that `fit_set` wrote; or a run folder or .field file with one field. The training bank is
        the bank that the network of `model` was trained on. A shape's field may differ from the fields of the training bank
        in architecture, options or signal. In this case, a new field is fitted to points on the shape's surface, with the
        recipe of the training bank.
    network
        "transformer", "published", "pointnet", "cnn", "weights" or "cloud". If None, "transformer". "published" is a
        transformer with the size and training of Cardace et al. 2024. "weights" reads the weights of the fields' small
        networks. "cloud" reads points. All other networks read the planes.
    epochs
        The number of training epochs. If None, 150 for "published" and 40 for the other networks.
    seed
        The seed of all random numbers. If None, 0. If the objects have no split, the seed also determines which objects are
        held out.
    model
        The file model.safetensors of a trained network.
    split
        The objects of the bank for the evaluation: "val", "test", "train" or "all". If None, "val", or "test" if the bank
        has no val.
    neighbours
        For one field: a bank. Its objects that are most similar to the field are listed. The similarity is the cosine of
        the two vectors that enter the network's last layer.
    out
        The folder for results. It must be new or empty. If None, ``runs/BANK-NETWORK-N``. With `model`, results are
        written only if `out` is given.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".

    Returns
    -------
    dict
        For a bank: `accuracy`, `accuracy_interval` (its 95 % Wilson interval), `accuracy_by_class`, `confusion` and
        `mistakes`. `confusion` counts objects, with a row for each true class and a column for each predicted class.
        `mistakes` holds the name, the class and the predicted class (`answer`) of each object that was misclassified. After
        training, also `parameters` (the number of parameters of the network) and `seconds` (the training time). For one
        field: `class`, `probabilities` and, if `neighbours` is given, `neighbours`.

    Raises
    ------
    PolyfieldError
        If a file is damaged, an option is invalid, or a new field cannot be fitted. Also if the bank has no classes, or if the
        classes of the bank differ from the classes of the model.

    Examples
    --------
    >>> import numpy, polyfield, tempfile
    >>> points = numpy.random.default_rng(0).normal(size=(10, 64, 3))
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     numpy.savez(f"{folder}/clouds.npz", points=points, label=numpy.arange(10) % 2)
    ...     bank = polyfield.fit_set(f"{folder}/clouds.npz", out=f"{folder}/bank", steps=5).bank
    ...     figures = polyfield.classify(bank, network="pointnet", epochs=1, out=f"{folder}/classifier")
    >>> figures["objects"]
    2
    """
    bank = bank_in(source)
    if bank is not None:
        refuse_options("a bank as the source", neighbours=neighbours)
        if model is None:
            return _trained(bank, network or "transformer", epochs, seed or 0, split, out, device)
        refuse_options("--model, which is already trained", network=network, epochs=epochs, seed=seed)
        return _measured(bank, model, split, out, device)
    if model is None:
        raise PolyfieldError(
            f"{shown(source)} is a single field; give --model to classify it, or give a bank to train on"
        )
    refuse_options(
        "a single field as the source", network=network, epochs=epochs, seed=seed, split=split, out=out
    )
    return _named(source, model, neighbours, device)


def _trained(
    bank: Bank,
    name: str,
    epochs: int | None,
    seed: int,
    split: str | None,
    out: str | os.PathLike[str] | None,
    device: str,
) -> dict[str, Any]:
    from polyfield.fitting.runs.devices import device_of
    from polyfield.process.inputs import inputs_of
    from polyfield.process.model_file import Model
    from polyfield.process.networks.registry import choice, new_classifier
    from polyfield.process.training import classifier_loss, seeded, train
    from polyfield.progress import part

    chosen, on = choice(name), device_of(device)
    training = chosen.training if epochs is None else replace(chosen.training, epochs=epochs)
    parts, held_out, rows, folder = begun(bank, seed, split, out, name)
    with showing("training") as progress:
        inputs = inputs_of(bank, range(len(bank)), chosen.network.reads, part(progress, 0, 0.02, "reading"))
        with seeded(seed):
            network = new_classifier(chosen, len(bank.classes), inputs)
        network.prepare(inputs[parts.train])
        network.to(on)
        start = time.perf_counter()
        loss = classifier_loss(network, inputs, bank.labels, training)
        history = train(
            network, loss, parts.train, training, seed=seed, progress=part(progress, 0.02, 1, "training")
        )
        seconds = time.perf_counter() - start
    model = Model(network, bank.classes, (), (), bank.spec, bank.manifest.recipe, seed)
    model.write(folder / "model.safetensors")
    figures = {
        "network": name,
        **training_figures(network, training, parts, seconds, seed),
        **_figures(network, inputs[rows], rows, bank, held_out),
        "loss_by_epoch": history,
        "folder": str(folder),
    }
    _write(folder, figures, bank)
    return figures


def _measured(
    bank: Bank,
    path: str | os.PathLike[str],
    split: str | None,
    out: str | os.PathLike[str] | None,
    device: str,
) -> dict[str, Any]:
    from polyfield.fitting.runs.devices import device_of
    from polyfield.process.inputs import inputs_of
    from polyfield.process.splits import split_of

    model = read_model(path, of_parts=False)
    check_fits(bank, model, path)
    parts = split_of(bank, model.seed)
    held_out, rows = parts.held_out(split)
    with showing("measuring") as progress:
        inputs = inputs_of(bank, rows, model.network.reads, progress)
        network = model.network.to(device_of(device))
        figures = {
            "model": str(path),
            "network": network.kind,
            **_figures(network, inputs, rows, bank, held_out),
        }
    if out is not None:
        folder = new_folder(out, bank.path, "classify")
        _write(folder, figures, bank)
    return figures


def _named(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    neighbours: str | os.PathLike[str] | None,
    device: str,
) -> dict[str, Any]:
    import torch

    from polyfield.fitting.runs.devices import device_of
    from polyfield.process.bank import MANIFEST
    from polyfield.process.training import in_batches

    model = read_model(path, of_parts=False)
    if neighbours is not None and not (Path(neighbours) / MANIFEST).is_file():
        raise PolyfieldError(
            f"--neighbours: {shown(neighbours)} is not a bank; expected a folder that `polyfield fit-set` wrote"
        )
    bank = None if neighbours is None else bank_in(neighbours)
    if bank is not None:
        check_fits(bank, model, path, classes=False)
    _, inputs = open_object(source, model)
    on = torch.device(device_of(device))
    network = model.network.to(on)
    shares = in_batches(network, inputs, on)[0].softmax(0)
    figures: dict[str, Any] = {
        "field": str(source),
        "class": model.classes[int(shares.argmax())],
        "probabilities": {name: float(share) for name, share in zip(model.classes, shares)},
    }
    if bank is not None:
        figures["neighbours"] = _nearest(bank, model, inputs, on)
    return figures


def _nearest(bank: Bank, model: Model, inputs: Tensor, on: torch.device) -> list[dict[str, Any]]:
    """Return the objects of a bank whose vectors have the largest cosine with that of inputs (1, ...)."""
    import torch
    from torch.nn.functional import normalize

    from polyfield.process.inputs import inputs_of
    from polyfield.process.networks.network import Classifier
    from polyfield.process.training import in_batches

    network = model.network
    assert isinstance(network, Classifier)
    with showing("comparing") as progress:
        others = inputs_of(bank, range(len(bank)), network.reads, progress)
        vectors = normalize(in_batches(network.embedding, others, on), dim=1)
    cosines = (vectors @ normalize(in_batches(network.embedding, inputs, on), dim=1).T)[:, 0].clamp(-1, 1)
    found = torch.topk(cosines, min(_NEIGHBOURS, len(bank)))
    nearest = []
    for row, cosine in zip(found.indices.tolist(), found.values.tolist()):
        entry = bank.entries[row]
        label = None if entry.label is None else bank.classes[entry.label]
        nearest.append({"name": entry.name, "class": label, "cosine": cosine})
    return nearest


def _figures(network: Any, inputs: Tensor, rows: list[int], bank: Bank, held_out: str) -> dict[str, Any]:
    """Return the figures of a network that reads the inputs (N, ...) of a bank's rows."""
    from polyfield.process.figures import classification, confusion_of
    from polyfield.process.training import in_batches

    found = in_batches(network, inputs, next(network.parameters()).device).argmax(1)
    labels = bank.labels[rows]
    confusion = confusion_of(found, labels, len(bank.classes))
    mistakes = [
        {
            "name": bank.entries[rows[k]].name,
            "class": bank.classes[labels[k]],
            "answer": bank.classes[found[k]],
        }
        for k in (found != labels).nonzero()[:, 0].tolist()
    ]
    where = {"bank": str(bank.path), "measured_on": held_out}
    return {**where, **classification(confusion, bank.classes), "mistakes": mistakes}


def _write(folder: Path, figures: dict[str, Any], bank: Bank) -> None:
    from polyfield.export.confusion import write_confusion

    write_figures(folder, figures)
    low, high = figures["accuracy_interval"]
    title = (
        f"{figures['network']}: {figures['accuracy']:.1%} of {figures['objects']} objects "
        f"({figures['measured_on']}; 95 %: {low:.1%} to {high:.1%})"
    )
    write_confusion(folder / "confusion.png", figures["confusion"], bank.classes, title)
    say(f"{folder}: {title}")
