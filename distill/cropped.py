"""Cropped fields: views over a field in a box of its domain, so that a student spends all its capacity on that box."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import torch
from torch import Tensor

from polyfield.distill.edited import Box, RadianceView
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, Field, FieldOutput, Points
from polyfield.fields.points import Features

_ROUNDING = 1e-6  # by which a box may reach beyond the domain, in half sizes of it


class CroppedRadiance(RadianceView):
    """A radiance field in a box, and nothing outside of it. Raw densities are per the new domain's unit of length."""

    def __init__(self, base: RadianceView, box: Box) -> None:
        super().__init__(base)
        before = base.meaning.domain
        self.meaning = replace(base.meaning, domain=_domain(before, box))
        self._base, self._box = base, box
        self._shift = math.log(self.meaning.domain.density_unit / before.density_unit)

    def look(self, points: Points, coloured: bool) -> tuple[Tensor, Tensor | None]:
        raw, colour = self._base.look(points, coloured)
        return (raw + self._shift).clamp(*self.meaning.transform.clamp), colour

    def occupied(self, x: Tensor) -> Tensor:
        return self._base.occupied(x) & self._box.holds(x)


class CroppedValues(Field):
    """A field without directions in a box. Raw distances are in units of the new domain's size, other raw values the same."""

    def __init__(self, base: Field, box: Box) -> None:
        self._base, self._factor = base, 1.0
        domain, transform = _domain(base.meaning.domain, box), base.meaning.transform
        if base.meaning.kind.output == "distance":
            self._factor = transform.scale / domain.size
            transform = replace(transform, scale=domain.size)
        self.meaning = replace(base.meaning, domain=domain, transform=transform)

    @property
    def device(self) -> torch.device:
        return self._base.device

    def features(self, points: Points) -> Features:
        found = self._base.features(points)
        raw = None if found.raw is None else found.raw * self._factor
        return Features(raw, found.vector * self._factor)

    def head(self, features: Features, points: Points) -> FieldOutput:
        raw = None if features.raw is None else features.raw / self._factor
        return self._base.head(Features(raw, features.vector / self._factor), points)


def _domain(before: Domain, box: Box) -> Domain:
    """Return the box as a domain. Raises PolyfieldError where it is not inside of the domain before."""
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=len(box.centre))))
    corners = torch.tensor(box.centre) + signs * torch.tensor(box.half)
    if before.kind == "box" and before.to_local(corners).abs().max() > 1 + _ROUNDING:
        size = " x ".join(f"{2 * half:g}" for half in before.half_size)
        centre = ", ".join(f"{c + o:g}" for c, o in zip(before.centre, before.origin))
        raise PolyfieldError(
            f"--box: the box is not inside of the teacher's domain, which is {size} large around ({centre})"
        )
    return Domain("box", box.centre, box.half, origin=before.origin)
