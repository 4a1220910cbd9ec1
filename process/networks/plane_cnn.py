"""A convolutional network over planes whose channels are stacked: a baseline that depends on their order."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from polyfield.process.networks.network import Classifier
from polyfield.process.networks.tokens import channels_of


class PlaneCNN(Classifier):
    """Three strided convolutions with batch norms, and a mean over the nodes."""

    kind, reads = "cnn", "planes"

    def __init__(self, *, classes: int, channels: int, width: int = 64) -> None:
        """Make a network of planes with `channels` = 3 F channels."""
        super().__init__(classes=classes, channels=channels, width=width)
        parts: list[nn.Module] = []
        widths = (channels, width, 2 * width, 4 * width)
        for before, after in itertools.pairwise(widths):
            parts += [
                nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.convolutions = nn.Sequential(*parts)
        self.last = nn.Linear(widths[-1], classes)

    def embedding(self, inputs: Tensor) -> Tensor:
        return self.convolutions(channels_of(inputs, by_node=False)).mean((2, 3))
