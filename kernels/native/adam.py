"""Adam: all in one pass."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from polyfield import _core
from polyfield.kernels.native.arrays import array, plain


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
    touched: Tensor | None = None,
) -> None:
    numbers, means, squares = plain(parameter), plain(mean), plain(square)
    _core.adam(
        array(numbers),
        array(gradient),
        array(means),
        array(squares),
        learning_rate=learning_rate,
        mean_share=1 - betas[0],
        square_share=1 - betas[1],
        mean_correction=1 / (1 - betas[0] ** step),
        square_correction=1 / (1 - betas[1] ** step),
        eps=eps,
        decay=decay,
        sparse=sparse,
        half=None if half is None else array(half).view(np.uint16),
        touched=None if touched is None else array(touched),
    )
    for tensor, changed in ((parameter, numbers), (mean, means), (square, squares)):
        if changed.data_ptr() != tensor.data_ptr():  # a copy, because its rows lie apart
            tensor.detach().copy_(changed)
