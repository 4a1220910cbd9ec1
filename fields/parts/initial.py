"""Initial values of parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polyfield.kernels import uniform


def uniform_init(parameter: Tensor, bound: float, *, seed: int, name: str) -> None:
    """Fill a parameter with uniform numbers in [-bound, bound). They depend only on the seed and the name."""
    with torch.no_grad():
        numbers = uniform(parameter.shape, seed=seed, stream=f"initialise {name}")
        parameter.copy_((numbers * 2 - 1) * bound)


def normal_init(tensor: Tensor, deviation: float, *, seed: int, name: str) -> None:
    """Fill a tensor with normal numbers of this standard deviation. They depend only on the seed and the name.

    From pairs of uniform numbers, as in Box and Muller 1958.
    """
    with torch.no_grad():
        radius, angle = uniform((2, *tensor.shape), seed=seed, stream=f"initialise {name}").double()
        numbers = (-2 * (1 - radius).log()).sqrt() * (2 * math.pi * angle).cos()
        tensor.copy_(numbers * deviation)
