"""Effort: how often a teacher's answers are used again, so that most of the time goes to the student."""

from __future__ import annotations

import math

from polyfield.distill.cropped import CroppedValues
from polyfield.distill.edited import RadianceView
from polyfield.fields import Field, StoredField
from polyfield.fields.plan import RadialColours

_READ = 80  # multiplications that take as long as reading one row of a table
_SEARCH = 60_000  # for the nearest radial basis functions, and their sum
_GENERAL = 4  # times that a field without a plan takes longer
_VIEW = 2  # times that an edited field takes longer than what it is a view of
# Times the teacher's time. Measured for 30 s of lego at 1/4, hashgrid to hashgrid: 32.2 dB with 5, 32.5 with 2.5 (a teacher's
# share of 18 % of the time), 32.4 with 1.25 (30 %).
_STUDENT = 2.5
# Measured for 30 s of lego at 1/4, rbf to hashgrid: 29.9 dB with 64 (a share of 9 %), 30.8 with 24 (17 %), 31.0 with 14 (23 %).
_MOST = 16


def effort(field: Field) -> float:
    """Return about how many multiplications a point of a field takes."""
    if isinstance(
        field, RadianceView
    ):  # a point is one of these fields', and is evaluated twice: for densities and for colours
        return _VIEW * max(effort(stored) for stored in field.stored)
    if isinstance(field, CroppedValues):
        return effort(field.base)
    plan = field.plan() if isinstance(field, StoredField) else None
    if plan is None:
        stored = sum(p.numel() for p in field.parameters()) if isinstance(field, StoredField) else 0
        return _GENERAL * max(min(stored, 1 << 18), 1 << 15)
    factors = [factor for group in plan.groups for factor in group]
    factors += [plan.trunk.modulation] if plan.trunk.modulation else []
    searches = _SEARCH if plan.functions or isinstance(plan.head, RadialColours) else 0
    reads = sum(factor.levels.count << len(factor.axes) for factor in factors)
    colour = getattr(plan.head, "layers", ())
    return _READ * reads + searches + sum(layer.numel() for layer in (*plan.trunk.weights, *colour))


def uses(teacher: Field, student: Field, samples: float) -> int:
    """Return how often each of a teacher's answers is used, so that the teacher has about a sixth of the time.

    samples are those that a teacher evaluates for one that it hands out. A student's step takes three times its effort.
    """
    share = samples * effort(teacher) / (3 * effort(student))
    return min(max(math.ceil(_STUDENT * share), 1), _MOST)
