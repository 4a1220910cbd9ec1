"""Descent: points where an unsigned distance vanishes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

_ROUNDS = 5


@torch.no_grad()
def descended(distances: Callable[[Tensor], Tensor], x: Tensor, *, epsilon: float) -> Tensor:
    """Return the points (M, 3) that end where the distance is less than 2 epsilon.

    They are moved by p - u grad u / |grad u|, five times (Chibane et al. 2020, equation 4), from x (N, 3). `distances` takes
    points (N, 3) and returns distances (N,) in their unit. epsilon is half the span of the gradient's differences.
    """
    for _ in range(_ROUNDS):
        steps = epsilon * torch.eye(3, device=x.device)
        gradient = torch.stack([(distances(x + step) - distances(x - step)) for step in steps], 1)
        x = x - distances(x).clamp(min=0)[:, None] * normalize(gradient, dim=1)
    return x[distances(x) < 2 * epsilon]
