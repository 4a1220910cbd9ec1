"""Adam in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from polyfield import _core
from polyfield.kernels.native.arrays import array, plain


def settings(
    *,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    sparse: bool = False,
) -> _core.Adam:
    """Return a step's settings in the form that the kernels take."""
    return _core.Adam(
        learning_rate=learning_rate,
        mean_share=1 - betas[0],
        square_share=1 - betas[1],
        mean_correction=1 / (1 - betas[0] ** step),
        square_correction=1 / (1 - betas[1] ** step),
        eps=eps,
        decay=decay,
        sparse=sparse,
    )


def adam(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    half: Tensor | None = None,
    **numbers: Any,
) -> None:
    moved = [plain(parameter), plain(mean), plain(square)]
    _core.adam(
        settings(**numbers),
        array(moved[0]),
        array(gradient),
        array(moved[1]),
        array(moved[2]),
        None if half is None else array(half).view(np.uint16),
    )
    for tensor, changed in zip((parameter, mean, square), moved, strict=True):
        if changed.data_ptr() != tensor.data_ptr():  # a copy, because it is not contiguous
            tensor.detach().copy_(changed)
