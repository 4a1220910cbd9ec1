"""Field: what can be asked of a field, however it is stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields.context import FieldContext
from polyfield.fields.meaning import Meaning
from polyfield.fields.occupied import occupied_at
from polyfield.fields.points import Features, FieldOutput, Points


@dataclass(frozen=True)
class Traits:
    """What a renderer or a loss may take for granted of a field."""

    pointwise: bool = True  # a point's value depends on that point alone, so empty space may be skipped


class Field(ABC):
    """Values over a source's own coordinates. Densities are per unit of the source's length.

    Subclasses give `features` and `head`. A stored field has tensors; edited, combined and analytic fields need none.
    """

    meaning: Meaning
    traits: Traits = Traits()
    context: FieldContext = FieldContext()  # of a field that was loaded; a new one has the defaults
    points_at_once = 1 << 18  # chunk size without gradients; bounds memory

    @property
    def device(self) -> torch.device:
        """Where the field computes."""
        return torch.device("cpu")

    # -- the query and its blocks

    def points(self, x: Tensor, directions: Tensor | None = None, times: Tensor | None = None) -> Points:
        """Return query points from source coordinates x (N, D). The domain's origin is subtracted here and nowhere else.

        Where there is an origin, x is best in float64. directions (N, 3) are unit vectors, times (N,) in [0, 1].
        Raises PolyfieldError for other shapes, and where a moving field gets no times.
        """
        self._check(x, directions, times)
        return Points(self.meaning.domain.from_source(x), directions, times)

    def query(self, x: Tensor, directions: Tensor | None = None, times: Tensor | None = None) -> FieldOutput:
        """Return the values at x (N, D), in the source's coordinates, seen along unit directions (N, 3), at times (N,).

        Differentiable. In cells that are empty in the context's occupancy grid the density is 0. Raises PolyfieldError for other shapes, and where the signal needs what was not given.

        >>> import polyfield
        >>> domain = polyfield.Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        >>> field = polyfield.create("hashgrid", "radiance", domain)
        >>> output = field.query(torch.zeros(2, 3), directions=torch.eye(3)[:2])
        >>> output.density.shape, output.colour.shape
        (torch.Size([2]), torch.Size([2, 3]))
        """
        if self.meaning.kind.directional and directions is None:
            raise PolyfieldError(
                f"query: a {self.meaning.signal} field needs directions (N, 3), the viewing direction at each point"
            )
        points = self.points(x, directions, times)
        output, empty = self.head(self.features(points), points), self._empty(points)
        if empty is None or output.raw is None or output.density is None:
            return output
        lowest = self.meaning.transform.clamp[0]
        return replace(
            output,
            raw=output.raw.masked_fill(empty, lowest),
            density=output.density.masked_fill(empty, 0.0),
        )

    def raw_at(self, x: Tensor, times: Tensor | None = None) -> Tensor:
        """Return raw values (N,) at any number of x (N, D) in the source's coordinates, in chunks, without gradients."""
        return self.raw_in_chunks(self.points(x, None, times))

    def colour_at(self, x: Tensor, times: Tensor | None = None) -> Tensor:
        """Return colours (N, C) of a field without directions at any number of x (N, D), in chunks, without gradients."""
        return self.colour_in_chunks(self.points(x, None, times))

    @torch.no_grad()
    def raw_in_chunks(self, points: Points) -> Tensor:
        """Return `raw` (N,) of any number of points, without gradients."""
        if not len(points):
            return points.x[:, 0]
        return torch.cat([self.raw(part) for part in points.split(self.points_at_once)])

    @torch.no_grad()
    def colour_in_chunks(self, points: Points) -> Tensor:
        """Return colours (N, C) of any number of points, without gradients."""
        parts = points.split(self.points_at_once)
        colours = [self.head(self.features(part), part).colour for part in parts]
        return torch.cat([colour for colour in colours if colour is not None])

    def raw(self, points: Points) -> Tensor:
        """Return the value before its transform (N,): the cheap path, for culling and meshing.

        Raises PolyfieldError where a point has several values.
        """
        raw = self.features(points).raw
        if raw is None:
            raise PolyfieldError(
                f"raw_at: this {self.meaning.signal} field has {self.meaning.channels} values per point; use colour_at"
            )
        empty = self._empty(points)
        return raw if empty is None else raw.masked_fill(empty, self.meaning.transform.clamp[0])

    def _empty(self, points: Points) -> Tensor | None:
        """Return whether points are in empty cells of the context's occupancy grid, (N,) bool, or None without one.

        A fit never saw anything there, so a field has no meaningful values: its density is 0.
        """
        occupied = self.context.occupancy
        if occupied is None or points.x.dim() != 2 or not self.meaning.kind.directional:
            return None
        return ~occupied_at(occupied.to(points.x.device), self.meaning.domain.to_local(points.x))

    @abstractmethod
    def features(self, points: Points) -> Features:
        """Return what the head needs."""

    @abstractmethod
    def head(self, features: Features, points: Points) -> FieldOutput:
        """Return the values that follow from the features."""

    def density(self, raw: Tensor) -> Tensor:
        """Return the density (N,) per unit of length of raw values (N,)."""
        return self.meaning.transform(raw) * (1 / self.meaning.domain.density_unit)

    def _check(self, x: Tensor, directions: Tensor | None, times: Tensor | None) -> None:
        dimensions = self.meaning.domain.dimensions
        if x.dim() != 2 or x.shape[1] != dimensions:
            raise PolyfieldError(f"query: x has shape {tuple(x.shape)}; expected (N, {dimensions})")
        if directions is not None and directions.shape != (len(x), 3):
            raise PolyfieldError(
                f"query: directions has shape {tuple(directions.shape)}; expected ({len(x)}, 3)"
            )
        if times is not None and times.shape != (len(x),):
            raise PolyfieldError(f"query: times has shape {tuple(times.shape)}; expected ({len(x)},)")
        if self.meaning.moving and times is None:
            raise PolyfieldError("query: a moving field needs times (N,) in [0, 1]")
