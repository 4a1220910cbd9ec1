"""SparseGrid: numbers at the nodes of a grid of R^3, stored only where a scene is not empty (Fridovich-Keil et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from polyfield.errors import PolyfieldError
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.factor import Factor
from polyfield.fields.parts.initial import uniform_init
from polyfield.fields.stored import Group, Maps
from polyfield.kernels import Levels, interpolate, uniform

_AXES = (0, 1, 2)
_INITIAL = 1e-4  # bound of the uniform numbers that tables begin with
_LEAST = 1e-12  # added to squares whose root is taken
_EMPTY = -10.0  # raw density of nodes without a row of their own
# (progress of the fit, share of the most nodes along an axis): from that progress on, the grid is as fine as its rows
# allow where the scene is not empty, up to that share.
_STAGES = ((0.1, 0.5), (0.25, 0.75), (0.45, 1.0), (0.72, 1.0))
# Total variation: the number of steps from one penalty to the next, the number of rows in a penalty, and the weights of
# densities and of the other numbers.
_SMOOTHED, _ROWS = 64, 1 << 15
_SMOOTHNESS = (1e-2, 1e-2)
_FIRST = 64  # nodes along an axis at first, at most
_STEP = 4  # finer grids have a multiple of it


class SparseGrid(Encoding):
    """Raw densities and other numbers, linear between nodes.

    Two tables have `rows` rows each: densities, and the other numbers. The buffer `node_of_row` says whose row each
    is, -1 where it is nobody's. Nodes without a row share the first one, which stands for empty space. A new grid is
    coarse, and all its nodes have rows.
    """

    # Learning rates, relative to the run's.
    density_rate: ClassVar[float] = 80.0
    others_rate: ClassVar[float] = 20.0

    nodes: Tensor
    node_of_row: Tensor
    index: Tensor  # the row of each node, x fastest

    def __init__(self, rows: int, most_nodes: int, others: int) -> None:
        """Make a grid of at most `most_nodes` nodes along an axis, with `others` numbers beside the density."""
        super().__init__()
        self._most, self._stage = most_nodes, 0
        others = -(-others // 4) * 4  # kernels read four numbers at once
        self.width = 1 + others
        self.tables = nn.ParameterList((torch.empty(rows, 1), torch.empty(rows, others)))
        self._nodes = self._first = min(_FIRST, most_nodes, whole_root(rows - 1, 3))
        self.register_buffer("nodes", torch.tensor(self._nodes, dtype=torch.int32))
        self.register_buffer("node_of_row", torch.full((rows,), -1, dtype=torch.int32))
        self.register_buffer("index", None, persistent=False)
        self._levels: Levels | None = None
        self._neighbours: Tensor | None = None  # of each row along each axis, while the structure stays
        self._set(self._nodes, torch.arange(self._nodes**3))
        self.register_load_state_dict_post_hook(_loaded)

    # -- structure

    def _set(self, nodes: int, chosen: Tensor) -> None:
        """Give a row to each of the chosen nodes (M,), in order."""
        self._nodes = nodes
        self.nodes.fill_(nodes)
        self.node_of_row.fill_(-1)
        self.node_of_row[1 : 1 + len(chosen)] = chosen.int()
        self._index()

    def _index(self) -> None:
        self._neighbours = None
        self.index = torch.zeros(self._nodes**3, dtype=torch.int32, device=self.node_of_row.device)
        if not self.index.is_meta:
            rows = (self.node_of_row >= 0).nonzero()[:, 0]
            self.index[self.node_of_row[rows].long()] = rows.int()

    def check(self) -> None:
        """Take over buffers that were loaded. Raises PolyfieldError where they make no sense."""
        nodes, last = int(self.nodes), int(self.node_of_row.max())
        if not 2 <= nodes <= self._most:
            raise PolyfieldError(
                f"tensor 'nodes' is {nodes}; expected 2 to {self._most}, the option nodes of the field; restore the file, or fit again"
            )
        if int(self.node_of_row.min()) < -1 or last >= nodes**3 or self.node_of_row[0] != -1:
            raise PolyfieldError(
                f"tensor 'node_of_row' begins with {int(self.node_of_row[0])} and has values from "
                f"{int(self.node_of_row.min())} to {last}; expected -1 in the first row and "
                f"-1 to {nodes**3 - 1} in the others; restore the file, or fit again"
            )
        self._nodes = nodes
        self._index()

    @property
    def levels(self) -> Levels:
        """The grid, with the row of each node."""
        if self._levels is None or self._levels.index is not self.index:
            self._levels = Levels(((self._nodes,) * 3,), len(self.node_of_row), self.index)
        return self._levels

    def advance(self, progress: float, boxes: Callable[[], Tensor] | None = None) -> Maps:
        stage = sum(progress >= since for since, _ in _STAGES)
        due, self._stage = stage > self._stage, stage
        if not due or boxes is None or self.settled:
            return {}
        share = _STAGES[stage - 1][1]
        nodes, kept = self._finest(boxes(), max(round(self._most * share), self._first))
        before = self.levels
        self._set(nodes, kept)
        rows = slice(1, 1 + len(kept))
        change = partial(_resampled, before=before, unit=positions(kept, nodes), rows=rows)
        for index, table in enumerate(self.tables):
            self.tables[index] = nn.Parameter(change(table.detach()))
        return {f"tables.{index}": change for index in range(len(self.tables))}

    def _finest(self, boxes: Tensor, most: int) -> tuple[int, Tensor]:
        """Return the finest grid with a row for each node round the boxes: its nodes along an axis, and these nodes (M,)."""
        rows = len(self.node_of_row) - 1
        dense = min(whole_root(rows, 3), most)
        choices = [dense, *range(dense // _STEP * _STEP + _STEP, most + 1, _STEP)]
        low, high = 0, len(choices) - 1
        while low < high:  # low fits
            middle = (low + high + 1) // 2
            fits = int(around(boxes, choices[middle]).sum()) <= rows
            low, high = (middle, high) if fits else (low, middle - 1)
        return choices[low], around(boxes, choices[low]).view(-1).nonzero()[:, 0]

    def placed(self) -> tuple[Tensor, Tensor]:
        """Return the rows (M,) that are a node's, and where these nodes are in the unit cube: (M, 3)."""
        rows = (self.node_of_row >= 0).nonzero()[:, 0]
        return rows, positions(self.node_of_row[rows].long(), self._nodes)

    # -- values

    def factors(self) -> tuple[tuple[Factor, ...], ...]:
        return tuple((Factor(table, self.levels, _AXES),) for table in self.tables)

    def forward(self, unit: Tensor) -> Tensor:
        return torch.cat([factor(unit) for (factor,) in self.factors()], -1)

    def density(self, unit: Tensor) -> Tensor:
        """Return raw densities ([B,] N) at points ([B,] N, 3) of the unit cube."""
        return interpolate(self.tables[0], unit, self.levels)[..., 0]

    def penalties(self, step: int) -> Tensor | None:
        """Return the total variation (Fridovich-Keil et al. 2022, equation 4) of a range of rows, in some steps."""
        if step % _SMOOTHED:
            return None
        near = self._following()
        if not len(near):  # the scene is empty
            return None
        first = int(uniform((1,), seed=0, stream="total variation", step=step) * max(len(near) - _ROWS, 1))
        near = near[first : first + _ROWS]
        total = torch.zeros((), device=near.device)
        for table, weight in zip(self.tables, _SMOOTHNESS, strict=True):
            numbers = embedding(near, table)  # whose gradients are the same for any number of threads
            total = (
                total + weight * ((numbers[:, 1:] - numbers[:, :1]).square().sum(-2) + _LEAST).sqrt().mean()
            )
        return total

    def _following(self) -> Tensor:
        """Return each row that is a node's, and the rows of the next nodes along x, y and z: (M, 4)."""
        if self._neighbours is None:
            rows = (self.node_of_row >= 0).nonzero()[:, 0]
            node, found = self.node_of_row[rows].long(), [rows]
            for axis in _AXES:
                stride = self._nodes**axis
                last = node // stride % self._nodes == self._nodes - 1
                follows = self.index[torch.where(last, node, node + stride)].long()
                found.append(torch.where(follows == 0, rows, follows))  # no variation to a node without a row
            self._neighbours = torch.stack(found, 1)
        return self._neighbours

    def initialise(self, seed: int) -> None:
        for index, table in enumerate(self.tables):
            uniform_init(table, _INITIAL, seed=seed, name=f"table {index}")
        with torch.no_grad():
            self.tables[0][0] = _EMPTY

    def parameter_groups(self) -> list[Group]:
        rates = (self.density_rate, self.others_rate)
        return [
            Group({f"tables.{index}": table}, rate, 0.0, sparse=True, half=True)
            for index, (table, rate) in enumerate(zip(self.tables, rates))
        ]


