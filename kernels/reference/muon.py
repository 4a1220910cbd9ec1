"""Muon, one tensor at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ITERATIONS = 5
# Coefficients of Newton and Schulz's iteration, from Jordan et al. 2024. Small singular values grow fast.
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_LEAST_NORM = 1e-12


@torch.no_grad()
def muon(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    *,
    learning_rate: float,
    momentum: float,
) -> None:
    mean.lerp_(gradient, 1 - momentum)
    parameter.add_(direction(gradient.lerp(mean, momentum)), alpha=-learning_rate)


def direction(matrix: Tensor) -> Tensor:
    """Return what a step subtracts from matrices (..., O, I) at a learning rate of 1, from their momentum."""
    rows, columns = matrix.shape[-2:]
    return orthogonal(matrix) * math.sqrt(max(1, rows / columns))


def orthogonal(matrix: Tensor) -> Tensor:
    """Return matrices (..., O, I) with the same singular vectors, and singular values near 1."""
    x = matrix / (matrix.norm(dim=(-2, -1), keepdim=True) + _LEAST_NORM)
    turned = x.shape[-2] < x.shape[-1]
    if turned:
        x = x.mT
    for _ in range(_ITERATIONS):
        gram = x.mT @ x
        x = _LINEAR * x + x @ (_CUBIC * gram + _QUINTIC * gram @ gram)
    return x.mT if turned else x
