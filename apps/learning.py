"""The verbs that train networks on banks of fields, and use them: thin, as in `verbs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

BankOrField = Annotated[Path, tyro.conf.arg(metavar="BANK|RUN|FIELD")]


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