def whole_root(number: int, degree: int) -> int:
    """Return the largest whole number whose power of that degree is not above the number."""
    root = round(number ** (1 / degree))
    return root if root**degree <= number else root - 1


def positions(chosen: Tensor, nodes: int) -> Tensor:
    """Return where nodes (M,) of a grid, x fastest, are in the unit cube: (M, 3)."""
    places = torch.stack((chosen % nodes, chosen // nodes % nodes, chosen // nodes**2), -1)
    return places.float() / (nodes - 1)


def around(boxes: Tensor, nodes: int) -> Tensor:
    """Return which nodes are corners of cells that reach into boxes (K, 2, 3) of the unit cube: (nodes,) * 3 bool, [z, y, x]."""
    places = boxes.double() * (nodes - 1)
    low = places[:, 0].floor().clamp(0, nodes - 1).long()
    behind = places[:, 1].ceil().clamp(0, nodes - 1).long() + 1
    # Sums along the axes over 1 at a box's first corner, -1 where it ends along an axis, and so on.
    size = nodes + 1
    steps = torch.zeros(size**3, dtype=torch.int32, device=boxes.device)
    for corner in range(8):
        bits = [corner >> axis & 1 for axis in _AXES]
        x, y, z = ((behind if bit else low)[:, axis] for axis, bit in enumerate(bits))
        sign = torch.full_like(x, (-1) ** sum(bits), dtype=torch.int32)
        steps.index_add_(0, (z * size + y) * size + x, sign)
    counts = steps.view(size, size, size)
    for axis in _AXES:
        counts = counts.cumsum(axis, dtype=torch.int32)
    return counts[:nodes, :nodes, :nodes] > 0


def _resampled(table: Tensor, *, before: Levels, unit: Tensor, rows: slice) -> Tensor:
    """Return a table ([B,] rows, F) of the grid `before` as one whose rows are at points (M, 3); the others keep theirs."""
    bank = table.shape[:-2]
    after = table.clone()
    after[..., rows, :] = interpolate(table, unit.expand(*bank, -1, -1).contiguous(), before)
    return after


def _loaded(grid: Any, _: object) -> None:
    grid.check()
