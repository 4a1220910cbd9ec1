"""How tensors reach the native kernels: detached and contiguous, sharing their memory; and how gradients come back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyfield.errors import PolyfieldError


def plain(tensor: Tensor) -> Tensor:
    """The tensor without its history, row after row; a copy only if its rows lie apart."""
    return tensor.detach().contiguous()


def array(tensor: Tensor) -> np.ndarray:
    """The same for calls that come thousands of times: a NumPy array is passed on in a tenth of a tensor's 5 us."""
    return plain(tensor).numpy()


def like(tensor: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape, row after row."""
    return torch.empty(tensor.shape, dtype=tensor.dtype)


def once(backward: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """A backward whose gradients refuse to be differentiated again.

    torch's once_differentiable lets them pass, as constants, where the incoming gradient is one.
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
            "native kernels: gradients of gradients are not there; set POLYFIELD_KERNELS=reference for them"
        )
