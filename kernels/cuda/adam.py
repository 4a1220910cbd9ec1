"""Adam in one pass. Its settings may be on the device, for steps that the host does not wait for."""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from polyfield.kernels.cuda.interpolate import FIXED_POINT
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
    rate,
    mean_share,
    square_share,
    mean_correction,
    square_correction,
    eps,
    decay,
    scale,
    moves,
    SPARSE: tl.constexpr,
    HALF: tl.constexpr,
    CLEARS: tl.constexpr,
    STANDING: tl.constexpr,  # whether rate, corrections, scale and moves are pointers to numbers
    BLOCK: tl.constexpr,
):
    """Take a step with gradients times `scale`, unless moves is 0.

    CLEARS sets the gradients to 0 afterwards.
    """
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    g = tl.load(gradient + i, mask=i < count, other=0)
    if CLEARS:
        tl.store(gradient + i, tl.zeros_like(g), mask=(i < count) & (g != 0))
    if STANDING:
        rate, scale, moves = tl.load(rate), tl.load(scale), tl.load(moves)
        mean_correction, square_correction = tl.load(mean_correction), tl.load(square_correction)
    inside = (i < count) & (tl.zeros_like(i) + moves != 0)
    if SPARSE:
        inside = inside & (g != 0)
    if g.dtype == tl.int64:
        g = g.to(tl.float32) / FIXED_POINT
    p = tl.load(parameter + i, mask=inside, other=0.0)
    m = tl.load(mean + i, mask=inside, other=0.0)
    s = tl.load(square + i, mask=inside, other=0.0)
    g = g * scale + decay * p
    m += (g - m) * mean_share
    s = s * (1 - square_share) + g * g * square_share
    down = m * mean_correction / (tl.sqrt(s * square_correction) + eps)
    p -= rate * down
    tl.store(parameter + i, p, mask=inside)
    tl.store(mean + i, m, mask=inside)
    tl.store(square + i, s, mask=inside)
    if HALF:
        tl.store(half + i, p.to(half.dtype.element_ty), mask=inside)


def move(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    half: Tensor | None,
    *,
    rate: float | Tensor,
    betas: tuple[float, float],
    corrections: tuple[float, float] | tuple[Tensor, Tensor],
    eps: float,
    decay: float,
    sparse: bool,
    scale: float | Tensor = 1.0,
    moves: float | Tensor = 1.0,
    clears: bool = False,
) -> None:
    """Take a step of Adam on contiguous tensors, with `adam_kernel`.

    Tensors (1,) are numbers on the device.
    """
    numbers = [rate, *corrections, scale, moves]
    standing = any(isinstance(x, Tensor) for x in numbers)
    if standing:
        numbers = [x if isinstance(x, Tensor) else parameter.new_full((1,), x) for x in numbers]
    rate, mean_correction, square_correction, scale, moves = numbers
    launch(
        adam_kernel,
        parameter.numel(),
        _BLOCK,
        parameter,
        gradient,
        mean,
        square,
        parameter if half is None else half,
        parameter.numel(),
        rate,
        1 - betas[0],
        1 - betas[1],
        mean_correction,
        square_correction,
        eps,
        decay,
        scale,
        moves,
        SPARSE=sparse,
        HALF=half is not None,
        CLEARS=clears,
        STANDING=standing,
    )


def corrections(betas: tuple[float, float], step: Any) -> tuple[Any, Any]:
    """Return the factors that correct the moments for their start at zero.

    step is a number, or a tensor in double precision.
    """
    if isinstance(step, Tensor):
        mean, square = (1 / (1 - torch.exp(step * math.log(beta))) for beta in betas)
        return mean.float(), square.float()
    return 1 / (1 - betas[0] ** step), 1 / (1 - betas[1] ** step)


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
    move(
        moved[0],
        gradient.detach().contiguous(),
        moved[1],
        moved[2],
        half,
        rate=learning_rate,
        betas=betas,
        corrections=corrections(betas, step),
        eps=eps,
        decay=decay,
        sparse=sparse,
    )
    for tensor, changed in zip(given, moved, strict=True):
        if changed.data_ptr() != tensor.data_ptr():  # a copy, because it is not contiguous
            tensor.copy_(changed)
