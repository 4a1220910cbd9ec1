"""Adam: all in one pass."""

from __future__ import annotations

from torch import Tensor

from polyfield import _core


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
) -> None:
    _core.adam(
        parameter.detach(),
        gradient.detach().contiguous(),
        mean,
        square,
        learning_rate=learning_rate,
        mean_share=1 - betas[0],
        square_share=1 - betas[1],
        mean_correction=1 / (1 - betas[0] ** step),
        square_correction=1 / (1 - betas[1] ** step),
        eps=eps,
        decay=decay,
        sparse=sparse,
    )
