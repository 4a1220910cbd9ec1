"""Kernels: a few operations, each with one signature and several forms.

`operations` documents the operations and chooses their form. `reference` defines them in plain PyTorch;
`native` is C++, and `cuda` is Triton.
"""

from polyfield.kernels.levels import Levels
from polyfield.kernels.operations import (
    Composite,
    FusedRadiance,
    QueuedRadiance,
    adam,
    composite,
    fused_radiance,
    gather,
    interpolate,
    march,
    mlp,
    transmittance,
)
from polyfield.kernels.philox import random_bits, uniform, weighted
from polyfield.kernels.samples import RaySamples

__all__ = [
    "Composite",
    "FusedRadiance",
    "Levels",
    "QueuedRadiance",
    "RaySamples",
    "adam",
    "composite",
    "fused_radiance",
    "gather",
    "interpolate",
    "march",
    "mlp",
    "random_bits",
    "transmittance",
    "uniform",
    "weighted",
]
