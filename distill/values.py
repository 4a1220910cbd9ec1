"""TeacherValues: values of a field without directions at random points: pictures, videos, distances, occupancy, volumes."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from polyfield.fields import Field, Meaning, Points
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.kernels import random_bits, uniform

POOL = 1 << 18  # points
SAMPLES = 2.0  # points that a teacher evaluates for one that it hands out
_NEAR = 0.75  # share of a shape's points that lie near its surface
_AWAY = (0.003, 0.01, 0.1)  # standard deviations of their distance from there, in half longest sides
_CLOSE = 0.01  # of the domain's size: how near a candidate is to a surface counts no further


class TeacherValues(PointSource):
    """Points in a pool that is used `uses` times and then drawn anew. `seconds` is the time that the teacher took."""

    ranges = {"pool": (-1, 10**9), "taken": (0, 1 << 40), "used": (0, 10**6), "seconds": (0, 10**9)}  # noqa: RUF012

    def __init__(self, teacher: Field, *, uses: int) -> None:
        self._teacher, self._uses, self.seconds = teacher, uses, 0.0
        self._number, self._taken, self._used = -1, 0, 0
        self._pool: tuple[Points, Tensor] | None = None

    @torch.no_grad()
    def draw(self, count: int, *, seed: int, step: int) -> Targets:
        if self._number < 0:
            self._next(seed)
        if self._pool is None:
            self._pool = self._drawn(seed)
        if self._taken + count > POOL:
            self._taken, self._used = 0, self._used + 1
            if self._used >= self._uses:
                self._next(seed)
        points, raw = self._pool
        some = slice(self._taken, self._taken + count)
        self._taken += count
        return Targets(points[some], raw=raw[some])

    def _next(self, seed: int) -> None:
        self._number, self._taken, self._used = self._number + 1, 0, 0
        self._pool = self._drawn(seed)

    def _drawn(self, seed: int) -> tuple[Points, Tensor]:
        """Return POOL points and raw values (POOL, C) of pool `_number`, the same for the same seed."""
        start, teacher, step = time.perf_counter(), self._teacher, self._number
        device = teacher.device
        unit = uniform((POOL, teacher.meaning.axes), seed=seed, stream="anywhere", step=step, device=device)
        points = placed(teacher.meaning, unit)
        raw = raw_values(teacher, points)
        if teacher.meaning.kind.drawn == "surface":
            near = round(POOL * _NEAR)
            x = points.x.clone()
            middle = 0.5 if teacher.meaning.transform.function == "sigmoid" else 0.0  # at the surface
            x[:near] = self._near(x, raw[:, 0] - middle, near, seed)
            raw[:near] = raw_values(teacher, Points(x[:near]))
            keys = random_bits((POOL,), seed=seed, stream="shuffle", step=step, device=device)
            order = keys.argsort(stable=True)
            points, raw = Points(x[order].contiguous()), raw[order].contiguous()
        self.seconds += time.perf_counter() - start
        return points, raw

    def _near(self, x: Tensor, raw: Tensor, count: int, seed: int) -> Tensor:
        """Return `count` points near the surface: points (N, D) drawn by how near they are to it, and moved a little."""
        domain, step = self._teacher.meaning.domain, self._number
        closeness = (1 / (raw.abs() + _CLOSE).square()).double().cumsum(0)
        numbers = uniform((count,), seed=seed, stream="near", step=step, device=x.device)
        chosen = torch.searchsorted(closeness, numbers.double() * closeness[-1]).clamp(max=len(x) - 1)
        pairs = uniform((2, count, domain.dimensions), seed=seed, stream="away", step=step, device=x.device)
        normal = (-2 * (1 - pairs[0]).log()).sqrt() * (2 * torch.pi * pairs[1]).cos()  # Box and Muller 1958
        away = x.new_tensor(_AWAY)[torch.arange(count, device=x.device) % len(_AWAY), None]
        moved = domain.to_local(x[chosen] + away * max(domain.half_size) * normal)
        return domain.to_world(moved.clamp(-1, 1))

    def state(self) -> dict[str, Any]:
        return {"pool": self._number, "taken": self._taken, "used": self._used, "seconds": self.seconds}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self._number, self._taken, self._used = state["pool"], state["taken"], state["used"]
        self.seconds = state["seconds"]
        self._pool = None


def placed(meaning: Meaning, unit: Tensor) -> Points:
    """Return the points of the unit cube's coordinates (N, D), of a moving field with times behind those of space."""
    space = meaning.domain.dimensions
    return Points(meaning.domain.from_unit(unit[:, :space]), times=unit[:, space] if meaning.moving else None)


@torch.no_grad()
def vectors(field: Field, points: Points) -> Tensor:
    """Return raw values (N, C) at N points."""
    parts = []
    for some in points.split(field.points_at_once):
        features = field.features(some)
        parts.append(features.vector if features.raw is None else features.raw[:, None])
    return torch.cat(parts).clamp(*field.meaning.transform.clamp)


def raw_values(field: Field, points: Points) -> Tensor:
    """Return what a fit compares raw values with (N, C) at N points: of occupancy probabilities."""
    raw = vectors(field, points)
    return raw.sigmoid() if field.meaning.transform.function == "sigmoid" else raw
