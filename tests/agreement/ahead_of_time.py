"""Compiles every Triton kernel for GPUs that need not be there, and prints what became of it as JSON: kernel -> architecture -> PTX.

Run as a program of its own: the interpreter, which other tests use, takes the place of the compiler in a whole process.
"""

import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from polyfield.kernels.cuda.adam import adam_kernel
from polyfield.kernels.cuda.composite import composite_backward_kernel, composite_kernel, transmittance_kernel
from polyfield.kernels.cuda.interpolate import (
    interpolate_kernel,
    interpolate_to_points_kernel,
    interpolate_to_table_kernel,
)
from polyfield.kernels.cuda.march import march_kernel

FLOATS, WHOLE = "*fp32", "*i64"
_LEVELS = {"LEVELS": 8, "D": 3, "F": 4, "WIDTH": 4, "BLOCK": 128}
_RAYS = {"BLOCK": 64}
_GRID = {"CASCADES": 5, "CELLS": 64, "WRITES": True, "BLOCK": 64}


# Kernel -> (types of its arguments, its constants).
KERNELS = {
    adam_kernel: (
        dict.fromkeys(("count",), "i32")
        | dict.fromkeys(
            (
                "learning_rate",
                "mean_share",
                "square_share",
                "mean_correction",
                "square_correction",
                "eps",
                "decay",
            ),
            "fp32",
        )
        | {"half": "*fp16"},
        {"SPARSE": True, "HALF": True, "BLOCK": 1024},
    ),
    transmittance_kernel: ({"offsets": WHOLE, "counts": WHOLE, "rays": "i32"}, _RAYS),
    composite_kernel: ({"offsets": WHOLE, "counts": WHOLE, "rays": "i32"}, _RAYS),
    composite_backward_kernel: ({"offsets": WHOLE, "counts": WHOLE, "rays": "i32"}, _RAYS),
    interpolate_kernel: ({"levels": WHOLE, "count": "i32", "entries": "i32"}, _LEVELS),
    interpolate_to_table_kernel: ({"levels": WHOLE, "count": "i32", "entries": "i32"}, _LEVELS),
    march_kernel: (
        {
            "occupancy": "*u8",
            "counts": WHOLE,
            "offsets": WHOLE,
            "rays": "i32",
            "step": "fp32",
            "cone": "fp32",
        },
        _GRID,
    ),
    interpolate_to_points_kernel: ({"levels": WHOLE, "count": "i32", "entries": "i32"}, _LEVELS),
}


def ptx(kernel, others: dict[str, str], constants: dict[str, int], architecture: int) -> str:
    types = {name: others.get(name, FLOATS) for name in kernel.arg_names}
    types |= dict.fromkeys(constants, "constexpr")
    # As at a launch, where torch's memory begins at multiples of 16 bytes.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, kind in enumerate(types.values())
        if kind.startswith("*")
    }
    source = ASTSource(kernel, signature=types, constexprs=constants, attrs=aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": 4})
    return compiled.asm["ptx"]


if __name__ == "__main__":
    found = {
        kernel.__name__: {str(sm): ptx(kernel, others, constants, sm) for sm in (80, 90)}
        for kernel, (others, constants) in KERNELS.items()
    }
    json.dump(found, sys.stdout)
