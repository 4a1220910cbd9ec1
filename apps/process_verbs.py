"""The verbs of banks and of networks over them: what the command line takes, and the help it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

Objects = Annotated[Path, tyro.conf.arg(metavar="SET")]


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
        limit: Fit only so many objects of each class.
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
