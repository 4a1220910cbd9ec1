"""Important samples: those that make most of their ray's colour (PVD-AL, level 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.distill.teacher import Answers

SHARE = 0.3  # of a ray's samples
LEAST_OPACITY = 0.5  # of rays that have important samples


def with_important(answers: Answers, rays: int) -> Answers:
    """Return the answers twice as many, half of them at important samples, which are repeated as often as that takes.

    Those are the floor(SHARE n) + 1 samples of largest weight of each ray of n samples that is at least LEAST_OPACITY opaque.
    """
    opacity = answers.weight.new_zeros(rays).index_add(0, answers.ray, answers.weight)
    kept = largest(answers.weight, answers.ray, rays, SHARE) & (opacity >= LEAST_OPACITY)[answers.ray]
    rows, found = torch.arange(len(kept), device=kept.device), kept.nonzero()[:, 0]
    if len(found):
        rows = torch.cat((rows, found[rows % len(found)]))
    return Answers(
        answers.points[rows],
        answers.ray[rows],
        answers.raw[rows],
        answers.colour[rows],
        answers.features[rows],
        answers.weight[rows],
    )


def largest(values: Tensor, segment: Tensor, segments: int, share: float) -> Tensor:
    """Return whether each of values (C,) is among the floor(share n) + 1 largest of the n values of its segment, (C,) bool.

    segment (C,) int64 are numbers below `segments`, in ascending order. Of equal values the first is the larger.
    """
    counts = torch.bincount(segment, minlength=segments)
    order = torch.argsort(values, descending=True, stable=True)
    order = order[torch.argsort(segment[order], stable=True)]  # by segment, and by value within
    rank = torch.arange(len(values), device=values.device) - (counts.cumsum(0) - counts)[segment]
    kept = rank < ((counts * share).long() + 1)[segment]
    return torch.zeros_like(kept).scatter(0, order, kept)
