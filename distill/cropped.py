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

    def __init__(self, base: RadianceView, domain: Domain) -> None:
        super().__init__(base)
        self.meaning = replace(base.meaning, domain=domain)
        self._base = base
        self._shift = math.log(domain.density_unit / base.meaning.domain.density_unit)

    def look(self, points: Points, coloured: bool) -> tuple[Tensor, Tensor | None]:
        raw, colour = self._base.look(points, coloured)
        return (raw + self._shift).clamp(*self.meaning.transform.clamp), colour

    def occupied(self, x: Tensor) -> Tensor:
        return self._base.occupied(x) & (self.meaning.domain.to_local(x).abs() < 1).all(-1)


class CroppedValues(Field):
    """A field without directions in a box. Raw distances are in units of the new domain's size, other raw values the same."""

    def __init__(self, base: Field, domain: Domain) -> None:
        self.base, self._factor = base, 1.0
        self.traits, self.points_at_once = base.traits, base.points_at_once
        transform = base.meaning.transform
        if base.meaning.kind.output == "distance" and transform.function == "identity":
            self._factor = transform.scale / domain.size
            transform = replace(transform, scale=domain.size)
        self.meaning = replace(base.meaning, domain=domain, transform=transform)

    @property
    def device(self) -> torch.device:
        return self.base.device

    def features(self, points: Points) -> Features:
        found = self.base.features(points)
        raw = None if found.raw is None else found.raw * self._factor
        return Features(raw, found.vector * self._factor)

    def head(self, features: Features, points: Points) -> FieldOutput:
        raw = None if features.raw is None else features.raw / self._factor
        output = self.base.head(Features(raw, features.vector / self._factor), points)
        return replace(output, raw=features.raw, features=features.vector)


def part_of(domain: Domain, box: Box, where: str) -> Domain:
    """Return a box as a domain. Raises PolyfieldError where it is not inside of the domain."""
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=len(box.centre))), dtype=torch.float64)
    corners = torch.tensor(box.centre, dtype=torch.float64) + signs * torch.tensor(box.half)
    if domain.kind == "box" and domain.to_local(corners).abs().max() > 1 + _ROUNDING:
        size = " x ".join(f"{2 * half:g}" for half in domain.half_size)
        centre = ", ".join(f"{c + o:g}" for c, o in zip(domain.centre, domain.origin))
        turned = "rotated " if domain.rotation is not None else ""
        raise PolyfieldError(
            f"{where}: --box reaches beyond the field's domain, which is a {turned}box of size {size} around ({centre}); "
            "use a smaller half size or another centre"
        )
    return Domain("box", box.centre, box.half, origin=domain.origin)
