"""Colour maps: from numbers in [0, 1] to colours, by name."""

from __future__ import annotations

import torch
from torch import Tensor

# Equally spaced sRGB colours, between which colours are interpolated: viridis (van der Walt and Smith 2015, CC0),
# turbo (Mikhailov 2019).
COLOUR_MAPS = {
    "turbo": "30123b 4145ab 4675ed 39a2fc 1bcfd4 24eca6 61fc6c a4fc3b d1e834 f3c63a fe9b2d f36315 d93806 b11901 7a0402",
    "viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 b5de2b fde725",
    "grey": "000000 ffffff",
}


def coloured(values: Tensor, name: str = "turbo") -> Tensor:
    """Return colours (..., 3) of values (...) in [0, 1].

    >>> coloured(torch.tensor([0.0, 0.5]), "grey").tolist()
    [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]
    """
    rows = [bytes.fromhex(text) for text in COLOUR_MAPS[name].split()]
    table = torch.tensor([list(row) for row in rows], dtype=torch.float32, device=values.device) / 255
    place = values.clamp(0, 1) * (len(table) - 1)
    low = place.floor().long().clamp(max=len(table) - 2)
    return torch.lerp(table[low], table[low + 1], (place - low)[..., None])
