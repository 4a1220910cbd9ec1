"""Edited fields: views over radiance fields, with parts erased, moved, copied, recoloured or pasted.

Nothing is stored anew. Converting an edited field bakes the edit into a field of any architecture.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import Field, Points
from polyfield.fields.context import FieldContext
from polyfield.fields.occupied import occupied_at
from polyfield.fields.points import Features, FieldOutput
from polyfield.kernels import uniform
from polyfield.rendering.fused import FusedField

_TRIED = 8  # random points of a cell that decide whether it is occupied, beside its corners
_INSET = 1 / 64  # of a cell, from its corners
_FUSED_POINTS_AT_ONCE = 1 << 20  # a fused kernel keeps few numbers of a point
_BRIGHTNESS = (0.2126, 0.7152, 0.0722)  # of linear RGB (ITU-R BT.709)


@dataclass(frozen=True, eq=False)
class Box:
    """An axis-aligned box in the world, or a part of one. Raises PolyfieldError if a side is not positive."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    mask: Tensor | None = None  # (X, Y, Z) bool: which of the box's cells are part of it; all if None

    def __post_init__(self) -> None:
        numbers = torch.tensor((*self.centre, *self.half), dtype=torch.float64)
        if not (torch.isfinite(numbers).all() and min(self.half) > 0):
            raise PolyfieldError(
                f"box {(*self.centre, *self.half)}: expected a centre x y z and three half sizes above 0, all finite"
            )

    def holds(self, x: Tensor) -> Tensor:
        """Return whether points (N, 3) are inside, (N,) bool."""
        offset, half = x - x.new_tensor(self.centre), x.new_tensor(self.half)
        inside = (offset.abs() < half).all(-1)
        if self.mask is None:
            return inside
        sizes = torch.tensor(self.mask.shape, device=x.device)
        cell = ((offset / half + 1) / 2 * sizes).long().clamp(min=0).minimum(sizes - 1)
        return inside & self.mask[cell[:, 0], cell[:, 1], cell[:, 2]]

    def moved(self, by: tuple[float, float, float]) -> Box:
        """Return the box at another place."""
        x, y, z = (c + d for c, d in zip(self.centre, by))
        return replace(self, centre=(x, y, z))


class RadianceView(Field):
    """A radiance field without tensors: subclasses return raw densities, and colours on request, from `look`."""

    def __init__(self, of: Field, stored: tuple[Field, ...] = ()) -> None:
        """stored are the fields whose tensors it reads, if not those of `of`."""
        self.meaning = of.meaning
        self.stored: tuple[Field, ...] = stored or (of.stored if isinstance(of, RadianceView) else (of,))
        self._device, self.points_at_once = of.device, of.points_at_once

    @property
    def device(self) -> torch.device:
        return self._device

    @abstractmethod
    def look(self, points: Points, coloured: bool) -> tuple[Tensor, Tensor | None]:
        """Return raw densities (N,) and, if wanted, colours (N, 3)."""

    @abstractmethod
    def occupied(self, x: Tensor) -> Tensor:
        """Return whether anything may be at world points (N, 3), (N,) bool."""

    def features(self, points: Points) -> Features:
        raw, _ = self.look(Points(points.x, times=points.times), coloured=False)
        return Features(raw, raw[:, None])

    def head(self, features: Features, points: Points) -> FieldOutput:
        raw, colour = self.look(points, coloured=True)
        return FieldOutput(raw=raw, density=self.density(raw), colour=colour)

    @property
    def lowest(self) -> float:
        """The raw density of nothing."""
        return self.meaning.transform.clamp[0]


class Whole(RadianceView):
    """A fitted field as it is, with nothing where its occupancy grid is empty."""

    def __init__(self, field: Field, context: FieldContext) -> None:
        super().__init__(field)
        if not field.traits.pointwise:
            raise PolyfieldError(
                "the field's densities depend on the viewing direction or on all samples of a ray, so no part of the field "
                "can be edited or converted alone; fit a field whose densities depend on the point alone (cam: index "
                "'position', norm 'point')"
            )
        self._field, self._occupied = field, context.occupancy
        self._fused = FusedField.of(field)
        if self._fused:
            self.points_at_once = _FUSED_POINTS_AT_ONCE

    def look(self, points: Points, coloured: bool) -> tuple[Tensor, Tensor | None]:
        if self._fused and not torch.is_grad_enabled():
            # Only where something may be: elsewhere the field has no meaningful values.
            occupied = self.occupied(points.x)
            everywhere = bool(occupied.all())
            some = points if everywhere else points[occupied]
            vector, colour = self._fused.evaluate(some if coloured else Points(some.x, times=some.times))
            if everywhere:
                return vector[:, 0], colour
            return _spread(occupied, vector[:, 0], colour, self.lowest)
        features = self._field.features(points)
        assert features.raw is not None
        raw = torch.where(self.occupied(points.x), features.raw, self.lowest)
        return raw, self._field.head(features, points).colour if coloured else None

    def occupied(self, x: Tensor) -> Tensor:
        if self._occupied is None:
            return torch.ones(len(x), dtype=torch.bool, device=x.device)
        return occupied_at(self._occupied, self.meaning.domain.to_local(x))


class Erased(RadianceView):
    """Nothing in a box."""

    def __init__(self, base: RadianceView, box: Box) -> None:
        super().__init__(base)
        self._base, self._box = base, box

    def look(self, points: Points, coloured: bool) -> tuple[Tensor, Tensor | None]:
        left = ~self._box.holds(points.x)
        if left.all():
            return self._base.look(points, coloured)
        return _spread(left, *self._base.look(points[left], coloured), self.lowest)

    def occupied(self, x: Tensor) -> Tensor:
        return self._base.occupied(x) & ~self._box.holds(x)


