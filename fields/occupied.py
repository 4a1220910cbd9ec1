"""Look-up in an occupancy grid: where a fit has seen anything."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.fields.domain import Domain


def occupied_at(occupancy: Tensor, local: Tensor) -> Tensor:
    """Return whether the cells of points (N, 3) of the domain's local frame are occupied, (N,) bool.

    occupancy (K, R, R, R) bool is indexed [cascade, z, y, x]; cascade k covers [-2^k, 2^k]^3. A point is looked up in the
    smallest cascade that holds it, and is in none beyond the last.
    """
    cascades, cells = occupancy.shape[0], occupancy.shape[-1]
    finite = torch.isfinite(local).all(-1)
    local = torch.where(finite[:, None], local, 0.0)
    far = local.abs().amax(-1)
    if cascades == 1:
        index = ((local + 1) * (cells / 2)).long().clamp(0, cells - 1)
        return occupancy[0, index[:, 2], index[:, 1], index[:, 0]] & (far <= 1) & finite
    cascade = torch.log2(far.clamp(min=1.0)).ceil().long()
    held = cascade.clamp(max=cascades - 1)
    index = ((local / torch.exp2(held.float())[:, None] + 1) * (cells / 2)).long().clamp(0, cells - 1)
    found = occupancy[held, index[:, 2], index[:, 1], index[:, 0]]
    return found & (cascade < cascades) & finite


def boxes_of(occupancy: Tensor, domain: Domain) -> Tensor:
    """Return the boxes (M, 2, 3) round the occupied cells in the unit cube: lowest and highest corner.

    occupancy (K, R, R, R) bool is as in `occupied_at`.
    """
    cells = occupancy.nonzero()
    steps = torch.tensor([[c & 1, c >> 1 & 1, c >> 2] for c in range(8)], device=cells.device)
    corners = cells[:, None, [3, 2, 1]] + steps
    local = (corners * (2 / occupancy.shape[-1]) - 1) * torch.exp2(cells[:, 0].float())[:, None, None]
    unit = domain.to_unit(domain.to_world(local))
    return torch.stack((unit.amin(1), unit.amax(1)), 1)
