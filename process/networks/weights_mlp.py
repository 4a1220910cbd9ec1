"""A fully connected network on the raw numbers of other networks: a baseline that does not see planes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyfield.process.networks.network import Classifier


class WeightsMLP(Classifier):
    """Numbers are standardised over the training objects."""

    kind, reads = "weights", "weights"
    mean: Tensor
    deviation: Tensor

    def __init__(self, *, classes: int, numbers: int, width: int = 512, dropout: float = 0.3) -> None:
        """Make a network that reads `numbers` numbers of each object."""
        super().__init__(classes=classes, numbers=numbers, width=width, dropout=dropout)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("deviation", torch.ones(numbers))
        self.hidden = nn.Sequential(
            nn.Linear(numbers, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU()
        )
        self.last = nn.Linear(width, classes)

    def prepare(self, inputs: Tensor) -> None:
        deviation, mean = torch.std_mean(inputs.float(), 0, correction=0)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation.clamp(min=1e-8))

    def embedding(self, inputs: Tensor) -> Tensor:
        return self.hidden((inputs - self.mean) / self.deviation)