class Pasted(RadianceView):
    """In a box what another field, or the same one elsewhere, has there: that is moved by `by`, a vector (3,)."""

    def __init__(
        self, base: RadianceView, box: Box, other: RadianceView, by: tuple[float, float, float] = (0.0,) * 3
    ) -> None:
        super().__init__(base, base.stored + other.stored)
        self.points_at_once = min(base.points_at_once, other.points_at_once)
        self._base, self._box, self._other = base, box, other
        # World coordinates of one field are those of the other but for their origins.
        self._from = torch.tensor(base.meaning.domain.origin, dtype=torch.float64)
        self._from -= torch.tensor(other.meaning.domain.origin, dtype=torch.float64)
        self._from -= torch.tensor(by, dtype=torch.float64)
        # Densities of both are per their own unit of length.
        self._shift = float(
            torch.tensor(base.meaning.domain.density_unit / other.meaning.domain.density_unit).log()
        )

    def look(self, points: Points, coloured: bool) -> tuple[Tensor, Tensor | None]:
        inside = self._box.holds(points.x)
        raw, colour = _spread(~inside, *self._base.look(points[~inside], coloured), self.lowest)
        if not inside.any():
            return raw, colour
        before = self._before(points[inside])
        there, other = self._other.look(before, coloured)
        there = (there + self._shift).clamp(*self.meaning.transform.clamp)
        raw = raw.masked_scatter(inside, torch.where(self._known(before.x), there, self.lowest))
        if colour is not None and other is not None:
            colour = colour.masked_scatter(inside[:, None], other)
        return raw, colour

    def _before(self, points: Points) -> Points:
        return replace(points, x=self._there(points.x))

    def _there(self, x: Tensor) -> Tensor:
        """Return the other field's world points (N, 3) for world points (N, 3)."""
        return x + self._from.to(x)

    def occupied(self, x: Tensor) -> Tensor:
        return torch.where(self._box.holds(x), self._known(self._there(x)), self._base.occupied(x))

    def _known(self, x: Tensor) -> Tensor:
        """Return whether the other field has values at its world points (N, 3) and may hold anything there."""
        domain = self._other.meaning.domain
        inside = domain.to_local(x).abs().amax(-1) <= 1 if domain.kind == "box" else True
        return self._other.occupied(x) & inside


class Recoloured(RadianceView):
    """One colour in a box, as bright at each point as the colour that was there."""

    def __init__(self, base: RadianceView, box: Box, colour: tuple[float, float, float]) -> None:
        super().__init__(base)
        if not all(0 <= c <= 1 for c in colour):
            raise PolyfieldError(f"colour is {colour}; expected three numbers from 0 to 1")
        self._base, self._box, self._colour = base, box, colour

    def look(self, points: Points, coloured: bool) -> tuple[Tensor, Tensor | None]:
        raw, colour = self._base.look(points, coloured)
        if colour is None:
            return raw, None
        new = colour.new_tensor(self._colour)
        own, wanted = colour @ colour.new_tensor(_BRIGHTNESS), float(new @ new.new_tensor(_BRIGHTNESS))
        shaded = (new * (own / max(wanted, 1e-3))[:, None]).clamp(0, 1)
        return raw, torch.where(self._box.holds(points.x)[:, None], shaded, colour)

    def occupied(self, x: Tensor) -> Tensor:
        return self._base.occupied(x)


def _spread(where: Tensor, raw: Tensor, colour: Tensor | None, lowest: float) -> tuple[Tensor, Tensor | None]:
    """Return raw densities (N,) and colours (N, 3) of N points from those of some of them, where (N,) is true.

    The others have the raw density `lowest`, and are black.
    """
    every = raw.new_full(where.shape, lowest).masked_scatter(where, raw)
    if colour is None:
        return every, None
    return every, colour.new_zeros(len(where), 3).masked_scatter(where[:, None], colour)


def moved(base: RadianceView, box: Box, by: tuple[float, float, float]) -> RadianceView:
    """Return a field with what is in a box at another place, by a vector (3,), and nothing where it was."""
    return Pasted(Erased(base, box), box.moved(by), base, by)


def copied(base: RadianceView, box: Box, by: tuple[float, float, float]) -> RadianceView:
    """Return a field with what is in a box at another place too, by a vector (3,)."""
    return Pasted(base, box.moved(by), base, by)


@torch.no_grad()
def occupancy_of(field: RadianceView, like: Tensor) -> Tensor:
    """Return the occupancy grid of a view, of the shape of `like` (K, R, R, R) bool.

    A cell is occupied if anything may be near one of its corners, or at one of some random points in it.
    """
    cascades, cells = like.shape[0], like.shape[-1]
    grid = torch.zeros_like(like)
    middle = torch.arange(cells, device=like.device, dtype=torch.float32)
    z, y, x = torch.meshgrid(middle, middle, middle, indexing="ij")
    corner = torch.stack((x, y, z), -1).view(-1, 3)
    for cascade in range(cascades):
        for turn in range(2 * _TRIED):
            if turn < _TRIED:
                step = cascade * _TRIED + turn
                place = uniform(tuple(corner.shape), seed=0, stream="edited", step=step, device=like.device)
            else:
                far = torch.tensor([turn >> axis & 1 for axis in range(3)], device=like.device)
                place = torch.where(far == 1, 1 - _INSET, _INSET)
            local = ((corner + place) * (2 / cells) - 1) * 2.0**cascade
            found = field.occupied(field.meaning.domain.to_world(local))
            grid[cascade] |= found.view(cells, cells, cells)
    return grid
