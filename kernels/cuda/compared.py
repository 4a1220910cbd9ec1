"""What is compared at points: losses, and their slopes to what was found, by part and measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_NEAR = 0.01  # of the domain's size, as in fitting/losses.py


def compared(
    found: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    terms: Sequence[tuple[str, str, float, Mapping[str, float]]],
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return the loss (1,), the squared errors of the first term (N,), and slopes (N, C) by part.

    Slopes are those of the loss summed over points, which half precision holds better than those of the mean.
    """
    loss, errors, slopes = None, None, dict[str, Tensor]()
    for part, measure, weight, options in terms:
        value, slope = _measured(measure, found[part], wanted[part], options)
        own = value.mean()[None] * weight
        loss = own if loss is None else loss + own
        if errors is None:
            given = found[part].sigmoid() if measure == "entropy" else found[part]
            errors = (given - wanted[part]).square().mean(1)
        slopes[part] = slopes.get(part, 0) + slope * (weight / slope.shape[1])
    assert loss is not None and errors is not None
    return loss, errors, slopes


def _measured(
    measure: str, found: Tensor, wanted: Tensor, options: Mapping[str, float]
) -> tuple[Tensor, Tensor]:
    """Return the loss of each number and its slope, as in fitting/losses.py."""
    error = found - wanted
    if measure == "huber":
        delta = options["delta"]
        size = error.abs()
        value = torch.where(size <= delta, 0.5 * error.square(), delta * (size - 0.5 * delta))
        return value, error.clamp(-delta, delta)
    if measure == "relative":
        scale = 1 / (wanted.abs() + _NEAR)
        return (error * scale).square(), 2 * error * scale.square()
    if measure == "entropy":
        value = found.clamp(min=0) - found * wanted + torch.log1p(torch.exp(-found.abs()))
        return value, found.sigmoid() - wanted
    if measure == "clamped":
        low, high = options["low"], options["high"]
        error = found.clamp(low, high) - wanted.clamp(low, high)
    return error.square(), 2 * error
