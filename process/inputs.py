"""What networks read of a bank's objects, in memory, and how training changes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError, shown
from polyfield.fields import Field, FieldSpec, StoredField
from polyfield.process.augment import jittered, random_boxes, resampled
from polyfield.process.bank import Bank, Entry, placed
from polyfield.progress import Progress, silent
from polyfield.rendering.surfaces.points import surface_points

LEAST_SIDE = 0.8  # of a random part of the cube
FLIPS = (0,)  # axes that are flipped at random: most objects are symmetric in x
STEP_POINTS = 512  # of each cloud in a step of training; more are slower than the networks for planes
POINTS = 2048  # on the surface of a field that is no object of a bank
_AT_ONCE = 64  # objects


def inputs_of(bank: Bank, rows: Sequence[int], reads: str, progress: Progress = silent) -> Tensor:
    """Return what networks read of objects (N, ...): `planes` in half precision, `weights` or `points`.

    Raises PolyfieldError where the bank does not have it, or a number is not finite.
    """
    found = []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        if reads == "planes":
            found.append(bank.planes(some).half())  # as the shards store them
        else:
            found.append(bank.weights(some) if reads == "weights" else bank.points(some).float())
        progress((start + len(some)) / len(rows), "reading")
    inputs = torch.cat(found)
    if not inputs.isfinite().all():
        precision = " in half precision" if reads == "planes" else ""
        raise PolyfieldError(
            f"{shown(bank.path)}: its {reads} have values that are NaN or infinite{precision}; "
            "fit another bank with a different --seed"
        )
    return inputs


def inputs_of_field(field: StoredField, reads: str) -> Tensor:
    """Return what networks read of one field (1, ...) of a bank's spec, in whichever coordinates."""
    if reads == "points":
        points = surface_points(field, POINTS)
        domain = field.meaning.domain
        return domain.to_local(domain.from_source(points))[None]
    stored = field.stored()
    if reads == "weights":
        names = sorted(name for name in stored if name.startswith("trunk."))
        return torch.cat([stored[name].float().flatten() for name in names])[None]
    planes = torch.stack([stored[f"encoding.tables.{plane}"] for plane in range(3)])  # (3, R * R, F)
    nodes = round(planes.shape[1] ** 0.5)
    return planes.unflatten(1, (nodes, nodes)).movedim(-1, 1)[None]


def is_of_spec(field: Field, spec: FieldSpec) -> TypeGuard[StoredField]:
    """Whether a field has the spec of a bank's objects but for its place and size."""
    if not isinstance(field, StoredField):
        return False
    domain = field.meaning.domain
    if domain.kind != "box" or len(domain.half_size) != 3 or len(set(domain.half_size)) > 1:
        return False
    x, y, z = (c + o for c, o in zip(domain.centre, domain.origin))
    entry = Entry("", None, "", (x, y, z), domain.half_size[0])
    return placed(spec, entry) == field.spec


def augmented(inputs: Tensor, reads: str, generator: torch.Generator) -> Tensor:
    """Return inputs (B, ...) with random changes that keep an object's class: parts and flips of planes, noise on clouds."""
    if reads == "planes":
        return resampled(inputs, random_boxes(len(inputs), generator, least=LEAST_SIDE, flips=FLIPS))
    return jittered(inputs, generator, most=STEP_POINTS) if reads == "points" else inputs
