"""PointNet on the points themselves: the baseline that reads no field (Qi et al. 2017, without its transformations)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyfield.process.networks.network import Classifier


class CloudPointNet(Classifier):
    """A network for every point, the maximum over points, and two layers to the classes."""

    kind, reads = "cloud", "points"

    def __init__(self, *, classes: int, width: int = 64, dropout: float = 0.3) -> None:
        """Make a network whose first layer is `width` wide; the code of a cloud is 8 times as wide."""
        super().__init__(classes=classes, width=width, dropout=dropout)
        self.shared = nn.Sequential(
            *_layer(3, width),
            *_layer(width, width),
            *_layer(width, 2 * width),
            *_layer(2 * width, 8 * width),
        )
        self.hidden = nn.Sequential(
            *_layer(8 * width, 8 * width), *_layer(8 * width, 4 * width), nn.Dropout(dropout)
        )
        self.last = nn.Linear(4 * width, classes)

    def embedding(self, inputs: Tensor) -> Tensor:
        batch, count, _ = inputs.shape
        codes = self.shared(inputs.flatten(0, 1)).unflatten(0, (batch, count))
        return self.hidden(torch.amax(codes, 1))


def _layer(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
