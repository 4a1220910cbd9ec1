"""Small fully connected networks within a kernel: weights in registers, a block of rows through all layers.

A network is a tuple of matrices (out, in), filled up with zeros to what matrix units take. SIZES are its widths, one more
than it has layers, PADDED the same filled up, and STRIDES what lies between rows of each matrix where it is stored, one
layer after the other. Products are summed in single precision; what goes into them is of the activations' type.
"""
# mypy: disable-error-code="assignment"

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows that go through networks together: as many as registers and shared memory hold beside the weights.
_ROWS = 128
_MANY_WEIGHTS = 12_288


@triton.jit
def _places(
    start,
    STRIDE: tl.constexpr,
    OUT: tl.constexpr,
    IN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Where a matrix (ROWS, COLUMNS) is stored, and which of it is there."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    return start + row * STRIDE + column, (row < OUT) & (column < IN)


@triton.jit
def matrix(
    start,
    STRIDE: tl.constexpr,
    OUT: tl.constexpr,
    IN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    kind,
):
    place, there = _places(start, STRIDE, OUT, IN, ROWS, COLUMNS)
    return tl.load(place, mask=there, other=0.0).to(kind)


@triton.jit
def zeros(ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    return tl.zeros((ROWS, COLUMNS), tl.float32)


@triton.jit
def network(start, SIZES: tl.constexpr, STRIDES: tl.constexpr, PADDED: tl.constexpr, kind):
    """The network that is stored in single precision."""
    layers = ()
    for l in tl.static_range(len(STRIDES)):
        layers = layers + (matrix(start, STRIDES[l], SIZES[l + 1], SIZES[l], PADDED[l + 1], PADDED[l], kind),)
        start += SIZES[l + 1] * STRIDES[l]
    return layers


@triton.jit
def no_gradients(PADDED: tl.constexpr):
    """Sums of nothing, one for each layer."""
    sums = ()
    for l in tl.static_range(len(PADDED) - 1):
        sums = sums + (zeros(PADDED[l + 1], PADDED[l]),)
    return sums


@triton.jit
def store_matrix(
    start,
    values,
    STRIDE: tl.constexpr,
    OUT: tl.constexpr,
    IN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    place, there = _places(start, STRIDE, OUT, IN, ROWS, COLUMNS)
    tl.store(place, values, mask=there)


@triton.jit
def store(start, sums, SIZES: tl.constexpr, STRIDES: tl.constexpr, PADDED: tl.constexpr):
    """Sums for all layers, as the layers are stored."""
    for l in tl.static_range(len(STRIDES)):
        store_matrix(start, sums[l], STRIDES[l], SIZES[l + 1], SIZES[l], PADDED[l + 1], PADDED[l])
        start += SIZES[l + 1] * STRIDES[l]


@triton.jit
def product(a, b):
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def forward(x, layers, more, LAYERS: tl.constexpr):
    """What goes into each layer of rows x, and what comes out of the last in single precision. ReLU stands between them.

    `more` is added to what comes out of the first.
    """
    inputs = (x,)
    y = product(x, tl.trans(layers[0])) + more
    for l in tl.static_range(1, LAYERS):
        inputs = inputs + (tl.maximum(y, 0.0).to(x.dtype),)
        y = product(inputs[l], tl.trans(layers[l]))
    return inputs, y


@triton.jit
def backward(gradient, inputs, layers, sums, LAYERS: tl.constexpr):
    """From gradients to what comes out: to the inputs in single precision, to what comes out of the first layer, and
    the sums with the gradients to the weights added."""
    new = ()
    for m in tl.static_range(LAYERS):
        new = (sums[LAYERS - 1 - m] + product(tl.trans(gradient), inputs[LAYERS - 1 - m]),) + new
        if m < LAYERS - 1:
            back = product(gradient, layers[LAYERS - 1 - m])
            gradient = tl.where(inputs[LAYERS - 1 - m] > 0, back, 0.0).to(gradient.dtype)
    return product(gradient, layers[0]), gradient, new


def padded(size: int) -> int:
    """What matrix units take, at least."""
    return max(triton.next_power_of_2(size), 16)


def size_of(layers: Sequence[Tensor]) -> int:
    """How many weights these layers have, filled up."""
    return sum(padded(len(layer)) * padded(layer.shape[1]) for layer in layers)


def rows_of(kind: torch.dtype, weights: int) -> int:
    """How many rows of activations of a kind go through networks of so many weights together."""
    if kind == torch.float32:
        return _ROWS // 4
    return _ROWS if weights <= _MANY_WEIGHTS else _ROWS // 2
