"""Levels: the layout of the nodes of a multi-resolution grid in one table.

Node i of R is at i / (R - 1) along its axis. A level with at most `size` nodes is dense, with its nodes in
order and x fastest. Any other level is hashed into `size` entries (Mueller et al. 2022, section 3, with our
own node positions). The hash has the range of the next power of two; from its values of `size` and above,
`size` is subtracted. An index says instead which of `size` entries each node has; nodes may share one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError

_ALIGNED = 16  # rows: a cache line of 64 bytes begins where rows are a multiple of 4 bytes
PRIMES = (1, 2654435761, 805459861, 3674653429)  # one per axis


@dataclass(frozen=True)
class Levels:
    """The geometry of L levels over D axes in a table with `entries` rows."""

    resolutions: tuple[tuple[int, ...], ...]  # (L, D) nodes along each axis, 2 or more
    size: int  # most entries that one level may have
    # Of a single level: the entry of each of its nodes, (nodes,) int32, in the order of a dense level.
    index: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        dimensions = {len(level) for level in self.resolutions}
        if len(dimensions) != 1 or not dimensions <= {1, 2, 3, 4}:
            raise PolyfieldError(
                f"levels: resolutions {self.resolutions} must all have the same number of axes, 1 to 4"
            )
        if min(min(level) for level in self.resolutions) < 2:
            raise PolyfieldError(
                f"levels: resolutions {self.resolutions} must have 2 or more nodes along each axis"
            )
        if self.index is not None:
            self._check_index(self.index)
        if self.entries >= 1 << 31:
            raise PolyfieldError(
                f"levels: the table has {self.entries:,} entries; expected fewer than 2^31; "
                "use fewer levels, or fewer nodes along each axis"
            )
        if self.size < 1:
            raise PolyfieldError(f"levels: size is {self.size}; expected 1 or more entries")

    def _check_index(self, index: Tensor) -> None:
        """Refuse an index whose entries are not those of the table; kernels trust it."""
        nodes = math.prod(self.resolutions[0])
        if self.count != 1 or index.shape != (nodes,) or index.dtype != torch.int32:
            raise PolyfieldError(
                f"levels: index has shape {tuple(index.shape)} and dtype {index.dtype}, for {self.count} levels; expected "
                f"shape ({nodes},) and dtype torch.int32, for one level"
            )
        if index.is_meta:
            return
        low, high = (int(bound) for bound in index.aminmax())
        if low < 0 or high >= self.size:
            raise PolyfieldError(
                f"levels: index goes from {low} to {high}; expected entries from 0 to {self.size - 1}"
            )

    @staticmethod
    def geometric(count: int, coarsest: int, finest: int, dimensions: int, size: int) -> Levels:
        """Return `count` cubic levels from `coarsest` to `finest` nodes on an axis, in a geometric series."""
        growth = (finest / coarsest) ** (1 / max(count - 1, 1))
        nodes = [round(coarsest * growth**level) for level in range(count)]
        return Levels(tuple((n,) * dimensions for n in nodes), size)

    def capped(self, axis: int, nodes: int) -> Levels:
        """Return the levels with at most `nodes` nodes along an axis."""
        return Levels(
            tuple((*level[:axis], min(level[axis], nodes), *level[axis + 1 :]) for level in self.resolutions),
            self.size,
        )

    @property
    def count(self) -> int:
        return len(self.resolutions)

    @property
    def dimensions(self) -> int:
        return len(self.resolutions[0])

    @cached_property
    def hashed(self) -> tuple[bool, ...]:
        """Whether each level is hashed, (L,)."""
        if self.index is not None:
            return (False,)
        return tuple(math.prod(level) > self.size for level in self.resolutions)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each level, (L,)."""
        if self.index is not None:
            return (self.size,)
        return tuple(min(math.prod(level), self.size) for level in self.resolutions)

    @property
    def hash_range(self) -> int:
        """How many values the hash of a node has, before those of `size` and above are wrapped."""
        return 1 << (self.size - 1).bit_length()

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First table row of each level, (L,), at the start of a cache line.

        Rows between levels are not used.
        """
        offsets, end = [], 0
        for size in self.sizes:
            offsets.append(-(-end // _ALIGNED) * _ALIGNED)
            end = offsets[-1] + size
        return tuple(offsets)

    @property
    def entries(self) -> int:
        """Rows of the whole table."""
        return self.offsets[-1] + self.sizes[-1]
