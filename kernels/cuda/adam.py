"""Adam: all in one pass."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels.cuda.launch import launch

_BLOCK = 1024  # numbers


@triton.jit
def adam_kernel(
    parameter,
    gradient,
    mean,
    square,
    half,
    count,
    learning_rate,
    mean_share,
    square_share,
    mean_correction,
    square_correction,
    eps,
    decay,
    SPARSE: tl.constexpr,
    HALF: tl.constexpr,
    BLOCK: tl.constexpr,
):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    g = tl.load(gradient + i, mask=i < count, other=0.0)
    inside = (i < count) & (g != 0.0) if SPARSE else i < count
    p = tl.load(parameter + i, mask=inside, other=0.0)
    m = tl.load(mean + i, mask=inside, other=0.0)
    s = tl.load(square + i, mask=inside, other=0.0)
    g += decay * p
    m += (g - m) * mean_share
    s = s * (1 - square_share) + g * g * square_share
    p -= learning_rate * (m * mean_correction) / (tl.sqrt(s * square_correction) + eps)
    tl.store(parameter + i, p, mask=inside)
    tl.store(mean + i, m, mask=inside)
    tl.store(square + i, s, mask=inside)
    if HALF:
        tl.store(half + i, p.to(tl.float16), mask=inside)


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
    given = [tensor.detach() for tensor in (parameter, mean, square)]
    moved = [tensor.contiguous() for tensor in given]
    count = parameter.numel()
    launch(
        adam_kernel,
        count,
        _BLOCK,
        moved[0],
        gradient.detach().contiguous(),
        moved[1],
        moved[2],
        moved[0] if half is None else half,
        count,
        learning_rate,
        1 - betas[0],
        1 - betas[1],
        1 / (1 - betas[0] ** step),
        1 / (1 - betas[1] ** step),
        eps,
        decay,
        SPARSE=sparse,
        HALF=half is not None,
    )
    for tensor, changed in zip(given, moved, strict=True):
        if changed.data_ptr() != tensor.data_ptr():  # a copy, because its rows lie apart
            tensor.copy_(changed)
