"""A fully connected network: one matrix product a layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def mlp(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None, *, sine: bool = False
) -> Tensor:
    for layer, weight in enumerate(weights):
        x = x @ weight.mT
        if biases is not None:
            x = x + biases[layer].unsqueeze(-2)
        if layer < len(weights) - 1:
            x = x.sin() if sine else x.relu()
    return x
