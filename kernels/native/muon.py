"""Muon, one tensor at a time."""

from __future__ import annotations

from torch import Tensor

from polyfield import _core
from polyfield.kernels.native.arrays import array, plain


def muon(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    *,
    learning_rate: float,
    momentum: float,
) -> None:
    moved = [plain(parameter), plain(mean)]
    settings = _core.Muon(learning_rate=learning_rate, momentum=momentum)
    _core.muon(settings, array(moved[0]), array(gradient), array(moved[1]))
    for tensor, changed in zip((parameter, mean), moved, strict=True):
        if changed.data_ptr() != tensor.data_ptr():  # a copy, because it is not contiguous
            tensor.detach().copy_(changed)
