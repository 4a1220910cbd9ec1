"""Gradients of kernels, which can be differentiated once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError


def once(backward: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """Return a backward whose gradients raise PolyfieldError if they are differentiated again.

    torch's once_differentiable treats them as constants if the incoming gradient is a constant.
    """

    @functools.wraps(backward)
    def guarded(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        with torch.no_grad():
            found = backward(ctx, *gradients)
        if not torch.is_grad_enabled():
            return found
        root = torch.zeros((), requires_grad=True)
        return tuple(_Last.apply(x, root) if isinstance(x, Tensor) else x for x in found)

    return guarded


class _Last(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gradient: Tensor, root: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, None]:
        raise PolyfieldError(
            "kernels: native and CUDA kernels have no second derivatives; set POLYFIELD_KERNELS=reference"
        )
