"""The reference form: short PyTorch code that defines the operations."""

from polyfield.kernels.reference.adam import adam
from polyfield.kernels.reference.composite import composite, transmittance
from polyfield.kernels.reference.gather import gather
from polyfield.kernels.reference.interpolate import interpolate
from polyfield.kernels.reference.march import march
from polyfield.kernels.reference.mlp import mlp
from polyfield.kernels.reference.muon import muon
from polyfield.kernels.reference.nearest import nearest
from polyfield.kernels.reference.rbf import rbf

__all__ = [
    "adam",
    "composite",
    "gather",
    "interpolate",
    "march",
    "mlp",
    "muon",
    "nearest",
    "rbf",
    "transmittance",
]
