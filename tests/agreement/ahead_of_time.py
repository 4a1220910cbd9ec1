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
from polyfield.kernels.cuda.field import backward_kernel, colour_kernel, density_kernel
from polyfield.kernels.cuda.interpolate import (
    interpolate_kernel,
    interpolate_to_points_kernel,
    interpolate_to_table_kernel,
)
from polyfield.kernels.cuda.march import march_kernel
from polyfield.kernels.cuda.philox import draw_kernel, random_bits_kernel
from polyfield.kernels.cuda.rays import rays_kernel
from polyfield.kernels.cuda.visible import compare_kernel, keep_kernel, lit_kernel, picture_kernel

FLOATS, HALF, INDICES, WHOLE = "*fp32", "*fp16", "*i32", "*i64"
_LEVELS = {"LEVELS": 8, "D": 3, "F": 4, "WIDTH": 4, "BLOCK": 64}
_RAYS = {"BLOCK": 64}
_GRID = {"CASCADES": 5, "CELLS": 64, "WRITES": True, "NAMES": True, "BLOCK": 64}
# The networks of a hash grid as it is by default.
_DENSITY = {"SIZES": (32, 64, 16), "STRIDES": (32, 64), "PADDED": (32, 64, 16)}
_COLOUR = {"C_SIZES": (16, 64, 64, 3), "C_STRIDES": (32, 64, 64), "C_PADDED": (16, 64, 64, 16)}
_OF_LEVELS = {"levels": WHOLE, "count": "i32", "entries": "i32"}
_OF_RAYS = {
    "ends": WHOLE,
    "offsets": WHOLE,
    "counts": WHOLE,
    "kept_ends": WHOLE,
    "kept": WHOLE,
    "live": WHOLE,
    "rays": "i32",
}
_OF_FIELD = {"codes": HALF, "harmonics": HALF, "to_codes": HALF, "table": HALF} | {
    "sample": INDICES,
    "ray": INDICES,
    "total": WHOLE,
    "levels": WHOLE,
    "size": "i32",
}
_OF_DRAWING = {"step": WHOLE, "name": "i64", "seed_low": "i64", "seed_high": "i64", "count": "i32"}


def _numbers(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "fp32")


# Kernel -> (types of its arguments, its constants).
KERNELS = {
    adam_kernel: (
        _numbers("mean_share", "square_share", "eps", "decay") | {"half": HALF, "count": "i32"},
        {"SPARSE": True, "HALF": True, "CLEARS": True, "STANDING": True, "BLOCK": 1024},
    ),
    backward_kernel: (_OF_FIELD, _DENSITY | _COLOUR | {"BLOCK": 128}),
    colour_kernel: (_OF_FIELD, _DENSITY | _COLOUR | {"BLOCK": 128}),
    compare_kernel: (_OF_RAYS | _numbers("huber"), _RAYS),
    composite_backward_kernel: (_OF_RAYS, _RAYS),
    composite_kernel: (_OF_RAYS, _RAYS),
    density_kernel: (
        _OF_FIELD | _numbers("low", "high", "per_length"),
        _DENSITY | {"RAYS": True, "CONTRACTION": True, "LEVELS": 8, "F": 4, "BLOCK": 128},
    ),
    draw_kernel: (
        _OF_DRAWING | {"weights": "*u8", "rows": WHOLE, "kept": INDICES, "tries": "i32"},
        {"BLOCK": 256},
    ),
    interpolate_kernel: (_OF_LEVELS, _LEVELS),
    interpolate_to_points_kernel: (_OF_LEVELS, _LEVELS),
    interpolate_to_table_kernel: (
        _OF_LEVELS | {"gradient": HALF, "count": WHOLE},
        _LEVELS | {"COARSE": 2, "COLUMNS": 32, "PRECISION": "tf32"},
    ),
    keep_kernel: (
        _OF_RAYS | {"sample": INDICES, "of_ray": INDICES, "capacity": "i32"} | _numbers("deepest"),
        {"CONTRACTION": True, "BLOCK": 64},
    ),
    lit_kernel: (_OF_RAYS | _numbers("deepest", "share"), _RAYS),
    march_kernel: (
        _OF_RAYS | {"occupancy": "*u8", "of_ray": INDICES, "capacity": "i32"} | _numbers("step", "cone"),
        _GRID,
    ),
    picture_kernel: (_OF_RAYS, _RAYS),
    random_bits_kernel: (_OF_DRAWING | {"out": INDICES}, {"BLOCK": 256}),
    rays_kernel: (_OF_RAYS | {"harmonics": HALF} | _numbers("least", "reach"), _RAYS),
    transmittance_kernel: (_OF_RAYS, _RAYS),
}
_WARPS = {
    backward_kernel: 8,
    colour_kernel: 8,
    density_kernel: 8,
    interpolate_kernel: 4,
    interpolate_to_points_kernel: 4,
    interpolate_to_table_kernel: 4,
}


_UNFUSED = {keep_kernel, lit_kernel, march_kernel}
# Whole numbers that may stand on the device: a 1 given as such must not become a constant, which has no type to ask for.
_EITHER = {draw_kernel: "step", random_bits_kernel: "step", interpolate_to_table_kernel: "count"}


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
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", architecture, 32),
        options={
            "num_warps": _WARPS.get(kernel, 2 if constants["BLOCK"] == 64 else 4),
            "enable_fp_fusion": kernel not in _UNFUSED,
        },
    )
    return compiled.asm["ptx"]


if __name__ == "__main__":
    for kernel, name in _EITHER.items():
        [parameter] = [parameter for parameter in kernel.params if parameter.name == name]
        assert parameter.do_not_specialize, f"{kernel.__name__}: {name} is specialised"
    found = {
        kernel.__name__: {str(sm): ptx(kernel, others, constants, sm) for sm in (80, 90)}
        for kernel, (others, constants) in KERNELS.items()
    }
    json.dump(found, sys.stdout)
