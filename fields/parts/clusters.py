"""Clusters: weighted K-means of points, and the covariance of each cluster (Chen et al. 2023, NeuRBF, equations 8 to 11)."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.kernels import Tree, nearest, tree_order, uniform

_ROUNDS = 10  # of Lloyd's algorithm, as published


def clusters(points: Tensor, weights: Tensor, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return centres (count, D) and covariances (count, D, D) of a weighted K-means of points (N, D).

    weights (N,) are not negative. The first centres are drawn in proportion to them. Where fewer than `count` weights
    are positive, all points have the same weight. A cluster without points keeps its centre, and has no covariance.
    """
    if int((weights > 0).sum()) < count:
        weights = torch.ones_like(weights)
    points, weights = points[weights > 0], weights[weights > 0].double()
    keys = uniform((len(points),), seed=seed, stream="first centres", device=points.device).double()
    # The largest keys are a weighted draw without replacement (Efraimidis and Spirakis 2006).
    chosen = (keys.clamp(min=1e-12).log() / weights).topk(count).indices
    centres = points[chosen]
    for _ in range(_ROUNDS):
        centres = _means(points, weights, centres)[0]
    centres = centres[tree_order(centres)]
    _, own, mass = _means(points, weights, centres)
    away = (points - centres[own]).double()
    products = away[:, :, None] * away[:, None, :] * weights[:, None, None]
    sums = torch.zeros(count, *products.shape[1:], dtype=torch.double, device=points.device)
    sums.index_add_(0, own, products)
    return centres, sums / mass.clamp(min=1e-30)[:, None, None]


def _means(points: Tensor, weights: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weighted means of the points nearest to each centre, whose centre each point is, and the weights' sums."""
    order = tree_order(centres)
    own = order[nearest(Tree.of(centres[order]), points, 1)[:, 0].long()]
    mass = torch.zeros(len(centres), dtype=torch.double, device=points.device).index_add_(0, own, weights)
    sums = torch.zeros_like(centres, dtype=torch.double).index_add_(0, own, points * weights[:, None])
    means = (sums / mass.clamp(min=1e-30)[:, None]).to(centres.dtype)
    return torch.where(mass[:, None] > 0, means, centres), own, mass
