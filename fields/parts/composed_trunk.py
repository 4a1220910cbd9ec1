"""ComposedTrunk: a network whose first layer adds sines of many frequencies (Chen et al. 2023, NeuRBF, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.fields.options import NetworkOptions
from polyfield.fields.parts.network import Layers
from polyfield.fields.parts.radial import log_spaced
from polyfield.fields.parts.trunk import Trunk
from polyfield.fields.points import Points
from polyfield.fields.stored import Group
from polyfield.kernels import mlp


class ComposedTrunk(Trunk):
    """h = W_0 code + b_0; h + sin(m h); then ReLU layers. m are fixed frequencies, one for each of the width's numbers."""

    def __init__(self, inputs: int, outputs: int, options: NetworkOptions, band: tuple[float, float]) -> None:
        """band holds the lowest and the highest frequency."""
        super().__init__()
        hidden = [options.width] * max(options.layers, 1)
        self.layers = Layers([inputs, *hidden, outputs], biases=True)
        self._band = band
        self.numbers_per_point = (len(hidden) + 3) * options.width

    def forward(self, code: Tensor, points: Points) -> Tensor:
        (first, *weights), (bias, *biases) = self.layers.weights, self.layers.biases
        h = mlp(code, [first], [bias])
        h = h + torch.sin(h * log_spaced(self._band, h.shape[-1]).to(h))
        return mlp(h, weights, biases)

    def initialise(self, seed: int, name: str) -> None:
        self.layers.initialise(seed, name)

    def parameter_groups(self) -> list[Group]:
        return self.layers.groups("layers", orthogonal=False)
