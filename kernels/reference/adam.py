"""Adam, one tensor at a time."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def adam(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    sparse: bool = False,
    half: Tensor | None = None,
) -> None:
    before = [tensor.clone() for tensor in (parameter, mean, square)] if sparse else []
    untouched = gradient == 0
    if decay:
        gradient = gradient + decay * parameter
    mean.lerp_(gradient, 1 - betas[0])
    square.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    root = square.sqrt().div_((1 - betas[1] ** step) ** 0.5).add_(eps)
    parameter.addcdiv_(mean, root, value=-learning_rate / (1 - betas[0] ** step))
    for tensor, old in zip((parameter, mean, square), before):
        torch.where(untouched, old, tensor, out=tensor)
    if half is not None:
        half.copy_(parameter)
