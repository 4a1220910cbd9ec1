"""Network: what all networks that read objects of a bank have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Network(nn.Module):
    """A network over one kind of input. `options` are the arguments that it was made with."""

    kind: ClassVar[str]  # its name in files
    reads: ClassVar[str]  # what it reads of an object: planes, weights or points

    def __init__(self, **options: float | bool) -> None:
        super().__init__()
        self.options = options

    def prepare(self, inputs: Tensor) -> None:
        """Take from the training inputs (N, ...) what does not need training."""


class Classifier(Network):
    """A network that gives a vector for each object, and logits of its classes from it."""

    last: nn.Linear

    @abstractmethod
    def embedding(self, inputs: Tensor) -> Tensor:
        """Return the vectors (B, W) before the last layer of inputs (B, ...)."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (B, C) of inputs (B, ...)."""
        return self.last(self.embedding(inputs))
