"""Domains: the only map between a source's own coordinates and the unit cube of a field's encoding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError

KINDS = ("box", "contraction")
_FAR = 2000.0  # half sizes from zero on which a source gets an origin of its own
_DENSITY_UNITS = {"box": 4.0, "contraction": 1.0}  # in half sizes


@dataclass(frozen=True)
class Domain:
    """Where a field has values: source -> world -> local -> unit coordinates.

    world = source - origin. A source far from zero has an origin, so that world coordinates keep their digits in float32.
    Everywhere else the origin is zero, and the two are the same.

    local = rotation^T (world - centre) / half_size puts the region of interest on [-1, 1]^D.

    `box`: unit = (local + 1) / 2. There are no values outside: tables clamp, so callers keep to the box.
    `contraction`: all of space. Inside the cube nothing is bent; a point at distance n = |local|_inf > 1 goes to
    (2 - 1 / n) local / n (Barron et al. 2022, equation 10, in the maximum norm), so unit = (contracted + 2) / 4.

    Raises PolyfieldError where the numbers make no sense.

    >>> Domain("box", (0.0, 0.0, 0.0), (2.0, 2.0, 2.0)).to_unit(torch.tensor([[2.0, 0.0, -2.0]])).tolist()
    [[1.0, 0.5, 0.0]]
    """

    kind: str
    centre: tuple[float, ...]  # (D,) world
    half_size: tuple[float, ...]  # (D,) world units from the centre to a face
    rotation: tuple[tuple[float, ...], ...] | None = None  # (D, D): columns are the box's axes in the world
    origin: tuple[float, ...] = ()  # (D,) of world coordinates, in the source's; zeros if not given

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PolyfieldError(f"domain: kind {self.kind!r} is unknown; expected one of {', '.join(KINDS)}")
        axes = len(self.centre)
        if not 1 <= axes <= 4 or len(self.half_size) != axes:
            raise PolyfieldError(
                f"domain: centre has {axes} numbers and half_size has {len(self.half_size)}; "
                "expected both to have the same length, 1 to 4"
            )
        if not all(map(math.isfinite, self.centre)) or not all(
            1e-9 <= size <= 1e9 for size in self.half_size
        ):
            raise PolyfieldError(
                f"domain: centre is {self.centre} and half_size is {self.half_size}; "
                "expected finite numbers in centre, and numbers from 1e-9 to 1e9 in half_size"
            )
        if self.rotation is not None and not _is_rotation(self.rotation, axes):
            raise PolyfieldError(f"domain: rotation {self.rotation} is not a {axes} x {axes} rotation matrix")
        if not self.origin:
            object.__setattr__(self, "origin", (0.0,) * axes)
        if len(self.origin) != axes or not all(map(math.isfinite, self.origin)):
            raise PolyfieldError(f"domain: origin {self.origin} must be {axes} finite numbers")

    @staticmethod
    def around(
        centre: Sequence[float],
        half_size: Sequence[float],
        rotation: tuple[tuple[float, ...], ...] | None = None,
    ) -> Domain:
        """Return the box of a centre (D,) in the source's coordinates, with an origin if it is far from zero for its size."""
        middle, half = tuple(map(float, centre)), tuple(map(float, half_size))
        if max(map(abs, middle)) > _FAR * max(half):
            return Domain("box", (0.0,) * len(middle), half, rotation, origin=middle)
        return Domain("box", middle, half, rotation)

    @property
    def dimensions(self) -> int:
        return len(self.centre)

    @property
    def size(self) -> float:
        """The geometric mean of the half sizes, in the source's unit."""
        return math.exp(sum(math.log(size) for size in self.half_size) / self.dimensions)

    @property
    def density_unit(self) -> float:
        """The length that densities are stored per, so that stored numbers do not depend on the source's unit.

        It sets the density that a fit begins with, where raw densities are 0. Measured: in a box a low one is best,
        4 half sizes (geometric mean over the axes), because dense fog takes long to clear. In all of space a high one
        is best, 1 half size: with a low one, surfaces come to lie far behind their true place.
        """
        return _DENSITY_UNITS[self.kind] * self.size

    @property
    def corners(self) -> tuple[list[float], list[float]]:
        """The lowest and the highest corner (D,) in the world. Raises PolyfieldError for a box with a rotation."""
        if self.rotation is not None:
            raise PolyfieldError(
                "domain: a rotated box has no lowest and highest corner; use a box without a rotation"
            )
        pairs = list(zip(self.centre, self.half_size))
        return [c - h for c, h in pairs], [c + h for c, h in pairs]

    def from_source(self, x: Tensor) -> Tensor:
        """Source points (..., D) to world ones (..., D), float32. Where there is an origin, x is best in float64."""
        if any(self.origin):
            x = x.double() - x.new_tensor(self.origin, dtype=torch.float64)
        return x.float()

    def to_source(self, world: Tensor) -> Tensor:
        """World points (..., D) to source ones (..., D): the inverse of `from_source`, float64 where there is an origin."""
        if not any(self.origin):
            return world
        return world.double() + world.new_tensor(self.origin, dtype=torch.float64)

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

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` takes back."""
        return {
            "kind": self.kind,
            "centre": list(self.centre),
            "half_size": list(self.half_size),
            "rotation": self.rotation and [list(row) for row in self.rotation],
            "origin": list(self.origin),
        }

    @staticmethod
    def from_json(data: Any) -> Domain:
        """Return the domain that `to_json` wrote. Raises PolyfieldError for anything else."""
        keys = {"kind", "centre", "half_size", "rotation", "origin"}
        if not isinstance(data, dict) or set(data) != keys:
            found = f"has the keys {sorted(data)!s:.200}" if isinstance(data, dict) else f"is {data!r:.200}"
            raise PolyfieldError(
                f"domain {found}; expected an object with the keys {sorted(keys)}; restore the file, or fit again"
            )
        rotation = data["rotation"]
        if rotation is not None:
            if not isinstance(rotation, list):
                raise PolyfieldError(
                    f"domain: rotation is {rotation!r:.80}; expected a square matrix or null"
                )
            rotation = tuple(_numbers(row, f"rotation[{index}]") for index, row in enumerate(rotation))
        if not isinstance(data["kind"], str):
            raise PolyfieldError(f"domain: kind is {data['kind']!r:.80}; expected one of {', '.join(KINDS)}")
        numbers = (_numbers(data[key], key) for key in ("centre", "half_size", "origin"))
        centre, half_size, origin = numbers
        return Domain(data["kind"], centre, half_size, rotation, origin)


def _numbers(value: Any, key: str) -> tuple[float, ...]:
    good = isinstance(value, list) and all(
        isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in value
    )
    if not good:
        raise PolyfieldError(f"domain: {key} is {value!r:.200}; expected a list of finite numbers")
    return tuple(float(n) for n in value)


def _is_rotation(matrix: tuple[tuple[float, ...], ...], axes: int) -> bool:
    """Whether rows of numbers are a square matrix with R R^T = I."""
    if len(matrix) != axes or any(len(row) != axes for row in matrix):
        return False
    products = [[sum(a * b for a, b in zip(u, v)) for v in matrix] for u in matrix]
    return all(abs(products[i][j] - (i == j)) < 1e-4 for i in range(axes) for j in range(axes))
