"""The CUDA form: Triton kernels, compiled on the user's machine when they are first used.

With TRITON_INTERPRET=1 in the environment before this is imported, Triton's interpreter runs them on the CPU:
slowly, for tests.
"""

from polyfield.kernels.cuda.adam import adam
from polyfield.kernels.cuda.composite import composite, transmittance
from polyfield.kernels.cuda.interpolate import interpolate
from polyfield.kernels.cuda.march import march
from polyfield.kernels.cuda.philox import random_bits, weighted
from polyfield.kernels.cuda.radiance import fused_field
from polyfield.kernels.cuda.rbf import nearest, rbf
from polyfield.kernels.reference.muon import muon

__all__ = [
    "adam",
    "composite",
    "fused_field",
    "interpolate",
    "march",
    "muon",
    "nearest",
    "random_bits",
    "rbf",
    "transmittance",
    "weighted",
]
