"""Domains: the only map between a source's own coordinates and the unit cube that a field's tables live in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from polyfield.errors import PolyfieldError

KINDS = ("box", "contraction")
_DENSITY_UNITS = {"box": 4.0, "contraction": 1.0}  # in half sizes


@dataclass(frozen=True)
class Domain:
    """Where a field has values: world -> local -> unit.

    local = rotation^T (world - centre) / half_size puts the region of interest on [-1, 1]^D.
    `box`: unit = (local + 1) / 2. Outside there is nothing to ask for: tables clamp, so callers keep to the box.
    `contraction`: all of space; inside the cube nothing is bent, and a point at distance n = |local|_inf > 1 goes to
    (2 - 1 / n) local / n (Barron et al. 2022, equation 10, in the maximum norm), so unit = (contracted + 2) / 4.
    """

    kind: str
    centre: tuple[float, ...]  # (D,) world
    half_size: tuple[float, ...]  # (D,) world units from the centre to a face
    rotation: tuple[tuple[float, ...], ...] | None = None  # (D, D): columns are the box's axes in the world

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PolyfieldError(f"domain: kind {self.kind!r} is unknown; expected one of {', '.join(KINDS)}")
        axes = len(self.centre)
        if not 1 <= axes <= 4 or len(self.half_size) != axes:
            raise PolyfieldError(
                f"domain: centre has {axes} numbers, half_size {len(self.half_size)}; expected 1 to 4, as many in both"
            )
        if not all(map(math.isfinite, self.centre)) or not all(
            1e-9 <= size <= 1e9 for size in self.half_size
        ):
            raise PolyfieldError(
                f"domain: centre {self.centre} must be finite and half_size {self.half_size} in 1e-9 to 1e9"
            )
        if self.rotation is not None and not _is_rotation(self.rotation, axes):
            raise PolyfieldError(f"domain: rotation {self.rotation} is no {axes} x {axes} rotation matrix")

    @property
    def dimensions(self) -> int:
        return len(self.centre)

    @property
    def size(self) -> float:
        """The geometric mean of the half sizes, in the source's unit."""
        return math.exp(sum(math.log(size) for size in self.half_size) / self.dimensions)

    @property
    def density_unit(self) -> float:
        """The length that densities are stored per, so that a field's numbers do not hang on the source's unit.

        It decides how thick the fog is that a fit begins with, where raw densities are 0. Measured: in a box a thin
        one is best, 4 half sizes (geometric mean over the axes), as thick fog takes long to clear; in all of space
        a thick one, 1 half size, as in a thin one surfaces come to lie far behind their place.
        """
        return _DENSITY_UNITS[self.kind] * self.size

    def to_local(self, x: Tensor) -> Tensor:
        """World points (..., D) to local ones (..., D)."""
        return self.turn(x - x.new_tensor(self.centre))

    def turn(self, v: Tensor) -> Tensor:
        """World vectors (..., D) to local ones; lengths change with the domain's size."""
        if self.rotation is not None:
            v = v @ v.new_tensor(self.rotation)
        return v / v.new_tensor(self.half_size)

    def to_world(self, local: Tensor) -> Tensor:
        """Local points (..., D) back to world ones (..., D)."""
        v = local * local.new_tensor(self.half_size)
        if self.rotation is not None:
            v = v @ local.new_tensor(self.rotation).T
        return v + local.new_tensor(self.centre)

    def to_unit(self, x: Tensor) -> Tensor:
        """World points (..., D) to the unit cube (..., D); outside a box the values leave [0, 1]."""
        local = self.to_local(x)
        if self.kind == "box":
            return (local + 1) / 2
        norm = local.abs().amax(-1, keepdim=True).clamp(min=1.0)
        return ((2 - 1 / norm) * (local / norm) + 2) / 4

    def from_unit(self, unit: Tensor) -> Tensor:
        """The inverse of `to_unit`, (..., D) to (..., D); a contraction's faces are infinitely far."""
        if self.kind == "box":
            return self.to_world(unit * 2 - 1)
        bent = unit * 4 - 2
        norm = bent.abs().amax(-1, keepdim=True).clamp(min=1.0)
        return self.to_world(bent / norm / (2 - norm))


def _is_rotation(matrix: tuple[tuple[float, ...], ...], axes: int) -> bool:
    """Whether rows of numbers are a square matrix with R R^T = I."""
    if len(matrix) != axes or any(len(row) != axes for row in matrix):
        return False
    products = [[sum(a * b for a, b in zip(u, v)) for v in matrix] for u in matrix]
    return all(abs(products[i][j] - (i == j)) < 1e-4 for i in range(axes) for j in range(axes))
