"""A fully connected network, tile by tile. Backward computes the activations again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels import reference
from polyfield.kernels.native.arrays import like, plain
from polyfield.kernels.once import once


def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
    *,
    sine: bool = False,
    modulation: Tensor | None = None,
    normed: bool = False,
) -> Tensor:
    if len(weights) > _core.MAX_LAYERS:
        return reference.mlp(x, weights, biases, sine=sine, modulation=modulation, normed=normed)
    given = [*weights, *(biases or [])]
    how = len(weights), sine, normed
    if x.dim() == 3:
        numbers = [None] * len(x) if modulation is None else modulation
        return torch.stack(
            [_Mlp.apply(x[b], numbers[b], *how, *(w[b] for w in given)) for b in range(len(x))]
        )
    return _Mlp.apply(x, modulation, *how, *given)


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, x: Tensor, modulation: Tensor | None, layers: int, sine: bool, normed: bool, *given: Tensor
    ) -> Tensor:
        x, given = plain(x), tuple(map(plain, given))
        modulation = None if modulation is None else plain(modulation)
        ctx.save_for_backward(x, modulation, *given)
        ctx.layers, ctx.sine, ctx.normed = layers, sine, normed
        out = x.new_empty(len(x), len(given[layers - 1]))
        _core.mlp(x, list(given[:layers]), list(given[layers:]), sine, modulation, normed, out)
        return out

    @staticmethod
    @once
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, modulation, *given = ctx.saved_tensors
        to_x = like(x) if ctx.needs_input_grad[0] else None
        to_modulation = None if modulation is None else like(modulation)
        to_given = [like(tensor) for tensor in given]
        split = ctx.layers
        _core.mlp_backward(
            *(x, given[:split], given[split:], ctx.sine, modulation, ctx.normed, plain(gradient)),
            *(to_x, to_modulation, to_given[:split], to_given[split:]),
        )
        return to_x, to_modulation, None, None, None, *to_given
