"""HarmonicRadiance: radiance straight from the code: a raw density and spherical harmonics of colours."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from polyfield.fields.heads.encoded import EncodedField
from polyfield.fields.meaning import Meaning
from polyfield.fields.parts.sparse import SparseGrid
from polyfield.fields.parts.trunk import Trunk
from polyfield.fields.plan import Harmonics
from polyfield.fields.points import Features, FieldOutput, Points
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import Maps, Values

_DIRECTIONS = 16  # along which colours are compared
_RIDGE = 1e-3
_FACE = 1e-4  # least distance from a face of the unit cube, where a contraction is infinitely far
_STORED = (-4.0, 10.0)  # raw densities: values far below are those of empty space
_DARK = 0.01  # least colour and least distance from 1, whose logits are compared


class HarmonicRadiance(EncodedField):
    """colour = sigmoid(sum_k c_k Y_k(direction)), with degree^2 coefficients c_k for each channel behind the raw density.

    `Harmonics` has the Y_k.
    """

    encoding: SparseGrid

    def __init__(self, spec: FieldSpec, options: Any, encoding: SparseGrid, trunk: Trunk) -> None:
        super().__init__(spec, options, encoding, trunk)
        self._degree = options.degree

    @staticmethod
    def trunk_outputs(meaning: Meaning) -> int:
        return 1  # and as many coefficients as the code has

    def raw_of(self, vector: Tensor) -> Tensor:
        return vector[..., 0]

    def raw(self, points: Points) -> Tensor:
        raw, empty = self.encoding.density(self.unit(points)), self._empty(points)
        return raw if empty is None else raw.masked_fill(empty, self.meaning.transform.clamp[0])

    def head(self, features: Features, points: Points) -> FieldOutput:
        assert features.raw is not None and points.directions is not None
        channels, count = self.meaning.channels, self._degree**2
        harmonics = Harmonics(self._degree).basis(points.directions)
        coefficients = features.vector[..., 1 : 1 + channels * count].unflatten(-1, (channels, count))
        colour = (coefficients * harmonics[..., None, :]).sum(-1).sigmoid()
        return FieldOutput(
            raw=features.raw, density=self.density(features.raw), colour=colour, features=features.vector
        )

    @torch.no_grad()
    def fill(self, values: Values, occupied: Tensor | None = None) -> Maps | None:
        """Store raw densities at the nodes, and the coefficients whose colours are nearest along some directions."""
        if occupied is None:  # all nodes would stay coarse
            return None
        maps = self.advance(1.0, occupied) or {}
        self._settle()
        rows, unit = self.encoding.placed()
        if self.meaning.domain.kind == "contraction":
            unit = unit.clamp(_FACE, 1 - _FACE)
        directions = _sphere(_DIRECTIONS).to(unit)
        basis = Harmonics(self._degree).basis(directions)
        solved = torch.linalg.solve(basis.mT @ basis + _RIDGE * torch.eye(basis.shape[1]).to(basis), basis.mT)
        densities, others = self.encoding.tables
        for some in torch.arange(len(rows), device=rows.device).split(self.points_at_once // _DIRECTIONS):
            x = self.meaning.domain.from_unit(unit[some])
            densities[rows[some]] = values(Points(x))[0].clamp(*_STORED)
            seen = Points(x.repeat_interleave(_DIRECTIONS, 0), directions.repeat(len(x), 1))
            colours = values(seen)[1]
            assert colours is not None
            wanted = colours.clamp(_DARK, 1 - _DARK).logit().view(len(x), _DIRECTIONS, self.meaning.channels)
            others[rows[some], : wanted.shape[-1] * len(solved)] = (solved @ wanted).mT.flatten(1)
        return maps

    def plan_head(self) -> Harmonics:
        return Harmonics(self._degree)


def _sphere(count: int) -> Tensor:
    """Return unit directions (count, 3), evenly on a spiral."""
    steps = torch.arange(count) + 0.5
    z, azimuth = 1 - 2 * steps / count, math.pi * (3 - math.sqrt(5)) * steps
    radius = (1 - z * z).sqrt()
    return torch.stack((radius * azimuth.cos(), radius * azimuth.sin(), z), -1)
