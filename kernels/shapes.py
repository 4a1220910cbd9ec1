"""Shapes of tensors: refusals in one line that name the argument, what was found and what was expected."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError


def lattice(name: str, bank: tuple[int, ...], occupancy: Tensor, step: float, cone: float) -> None:
    cells = occupancy.shape[-1] if occupancy.dim() else None
    shape(f"{name}: occupancy", occupancy, (*bank, None, cells, cells, cells))
    if occupancy.dtype != torch.bool or not occupancy[..., :1, :1, :1].numel():
        raise PolyfieldError(
            f"{name}: occupancy has shape {text(occupancy)} and dtype {occupancy.dtype}; expected at least one cell, "
            "and dtype torch.bool"
        )
    if not (0 < step < math.inf and 0 <= cone < math.inf):
        raise PolyfieldError(
            f"{name}: step is {step} and cone is {cone}; expected a finite step above 0 and a finite cone of at least 0"
        )


def biases_of(name: str, weights: Sequence[Tensor], biases: Sequence[Tensor], bank: tuple[int, ...]) -> None:
    if len(biases) != len(weights):
        raise PolyfieldError(
            f"{name}: {len(biases)} biases for {len(weights)} weights; expected one bias for each weight"
        )
    for layer, (weight, bias) in enumerate(zip(weights, biases)):
        shape(f"{name}: biases[{layer}]", bias, (*bank, weight.shape[-2]))


def layers_of(name: str, weights: Sequence[Tensor], bank: tuple[int, ...], width: int) -> int:
    """Check that weights take `width` numbers, and then each other's outputs.

    Return the last output's width.
    """
    if not weights:
        raise PolyfieldError(f"{name}: found no layers; expected at least one")
    for layer, weight in enumerate(weights):
        shape(f"{name}[{layer}]", weight, (*bank, None, width))
        width = weight.shape[-2]
    return width


def bank_of(name: str, tensor: Tensor, form: str) -> tuple[int, ...]:
    """Return the bank axis as (B,), or () without one."""
    if tensor.dim() not in (2, 3) or (tensor.dim() == 3 and not len(tensor)):
        raise PolyfieldError(
            f"{name} has shape {text(tensor)}; expected {form}, or (B, {form[1:]} for a bank of B fields, with B at least 1"
        )
    return tuple(tensor.shape[:-2])


def shape(name: str, tensor: Tensor, expected: Sequence[int | None]) -> None:
    """Refuse a tensor of another shape. None means any number."""
    if len(expected) != tensor.dim() or any(n not in (None, m) for n, m in zip(expected, tensor.shape)):
        sizes = ", ".join("any" if n is None else str(n) for n in expected)
        raise PolyfieldError(
            f"{name} has shape {text(tensor)}; expected ({sizes}{',' * (len(expected) == 1)})"
        )


def lies_plain(name: str, tensor: Tensor, expected: Sequence[int], dtype: torch.dtype) -> None:
    """Refuse a tensor of another shape or type, or one that is not contiguous.

    Kernels use its memory directly.
    """
    shape(name, tensor, expected)
    if tensor.dtype != dtype or not tensor.is_contiguous():
        raise PolyfieldError(
            f"{name} is a {'' if tensor.is_contiguous() else 'non-'}contiguous tensor of {tensor.dtype}; "
            f"expected a contiguous tensor of {dtype}"
        )


def text(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
