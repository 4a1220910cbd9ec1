"""Rounding: the last part of a fit of 8 bits, in which the field has the numbers that its file will hold."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.fields import StoredField
from polyfield.fitting.optimiser import Optimiser

SINCE = 0.85  # progress of a fit


class Rounding:
    """Tables are rounded once and rest; networks are trained against them.

    A step's gradients are those at the rounded weights, and its changes are added to the weights themselves: the
    straight-through estimator (Bengio et al. 2013).
    """

    def __init__(self, field: StoredField, optimiser: Optimiser) -> None:
        """Round the field's parameters."""
        self._field = field
        self.own: dict[str, Tensor] = {}  # the networks' weights before rounding, by name
        self._rounded: dict[str, Tensor] = {}
        tables = field.tables()
        optimiser.rest(tables)
        with torch.no_grad():
            for name, rounded in field.rounded().items():
                parameter = field.get_parameter(name)
                if name not in tables:
                    self.own[name], self._rounded[name] = parameter.detach().clone(), rounded
                parameter.copy_(rounded)

    @torch.no_grad()
    def follow(self) -> None:
        """Take over a step of the networks, and round them again."""
        for name, own in self.own.items():
            own += self._field.get_parameter(name) - self._rounded[name]
            self._field.get_parameter(name).copy_(own)
        self._rounded = self._field.rounded(self.own)
        for name, rounded in self._rounded.items():
            self._field.get_parameter(name).copy_(rounded)
