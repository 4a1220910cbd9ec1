"""Compiles every Triton kernel for GPUs that need not be there, and prints as JSON what became of it.

Run as a program of its own: the interpreter, which other tests use, takes the place of the compiler in a whole process.
"""

import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from polyfield.kernels.cuda.adam import adam_kernel
from polyfield.kernels.cuda.composite import composite_backward_kernel, composite_kernel, transmittance_kernel
from polyfield.kernels.cuda.field import (
    backward_kernel,
    colour_kernel,
    density_kernel,
    latent_kernel,
    points_kernel,
)
from polyfield.kernels.cuda.interpolate import (
    interpolate_kernel,
    interpolate_to_points_kernel,
    interpolate_to_table_kernel,
)
from polyfield.kernels.cuda.layers import backward_rows, padded, rows_of
from polyfield.kernels.cuda.march import march_kernel
from polyfield.kernels.cuda.philox import draw_kernel, random_bits_kernel
from polyfield.kernels.cuda.rays import rays_kernel
from polyfield.kernels.cuda.rbf import (
    nearest_kernel,
    rbf_kernel,
    rbf_to_points_kernel,
    rbf_to_weights_kernel,
)
from polyfield.kernels.cuda.visible import compare_kernel, keep_kernel, lit_kernel, picture_kernel

FLOATS, HALF, INDICES, WHOLE = "*fp32", "*fp16", "*i32", "*i64"
_LEVELS = {"LEVELS": 8, "D": 3, "F": 4, "WIDTH": 4, "BLOCK": 64}
_RAYS = {"BLOCK": 32}
_GRID = {"CASCADES": 5, "CELLS": 64, "WRITES": True, "NAMES": True, "BLOCK": 32}
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
_OF_FIELD = dict.fromkeys(("codes", "harmonics", "inputs", "to_inputs", "to_outputs", "table"), HALF) | {
    "sample": INDICES,
    "ray": INDICES,
    "total": WHOLE,
    "levels": WHOLE,
    "size": "i32",
    "bad": INDICES,
}
_OF_KERNELS = {"neighbours": INDICES, "count": "i32"}
_KERNELS = {
    "D": 3,
    "S": 6,
    "K": 8,
    "WIDTH": 8,
    "F": 16,
    "COLUMNS": 16,
    "WAVES": True,
    "LINEAR": False,
    "BLOCK": 64,
}
_OF_DRAWING = {"step": WHOLE, "name": "i64", "seed_low": "i64", "seed_high": "i64", "count": "i32"}


def _numbers(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "fp32")


def _network(*sizes: int) -> dict[str, tuple[int, ...]]:
    return {"SIZES": sizes, "STRIDES": sizes[:-1], "PADDED": tuple(map(padded, sizes))}


# The networks of a hash grid as it is by default.
_DENSITY, _COLOUR = _network(32, 64, 16), _network(32, 64, 64, 3)
_MARCHED = {"RAYS": True, "CONTRACTION": True, "LEVELS": 8, "F": 4}


# Kernel -> (types of its arguments, its constants).
KERNELS = {
    adam_kernel: (
        _numbers("mean_share", "square_share", "eps", "decay") | {"half": HALF, "count": "i32"},
        {"SPARSE": True, "HALF": True, "CLEARS": True, "STANDING": True, "BLOCK": 1024},
    ),
    backward_kernel: (_OF_FIELD, _COLOUR | {"BLOCK": 64, "PICKS": False, "OUTPUTS": 16}),
    colour_kernel: (_OF_FIELD, _COLOUR | {"BLOCK": 128}),
    latent_kernel: (_OF_FIELD, _DENSITY | {"WIDTH": 32, "BLOCK": 128}),
    compare_kernel: (_OF_RAYS | _numbers("huber"), _RAYS),
    composite_backward_kernel: (_OF_RAYS, _RAYS),
    composite_kernel: (_OF_RAYS, _RAYS),
    density_kernel: (
        _OF_FIELD | _numbers("low", "high", "per_length"),
        _DENSITY | _MARCHED | {"BLOCK": 128},
    ),
    draw_kernel: (
        _OF_DRAWING | {"weights": "*u8", "rows": WHOLE, "kept": INDICES, "tries": "i32"},
        {"BLOCK": 256},
    ),
    interpolate_kernel: (_OF_LEVELS, _LEVELS),
    interpolate_to_points_kernel: (_OF_LEVELS, _LEVELS),
    interpolate_to_table_kernel: (
        _OF_LEVELS | {"gradient": HALF, "count": WHOLE},
        _LEVELS | {"FIRST": 0, "COARSE": True, "COLUMNS": 32, "PRECISION": "tf32"},
    ),
    keep_kernel: (
        _OF_RAYS | {"sample": INDICES, "of_ray": INDICES, "capacity": "i32"} | _numbers("deepest"),
        {"CONTRACTION": True, "BLOCK": 32},
    ),
    lit_kernel: (_OF_RAYS | _numbers("deepest", "share"), _RAYS),
    march_kernel: (
        _OF_RAYS | {"occupancy": "*u8", "of_ray": INDICES, "capacity": "i32"} | _numbers("step", "cone"),
        _GRID,
    ),
    nearest_kernel: (
        {"out": INDICES, "count": "i32", "found": "i32"},
        {"D": 3, "K": 8, "WIDTH": 8, "TILE": 32, "BLOCK": 32},
    ),
    picture_kernel: (_OF_RAYS, _RAYS),
    points_kernel: (_OF_FIELD, _DENSITY | {"LEVELS": 8, "F": 4, "BLOCK": 128}),
    random_bits_kernel: (_OF_DRAWING | {"out": INDICES}, {"BLOCK": 256}),
    rays_kernel: (_OF_RAYS | {"harmonics": HALF} | _numbers("least", "reach"), _RAYS),
    rbf_kernel: (_OF_KERNELS, _KERNELS),
    rbf_to_points_kernel: (_OF_KERNELS, _KERNELS),
    rbf_to_weights_kernel: (_OF_KERNELS, _KERNELS),
    transmittance_kernel: (_OF_RAYS, _RAYS),
}
_WARPS = {
    backward_kernel: 8,
    colour_kernel: 8,
    density_kernel: 8,
    latent_kernel: 8,
    points_kernel: 8,
    interpolate_kernel: 4,
    interpolate_to_points_kernel: 4,
    interpolate_to_table_kernel: 4,
    nearest_kernel: 4,
    rbf_kernel: 4,
    rbf_to_points_kernel: 4,
    rbf_to_weights_kernel: 4,
}


