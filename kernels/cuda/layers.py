"""Small fully connected networks inside a kernel.

Weights are in registers, and a block of rows passes all layers. A network is a tuple of matrices (out, in),
padded with zeros to the sizes of matrix units. SIZES are its widths, one more than it has layers, and PADDED
are the padded widths. Matrices are stored one layer after the other; STRIDES are the distances between their
rows. The factors of a product have the activations' type; sums are in single precision.
"""
# mypy: disable-error-code="assignment"

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows that pass a network together: as many as registers hold beside the weights, by compiling for sm_80 to sm_90.
_ROWS, _FEW_ROWS = 128, 16
_MANY_WEIGHTS = 8_192
MOST_WEIGHTS = 12_288  # of a network, padded; with more, programs keep values in slow memory


@triton.jit
def _places(
    start,
    STRIDE: tl.constexpr,
    OUT: tl.constexpr,
    IN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Return the places of a stored matrix (ROWS, COLUMNS), and the mask of entries that are not padding."""
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
    """Return a network that is stored in single precision."""
    layers = ()
    for l in tl.static_range(len(STRIDES)):
        layers = layers + (matrix(start, STRIDES[l], SIZES[l + 1], SIZES[l], PADDED[l + 1], PADDED[l], kind),)
        start += SIZES[l + 1] * STRIDES[l]
    return layers


@triton.jit
def no_gradients(PADDED: tl.constexpr):
    """Return zero sums, one matrix for each layer."""
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
    """Store the sums of all layers in the layout of the layers."""
    for l in tl.static_range(len(STRIDES)):
        store_matrix(start, sums[l], STRIDES[l], SIZES[l + 1], SIZES[l], PADDED[l + 1], PADDED[l])
        start += SIZES[l + 1] * STRIDES[l]


@triton.jit
def product(a, b):
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def forward(x, layers, LAYERS: tl.constexpr):
    """Return each layer's input for rows x, and the last layer's output in single precision.

    There is a ReLU between layers, through which NaN passes.
    """
    inputs = (x,)
    y = product(x, tl.trans(layers[0]))
    for l in tl.static_range(1, LAYERS):
        inputs = inputs + (tl.maximum(y, 0.0, propagate_nan=tl.PropagateNan.ALL).to(x.dtype),)
        y = product(inputs[l], tl.trans(layers[l]))
    return inputs, y


@triton.jit
def backward(gradient, inputs, layers, sums, LAYERS: tl.constexpr):
    """Return gradients, from the gradient to a network's output.

    The results are the gradient to the network's input, in single precision, and the sums plus the gradients to the
    weights.
    """
    new = ()
    for m in tl.static_range(LAYERS):
        new = (sums[LAYERS - 1 - m] + product(tl.trans(gradient), inputs[LAYERS - 1 - m]),) + new
        if m < LAYERS - 1:
            back = product(gradient, layers[LAYERS - 1 - m])
            gradient = tl.where(inputs[LAYERS - 1 - m] > 0, back, 0.0).to(gradient.dtype)
    return product(gradient, layers[0]), new


def padded(size: int) -> int:
    """Return a size padded for matrix units."""
    return max(triton.next_power_of_2(size), 16)


def size_of(layers: Sequence[Tensor]) -> int:
    """Return the number of weights of these layers, with padding."""
    return sum(padded(len(layer)) * padded(layer.shape[1]) for layer in layers)


def rows_of(kind: torch.dtype, weights: int) -> int:
    """Return how many rows of activations of a type pass a network of this many padded weights together."""
    if kind == torch.float32:
        return _ROWS // 4
    return _ROWS if weights <= _MANY_WEIGHTS else _ROWS // 4


def backward_rows(kind: torch.dtype, sizes: Sequence[int], hopper: bool) -> int:
    """Return how many rows go backward through a network of padded sizes together: what registers hold beside its sums.

    It is measured by compiling (tests/agreement/test_ahead_of_time.py).
    """
    weights = sum(rows * columns for rows, columns in itertools.pairwise(sizes))
    # The matrix units of sm_90 read a factor from shared memory, those of others from registers.
    few = kind == torch.float32 or not hopper or weights > _MANY_WEIGHTS
    return _FEW_ROWS if few else _ROWS // 2
