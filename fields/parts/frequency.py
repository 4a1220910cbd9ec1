"""Sines and cosines of a point: in octaves, with the point itself (Mildenhall et al. 2020, equation 4), or at given frequencies."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def frequency_width(dimensions: int, frequencies: int) -> int:
    """Return the width of a code."""
    return dimensions * (1 + 2 * frequencies)


def frequency_code(unit: Tensor, frequencies: int) -> Tensor:
    """Return [p, sin(2^k pi p), cos(2^k pi p)] for k < frequencies, of p = 2 unit - 1, unit ([B,] N, D)."""
    centred = unit * 2 - 1
    octaves = math.pi * torch.exp2(torch.arange(frequencies, device=unit.device))
    angles = (centred[..., None, :] * octaves[:, None]).flatten(-2)
    return torch.cat((centred, angles.sin(), angles.cos()), -1)


def fourier_code(unit: Tensor, frequencies: Tensor) -> Tensor:
    """Return [sin(2 pi B u), cos(2 pi B u)] ([B,] N, 2 F) of unit ([B,] N, D) and frequencies B ([B,] F, D).

    Fourier features (Tancik et al. 2020, section 4).
    """
    angles = unit @ (2 * math.pi * frequencies.mT)
    return torch.cat((angles.sin(), angles.cos()), -1)
