"""The verbs of banks and of networks over them: what the command line takes, and the help it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

Objects = Annotated[Path, tyro.conf.arg(metavar="SET")]
BankOrField = Annotated[Path, tyro.conf.arg(metavar="BANK|RUN|FIELD")]


def fit_set(
    source: Objects,
    /,
    *,
    out: Path,
    signal: str | None = None,
    recipe: str = "fast",
    steps: int | None = None,
    options: dict[str, int | str] | None = None,
    limit: int | None = None,
    shard_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    cluster: str | None = None,
) -> dict[str, Any]:
    """Fit a tri-plane to every object of a set, and write the fields to a folder, called a bank.

    A tri-plane is a field with features on three axis-aligned planes and a small network.
    If fit-set was interrupted, the same command continues it.

    Args:
        source: A set of objects: an .npz file or a folder.
            The .npz file holds point clouds: the array points (M, P, 3).
            Its optional arrays are label, classes, name, split, parts and part_names.
            The folder holds CLASS/OBJECT or CLASS/SPLIT/OBJECT, where SPLIT is train, val or test.
            The objects are all point clouds, all meshes, all occupancy grids, or all folders of posed photographs.
        out: The folder of the bank: a new or empty folder, or the folder of an interrupted fit-set.
        signal: The kind of value that the fields store: udf, sdf, occupancy or radiance.
            If not given: udf for clouds, sdf for meshes, occupancy for grids, radiance for photographs.
            If some meshes are not closed, udf for all meshes.
        recipe: The size of the fields and how they are fitted: fast, or published (Cardace et al. 2024).
            The recipe published is only for udf and sdf.
        steps: The number of training steps of each field. If not given, the number of the recipe.
        options: Options of the tri-planes, as names and values, for example --options features 16.
        limit: Fit only the first objects of each class, at most this many. If not given, all objects.
        shard_size: The number of objects in each file of the bank. If not given, 128, or 8 for photographs.
        seed: The seed of all random numbers. Each object's own seed also depends on its name.
        device: cpu, cuda, or auto. With auto, cuda if there is a GPU, else cpu.
        cluster: With local, fit on all cores of this machine, with the library Ray.
            With the address of a Ray cluster, fit on its machines.
    """
    from polyfield.api.fit_set import fit_set

    result = fit_set(
        source,
        out=out,
        signal=signal,
        recipe=recipe,
        steps=steps,
        options=options,
        limit=limit,
        shard_size=shard_size,
        seed=seed,
        device=device,
        cluster=cluster,
    )
    return result.figures


def classify(
    source: BankOrField,
    /,
    *,
    network: str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    model: Path | None = None,
    split: str | None = None,
    neighbours: Path | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a network that classifies the fields of a bank, evaluate a trained network, or classify one field.

    Args:
        source: A bank, which is a folder that fit-set wrote; or a run folder or .field file with one field.
            A bank alone: a network is trained and evaluated. A bank with --model: the trained network is evaluated.
            One field needs --model.
        network: transformer, published, pointnet, cnn, weights or cloud. If not given, transformer.
            The network published is a transformer with the size and training of Cardace et al. 2024.
            The network weights reads the weights of the fields' small networks. The network cloud reads points.
            All other networks read the planes.
        epochs: The number of training epochs. If not given, 150 for published and 40 for the other networks.
        seed: The seed of all random numbers. If not given, 0.
            If the objects have no split, the seed also determines which objects are held out.
        model: The file model.safetensors of a trained network.
        split: The objects of the bank for the evaluation: val, test, train or all.
            If not given, val, or test if the bank has no val.
        neighbours: For one field: a bank. Its objects that are most similar to the field are listed.
        out: The folder for results. It must be new or empty. If not given, runs/BANK-NETWORK-N.
            With --model, results are written only if --out is given.
        device: cpu, cuda, or auto. With auto, cuda if there is a GPU, else cpu.
    """
    from polyfield.api.classify import classify

    return classify(
        source,
        network=network,
        epochs=epochs,
        seed=seed,
        model=model,
        split=split,
        neighbours=neighbours,
        out=out,
        device=device,
    )


def segment(
    source: BankOrField,
    /,
    *,
    epochs: int | None = None,
    seed: int | None = None,
    model: Path | None = None,
    category: str | None = None,
    split: str | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Train a network that labels the parts of shapes, evaluate a trained network, or label the parts of one shape.

    Args:
        source: A bank with part labels, which is a folder that fit-set wrote; or a run folder or .field file with one shape.
            A bank alone: a network is trained and evaluated. A bank with --model: the trained network is evaluated.
            One shape needs --model and --category.
        epochs: The number of training epochs. If not given, 60.
        seed: The seed of all random numbers. If not given, 0.
            If the objects have no split, the seed also determines which objects are held out.
        model: The file model.safetensors of a trained network.
        category: For one shape: its class.
        split: The objects of the bank for the evaluation: val, test, train or all.
            If not given, val, or test if the bank has no val.
        out: For a bank: the folder for results. It must be new or empty. If not given, runs/BANK-parts-N.
            With --model, results are written only if --out is given.
            For one shape: a .ply or .npz file of points with part labels. An existing file is replaced.
            If not given, FIELD-parts.ply.
        device: cpu, cuda, or auto. With auto, cuda if there is a GPU, else cpu.
    """
    from polyfield.api.segment import segment

    return segment(
        source,
        epochs=epochs,
        seed=seed,
        model=model,
        category=category,
        split=split,
        out=out,
        device=device,
    )
