from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

Array: TypeAlias = Tensor | np.ndarray

# Tensors are float32 on the CPU and contiguous, unless said otherwise; kernels/native/kernels.hpp has their shapes.

MAX_LAYERS: int  # of a network
MAX_FACTORS: int  # of a group

def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def use(name: str) -> bool: ...
def threads() -> int: ...
def set_threads(count: int) -> None: ...

class Grid:
    # Each level as (nodes, strides, hashed, offset, size). index is int32, and must live as long as the grid.
    def __init__(
        self,
        levels: Sequence[tuple[Sequence[int], Sequence[int], bool, int, int]],
        features: int,
        index: Tensor | None,
        /,
    ) -> None: ...

class Occupancy:
    def __init__(self, occupied: Tensor, /) -> None: ...  # uint8

def interpolate(grid: Grid, table: Tensor, points: Tensor, out: Tensor, /) -> None: ...
def interpolate_to_table(grid: Grid, gradient: Tensor, points: Tensor, to_table: Tensor, /) -> None: ...
def interpolate_to_points(
    grid: Grid, table: Tensor, gradient: Tensor, points: Tensor, to_points: Tensor, /
) -> None: ...
def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    sine: bool,
    modulation: Tensor | None,
    normed: bool,
    out: Tensor,
    /,
) -> None: ...
def mlp_backward(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    sine: bool,
    modulation: Tensor | None,
    normed: bool,
    gradient: Tensor,
    to_x: Tensor | None,
    to_modulation: Tensor | None,
    to_weights: Sequence[Tensor],
    to_biases: Sequence[Tensor],
    /,
) -> None: ...
def nearest(leaves: Tensor, boxes: Tensor, points: Tensor, out: Tensor, /) -> None: ...
def rbf(
    weights: Tensor,
    points: Tensor,
    neighbours: Tensor,
    centres: Tensor,
    shapes: Tensor,
    multipliers: Tensor | None,
    linear: bool,
    shares: Tensor,
    out: Tensor,
    /,
) -> None: ...
def rbf_backward(
    weights: Tensor,
    points: Tensor,
    neighbours: Tensor,
    centres: Tensor,
    shapes: Tensor,
    multipliers: Tensor | None,
    linear: bool,
    shares: Tensor,
    gradient: Tensor,
    to_weights: Tensor | None,
    to_points: Tensor | None,
    /,
) -> None: ...

class March:
    def __init__(
        self,
        origins: Tensor,
        directions: Tensor,
        near: Tensor,
        far: Tensor,
        jitter: Tensor,
        step: float,
        cone: float,
        grid: Occupancy,
        counts: Tensor,  # int64
    ) -> None: ...
    def write(self, t: Tensor, dt: Tensor) -> None: ...

def transmittance(offsets: Tensor, counts: Tensor, density: Tensor, dt: Tensor, out: Tensor, /) -> None: ...
def composite(
    offsets: Tensor,
    counts: Tensor,
    t: Tensor,
    dt: Tensor,
    density: Tensor,
    colour: Tensor,
    out: Tensor,
    weights: Tensor,
    /,
) -> None: ...
def composite_backward(
    offsets: Tensor,
    counts: Tensor,
    t: Tensor,
    dt: Tensor,
    density: Tensor,
    colour: Tensor,
    to_out: Tensor,
    to_weights: Tensor,
    to_density: Tensor,
    to_colour: Tensor,
    /,
) -> None: ...

class Adam:
    def __init__(
        self,
        *,
        learning_rate: float,
        mean_share: float,
        square_share: float,
        mean_correction: float,
        square_correction: float,
        eps: float,
        decay: float,
        sparse: bool,
    ) -> None: ...

def adam(
    settings: Adam, parameter: Array, gradient: Array, mean: Array, square: Array, half: Array | None, /
) -> None: ...

class Muon:
    def __init__(self, *, learning_rate: float, momentum: float) -> None: ...

def muon(settings: Muon, parameter: Array, gradient: Array, mean: Array, /) -> None: ...
def brain() -> bool: ...
def reads_half() -> bool: ...
def multiply_adds(count: int, brain: bool = False) -> int: ...
def random_reads(bytes: int, count: int) -> int: ...
def random_updates(bytes: int, count: int) -> int: ...
def settle(memory: Tensor, /) -> None: ...
def weighted(
    seed: int, name: int, step: int, weights: Tensor, tries: int, index: Tensor, of_index: Tensor, /
) -> int: ...
def gather(parts: Sequence[Tensor], sizes: Sequence[int], index: Tensor, out: Tensor, /) -> None: ...  # bytes
def random_bits(seed: int, name: int, step: int, bits: Tensor, /) -> None: ...  # int32

class Field:
    def __init__(
        self,
        groups: Sequence[Sequence[tuple[Grid, Tensor, Tensor, Sequence[int]]]],
        *,
        modulation: tuple[Grid, Tensor, Tensor, Sequence[int]] | None,
        radial: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, bool] | None,
        density: Sequence[Tensor],
        biases: Sequence[Tensor],
        colour: Sequence[Tensor],
        **settings: Any,
    ) -> None: ...
    def train(self, **arguments: Any) -> dict[str, Any]: ...
    def train_points(self, **arguments: Any) -> dict[str, Any]: ...
    def evaluate(self, **arguments: Any) -> None: ...
    def refresh(self) -> None: ...
    def density(self, points: Array, times: Array | None, out: Array) -> None: ...
    def render(self, **arguments: Any) -> dict[str, Any]: ...
