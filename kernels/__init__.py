"""Kernels: a few operations, each with one signature and several forms.

`operations` documents the operations and chooses their form. `reference` defines them in plain PyTorch;
`native` is C++, and `cuda` is Triton.
"""

from polyfield.kernels.field_checks import Radial
from polyfield.kernels.levels import Levels
from polyfield.kernels.operations import (
    Composite,
    FusedKernel,
    QueuedKernel,
    adam,
    composite,
    fused_field,
    gather,
    interpolate,
    march,
    mlp,
    muon,
    nearest,
    rbf,
    transmittance,
)
from polyfield.kernels.philox import random_bits, uniform, weighted
from polyfield.kernels.samples import RaySamples
from polyfield.kernels.tree import Tree, tree_order

__all__ = [
    "Composite",
    "FusedKernel",
    "Levels",
    "QueuedKernel",
    "Radial",
    "RaySamples",
    "Tree",
    "adam",
    "composite",
    "fused_field",
    "gather",
    "interpolate",
    "march",
    "mlp",
    "muon",
    "nearest",
    "random_bits",
    "rbf",
    "transmittance",
    "tree_order",
    "uniform",
    "weighted",
]
