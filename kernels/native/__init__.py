"""The native form: C++ for CPUs, in single precision, with one build of the kernels for each instruction set.

POLYFIELD_ISA names the set to use: generic, avx2, avx512 or avx512bf16. By default it is the widest that this
CPU runs. Results are the same bytes for any number of threads. Instruction sets may differ in last bits.
"""

from __future__ import annotations

import os

from polyfield import _core
from polyfield.errors import PolyfieldError
from polyfield.kernels.native.adam import adam
from polyfield.kernels.native.composite import composite, transmittance
from polyfield.kernels.native.fused import fused_field
from polyfield.kernels.native.gather import gather
from polyfield.kernels.native.interpolate import interpolate
from polyfield.kernels.native.march import march
from polyfield.kernels.native.mlp import mlp
from polyfield.kernels.native.muon import muon
from polyfield.kernels.native.philox import random_bits, weighted
from polyfield.kernels.native.rbf import nearest, rbf

__all__ = [
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
    "weighted",
]

_asked = os.environ.get("POLYFIELD_ISA", "")
if _asked and not _core.use(_asked):
    raise PolyfieldError(
        f"POLYFIELD_ISA={_asked}: unknown, or not supported by this CPU; "
        f"expected one of {', '.join(_core.instruction_sets())}"
    )
