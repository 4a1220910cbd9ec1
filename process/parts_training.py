"""Training and use of part networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from polyfield.errors import PolyfieldError, shown
from polyfield.process.augment import points_in, random_boxes, resampled
from polyfield.process.inputs import FLIPS, LEAST_SIDE
from polyfield.process.model_file import Model
from polyfield.process.networks.parts import PartNetwork, restricted
from polyfield.process.training import Loss, Training

PARTS_TRAINING = Training(epochs=60, batch=32, rate=1e-3, decay=0.05)
POINTS = 256  # of each object in a step: answers do not depend on each other, so any subset serves
_AT_ONCE = 32  # objects without gradients

PartsOf = tuple[tuple[int, ...], ...]


def parts_of_category(
    true: Tensor, labels: Tensor, parts: Sequence[str], classes: int, bank: Path
) -> PartsOf:
    """Return the parts that occur in each category (C), of true parts (M, P) and categories (M,).

    Raises PolyfieldError where a part has no name.
    """
    if int(true.max()) >= len(parts):
        raise PolyfieldError(
            f"{shown(bank)}: a point has the part number {int(true.max())}; expected 0 to {len(parts) - 1}; "
            "name every part in the set's array part_names, and fit the bank again"
        )
    return tuple(tuple(true[labels == label].unique().tolist()) for label in range(classes))


def allowed_parts(own: PartsOf, parts: int) -> Tensor:
    """Return whether each category has each part, (C, K) bool."""
    allowed = torch.zeros(len(own), parts, dtype=torch.bool)
    for label, some in enumerate(own):
        allowed[label, list(some)] = True
    return allowed


def parts_loss(
    network: PartNetwork, planes: Tensor, points: Tensor, true: Tensor, labels: Tensor, allowed: Tensor
) -> Loss:
    """Return the cross entropy of parts at random points of objects, whose cubes are cut and flipped at random."""
    device = next(network.parameters()).device

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        box = random_boxes(len(rows), generator, least=LEAST_SIDE, flips=FLIPS)
        drawn = len(rows), min(POINTS, points.shape[1])
        some = torch.randint(points.shape[1], drawn, generator=generator)
        at = points_in(points[rows[:, None], some], box).to(device)
        own = labels[rows].to(device)
        logits = network(resampled(planes[rows].float(), box).to(device), at, own)
        logits = restricted(logits, own, allowed.to(device))
        return cross_entropy(logits.flatten(0, 1), true[rows[:, None], some].flatten().to(device))

    return loss


@torch.no_grad()
def found_parts(model: Model, planes: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Return the parts (N, P) at points (N, P, 3) of objects of known categories (N,), on the CPU."""
    network, device = model.network, next(model.network.parameters()).device
    allowed = allowed_parts(model.parts_of, len(model.parts)).to(device)
    found = []
    for some in torch.arange(len(labels)).split(_AT_ONCE):
        own = labels[some].to(device)
        logits = network(planes[some].float().to(device), points[some].to(device), own)
        found.append(restricted(logits, own, allowed).argmax(-1).cpu())
    return torch.cat(found)
