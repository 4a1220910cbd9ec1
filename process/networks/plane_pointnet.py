"""PointNet over channels: one network for every channel map, and their maximum (a baseline of Cardace et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyfield.process.networks.network import Classifier
from polyfield.process.networks.tokens import channels_of


class PlanePointNet(Classifier):
    """As invariant as the transformer, but channels do not see each other."""

    kind, reads = "pointnet", "planes"

    def __init__(self, *, classes: int, nodes: int, width: int = 512, layers: int = 4) -> None:
        super().__init__(classes=classes, nodes=nodes, width=width, layers=layers)
        parts: list[nn.Module] = [nn.Linear(nodes * nodes, width)]
        for _ in range(layers - 1):
            parts += [nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width)]
        self.shared = nn.Sequential(*parts)
        self.last = nn.Linear(width, classes)

    def embedding(self, inputs: Tensor) -> Tensor:
        return torch.amax(self.shared(channels_of(inputs, by_node=False).flatten(2)), 1)