_UNFUSED = {keep_kernel, lit_kernel, march_kernel}
# Whole numbers that may stand on the device: a 1 given as such must not become a constant, which has no type to ask for.
_EITHER = {draw_kernel: "step", random_bits_kernel: "step", interpolate_to_table_kernel: "count"}


def compiled(kernel, others: dict[str, str], constants: dict[str, Any], architecture: int) -> Any:
    types = {name: others.get(name, FLOATS) for name in kernel.arg_names}
    types |= dict.fromkeys(constants, "constexpr")
    # As at a launch, where torch's memory begins at multiples of 16 bytes.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, kind in enumerate(types.values())
        if kind.startswith("*")
    }
    source = ASTSource(kernel, signature=types, constexprs=constants, attrs=aligned)
    return triton.compile(
        source,
        target=GPUTarget("cuda", architecture, 32),
        options={
            "num_warps": _WARPS.get(kernel, max(min(constants["BLOCK"] // 32, 4), 1)),
            "enable_fp_fusion": kernel not in _UNFUSED,
        },
    )


def resources(binary: bytes) -> dict[str, int]:
    """Registers, and bytes of stack and shared memory, as the assembler chose them."""
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        said = subprocess.run(
            [program, "-res-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    return {name: int(value) for name, value in re.findall(r"\b(REG|STACK):(\d+)", said)}


def options() -> Iterator[tuple[str, Any, dict[str, str], dict[str, Any], int]]:
    """Networks from the smallest to the largest that the fused form takes, in every kernel that has them."""
    kinds = {HALF: torch.float16, "*bf16": torch.bfloat16}
    networks = [(32, 64, 16), (32, 32, 16), (64, 64, 64, 16), (32, 64, 64, 64, 16)]
    of_colour = [(80, 64, 3), (32, 64, 64, 3), (32, 64, 3), (32, 64, 64, 64, 3), (64, 64, 64, 3)]
    for architecture, (name, kind) in itertools.product((80, 89, 90), kinds.items()):
        types = {key: name if value == HALF else value for key, value in _OF_FIELD.items()}
        types |= _numbers("low", "high", "per_length")
        for sizes in networks + of_colour:
            network = _network(*sizes)
            weights = sum(a * b for a, b in itertools.pairwise(network["PADDED"]))
            block, few = (
                rows_of(kind, weights),
                backward_rows(kind, network["PADDED"], architecture // 10 == 9),
            )
            label = f"{architecture} {name} {sizes}"
            if sizes in networks:
                field = {"LEVELS": sizes[0] // 4}
                yield (
                    label,
                    density_kernel,
                    types,
                    network | _MARCHED | field | {"BLOCK": block},
                    architecture,
                )
                yield label, latent_kernel, types, network | {"WIDTH": 32, "BLOCK": block}, architecture
            else:
                yield label, colour_kernel, types, network | {"BLOCK": block}, architecture
            back = {"PICKS": sizes in networks, "OUTPUTS": 3 if sizes in of_colour else 32}
            yield label, backward_kernel, types, network | back | {"BLOCK": few}, architecture


if __name__ == "__main__":
    for kernel, name in _EITHER.items():
        [parameter] = [parameter for parameter in kernel.params if parameter.name == name]
        assert parameter.do_not_specialize, f"{kernel.__name__}: {name} is specialised"
    ptx: dict[str, dict[str, str]] = {kernel.__name__: {} for kernel in KERNELS}
    used: dict[str, dict[str, int]] = {}
    for (kernel, (others, constants)), sm in itertools.product(KERNELS.items(), (80, 89, 90)):
        if kernel is backward_kernel:
            constants = constants | {"BLOCK": backward_rows(torch.float16, constants["PADDED"], sm == 90)}
        made = compiled(kernel, others, constants, sm)
        ptx[kernel.__name__][str(sm)] = made.asm["ptx"]
        used[f"{kernel.__name__} {sm}"] = resources(made.asm["cubin"])
    for label, kernel, others, constants, sm in options():
        used[f"{kernel.__name__} {label}"] = resources(compiled(kernel, others, constants, sm).asm["cubin"])
    json.dump({"ptx": ptx, "used": used}, sys.stdout)
