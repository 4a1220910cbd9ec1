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
    """Fit a tri-plane to every object of a set, and write a bank. The same call continues one that was interrupted.

    Args:
        source: An npz with points (M, P, 3), and optionally label, classes, name, split, parts and part_names; or a folder of
            CLASS/OBJECT or CLASS/SPLIT/OBJECT: clouds, meshes, grids of occupancy or folders of posed photographs.
        out: The bank's folder.
        signal: udf, sdf, occupancy or radiance. If not given, what suits the objects.
        recipe: fast, or published: Cardace et al. 2024, for udf and sdf.
        steps: Steps of each fit. Those of the recipe if not given.
        options: Options of the tri-plane, e.g. --options features 16.
        limit: Number of objects of each class to fit, the first ones. All if not given.
        shard_size: Objects of a file. 128, or 8 for photographs, if not given.
        seed: All randomness follows from it and the objects' names.
        device: cpu, cuda, or auto: cuda if there is a GPU.
        cluster: local, for Ray tasks on this machine's cores, or the address of a Ray cluster.
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
    """Train a network that names the class of a fitted field, measure one, or name the class of one field.

    Args:
        source: The folder of a bank: a network is trained on it, or measured with --model. Or a run's folder or a .field file, whose
            class is named by --model.
        network: transformer; published, the same with the size of the paper; pointnet; cnn; weights, which reads the networks
            behind the planes; or cloud, which reads points. transformer if not given.
        epochs: How often each object is seen. The network's own if not given.
        seed: All randomness follows from it, and the split of a bank that has none. 0 if not given.
        model: A model.safetensors that an earlier call wrote.
        split: On which objects of a bank it is measured: val, test, train or all. If not given, val, or test where there is
            no val.
        neighbours: A bank whose shapes nearest to the field are listed.
        out: The folder of results, new or empty. runs/BANK-NETWORK-N if not given.
        device: cpu, cuda, or auto: cuda if there is a GPU.
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
    """Train a network that finds the parts of shapes, measure one, or find the parts of one shape.

    Args:
        source: The folder of a bank whose points have parts: a network is trained on it, or measured with --model. Or a
            run's folder or a .field file, whose parts are found by --model.
        epochs: How often each object is seen. 60 if not given.
        seed: All randomness follows from it, and the split of a bank that has none. 0 if not given.
        model: A model.safetensors that an earlier call wrote.
        category: Of one field: its class.
        split: On which objects of a bank it is measured: val, test, train or all. If not given, val, or test where there is
            no val.
        out: The folder of results, new or empty; runs/BANK-parts-N if not given. Of one field: a .ply or .npz file of points with
            their parts, which is replaced; FIELD-parts.ply if not given.
        device: cpu, cuda, or auto: cuda if there is a GPU.
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
