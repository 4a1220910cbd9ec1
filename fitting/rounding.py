"""Rounding: the last part of a fit of 8 bits, in which networks have the weights that its file will hold."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.fields import StoredField

SINCE = 0.85  # progress of a fit


class Rounding:
    """Weights of their own beside a field's networks, which are rounded.

    Gradients are those at the rounded weights, and the optimiser's steps are added to the own ones: the straight-through
    estimator (Bengio et al. 2013). Weights are rounded after each call of the objective.
    """

    def __init__(self, field: StoredField) -> None:
        """Round the field's networks."""
        self._field = field
        self.own = {name: field.get_parameter(name).detach().clone() for name in field.rounded()}
        self._round()

    @torch.no_grad()
    def follow(self) -> None:
        """Take over a step that moved the field's networks, and round them again."""
        for name, rounded in self._rounded.items():
            parameter = self._field.get_parameter(name)
            parameter.copy_(self.own[name].add_(parameter - rounded))
        self._round()

    @torch.no_grad()
    def _round(self) -> None:
        self._rounded: dict[str, Tensor] = self._field.rounded()
        for name, rounded in self._rounded.items():
            self._field.get_parameter(name).copy_(rounded)
