"""Initial values of parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.kernels import uniform


def uniform_init(parameter: Tensor, bound: float, *, seed: int, name: str) -> None:
    """Fill a parameter with uniform numbers in [-bound, bound). They depend only on the seed and the name."""
    with torch.no_grad():
        numbers = uniform(parameter.shape, seed=seed, stream=f"initialise {name}")
        parameter.copy_((numbers * 2 - 1) * bound)
