"""A fully connected network: one matrix product a layer, and a norm, scale and shift of hidden layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import layer_norm

EPSILON = 1e-5  # added to variances


def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
    *,
    sine: bool = False,
    modulation: Tensor | None = None,
    normed: bool = False,
) -> Tensor:
    for layer, weight in enumerate(weights):
        x = x @ weight.mT
        if biases is not None:
            x = x + biases[layer].unsqueeze(-2)
        if layer < len(weights) - 1:
            if modulation is not None:
                change, shift = modulation[..., layer, :, :].unbind(-2)
                x = (1 + change) * (layer_norm(x, x.shape[-1:], eps=EPSILON) if normed else x) + shift
            x = x.sin() if sine else x.relu()
    return x
