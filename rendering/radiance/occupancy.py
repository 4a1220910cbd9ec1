"""The occupancy grid: cells in which a field is dense enough to sample.

As in Mueller et al. 2022, appendix E.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polyfield.kernels import random_bits, uniform

_DECAY = 0.9
# A cell counts as empty if a step through it would be less opaque than this.
_LEAST_OPACITY = 0.01


class OccupancyGrid:
    """K cascades of G^3 cells in the domain's local frame.

    Cascade k covers [-2^k, 2^k]^3, indexed [k, z, y, x]. `density` (K, G, G, G) is the largest recent density
    in each cell. `occupied` is true for the cells to sample. All cells are occupied until the first update.
    """

    def __init__(self, cascades: int, resolution: int, device: torch.device | str = "cpu") -> None:
        shape = (cascades, resolution, resolution, resolution)
        self.density = torch.zeros(shape, device=device)
        self.occupied = torch.ones(shape, dtype=torch.bool, device=device)
        self.updates = 0

    @property
    def cascades(self) -> int:
        return self.density.shape[0]

    @property
    def resolution(self) -> int:
        return self.density.shape[-1]

    def occupancy(self) -> float:
        """Return the share of the cells that are occupied."""
        return float(self.occupied.float().mean())

    def refine(self, resolution: int) -> None:
        """Change to a multiple of the resolution. Every new cell gets its parent's value."""
        times = resolution // self.resolution
        for axis in (1, 2, 3):
            self.density = self.density.repeat_interleave(times, axis)
            self.occupied = self.occupied.repeat_interleave(times, axis)

    @torch.no_grad()
    def update(
        self,
        density: Callable[[Tensor], Tensor],
        steps: Tensor,
        *,
        seed: int,
        cells: int,
        visible: Tensor | None = None,
        number: Tensor | None = None,
        first: bool | None = None,
    ) -> int:
        """Evaluate up to `cells` cells at a random point each, and decide which cells are occupied.

        density maps local points (N, 3) to densities (N,). steps (K,) is the length of a sampling step in
        each cascade. The first update evaluates all cells. If there are more than `cells`, later ones draw
        half of theirs from all cells and half from the occupied ones. Cells outside of `visible` (K, V, V, V)
        bool, V a divisor of G, count as empty. Returns the number of cells evaluated.

        Updates that are queued, so that the host does not wait, get their number, which is on the device, and
        whether it is the first.
        """
        if visible is not None:
            times = self.resolution // visible.shape[-1]
            for axis in (1, 2, 3):
                visible = visible.repeat_interleave(times, axis)
        chosen = self._choose(seed, cells, number, self.updates == 0 if first is None else first)
        jitter = uniform(
            (len(chosen), 3),
            seed=seed,
            stream="occupancy points",
            step=self.updates if number is None else number,
            device=chosen.device,
        )
        seen = density(self._points(chosen, jitter))
        flat = self.density.view(-1)
        flat[chosen] = flat[chosen] * _DECAY
        flat.scatter_reduce_(0, chosen, seen, "amax")
        # At most half the mean density, so that no cell of a uniform haze counts as empty.
        threshold = torch.minimum(_LEAST_OPACITY / steps, self.density.mean((1, 2, 3)) / 2)
        self.occupied = self.density >= threshold[:, None, None, None]
        if visible is not None:
            self.occupied &= visible
        self.updates += 1
        return len(chosen)

    def _choose(self, seed: int, cells: int, number: Tensor | None, first: bool) -> Tensor:
        """Return the indices (N,) of the cells to evaluate."""
        total, device = self.density.numel(), self.density.device
        if total <= cells or first:  # a cell that was never evaluated would look empty
            return torch.arange(total, device=device)
        step = self.updates if number is None else number
        bits = random_bits((2, cells // 2), seed=seed, stream="occupancy cells", step=step, device=device)
        if number is not None:  # find the r-th occupied cell without reading their number on the host
            ranks = self.occupied.view(-1).cumsum(0)
            chosen = torch.searchsorted(ranks, bits[1] % ranks[-1:].clamp(min=1), right=True)
            return torch.cat((bits[0] % total, chosen.clamp(max=total - 1)))
        occupied = self.occupied.view(-1).nonzero()[:, 0]
        anywhere = bits[0] % total
        return torch.cat((anywhere, occupied[bits[1] % len(occupied)])) if len(occupied) else anywhere

    def _points(self, cells: Tensor, jitter: Tensor) -> Tensor:
        """Return a local point (N, 3) in each of the cells (N,)."""
        g = self.resolution
        cascade, cell = cells // g**3, cells % g**3
        corner = torch.stack((cell % g, cell // g % g, cell // g**2), -1)
        return ((corner + jitter) * (2 / g) - 1) * torch.exp2(cascade.float())[:, None]

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint. It needs `updates` too."""
        return {"density": self.density, "occupied": self.occupied}

    @staticmethod
    def restored(density: Tensor, occupied: Tensor, updates: int) -> OccupancyGrid:
        """Return the grid that had these `tensors` and `updates`."""
        grid = OccupancyGrid(density.shape[0], density.shape[-1], density.device)
        grid.density, grid.occupied, grid.updates = density, occupied.bool(), updates
        return grid
