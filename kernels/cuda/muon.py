"""Muon for steps that the host does not wait for: PyTorch's operations, with settings on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.kernels.reference.muon import direction


@torch.no_grad()
def move(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    *,
    rate: float | Tensor,
    momentum: float,
    scale: Tensor,
    moves: Tensor,
) -> None:
    """Take a step with gradients times `scale`, unless moves is 0. Tensors (1,) are numbers on the device."""
    gradient = gradient.view(parameter.shape) * scale
    followed = mean.lerp(gradient, 1 - momentum)
    moved = parameter - rate * direction(gradient.lerp(followed, momentum))
    mean.copy_(torch.where(moves != 0, followed, mean))
    parameter.copy_(torch.where(moves != 0, moved, parameter))
