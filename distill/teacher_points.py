"""TeacherPoints: a teacher's samples, with what it says there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polyfield.distill.important import with_important
from polyfield.distill.poses import Poses, rays_of
from polyfield.distill.teacher import Answers, Teacher
from polyfield.fields import Points
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.kernels import random_bits, uniform

POOL = 1 << 18  # samples; fewer of a teacher that is nearly empty, and at least LEAST
LEAST = 1 << 14  # so that a step has as many as it asks for
_MOST = 2 * POOL  # a hazy teacher has hundreds of samples a ray
SAMPLES = 6.0  # whose evaluation takes as long as finding one that light reaches
_RAYS, _POSES = 1 << 14, 128  # at a time, of rays and of poses
_MOST_TRIES = 16  # times that many rays, before a teacher counts as empty


class TeacherPoints(PointSource):
    """Samples on random rays through a teacher, in a pool that is shuffled, used `uses` times, and drawn anew.

    With `important`, every other sample is one
    that makes most of its ray's colour.
    """

    parts = ("raw", "features", "colour")
    ranges = {"pool": (-1, 10**9), "taken": (0, 1 << 40), "used": (0, 10**6), "seconds": (0, 10**9)}  # noqa: RUF012

    def __init__(
        self,
        teacher: Teacher,
        poses: Poses,
        *,
        uses: int,
        important: bool = False,
    ) -> None:
        self._teacher, self._poses, self._uses = teacher, poses, uses
        self._important = important
        self._number, self._taken, self._used = -1, 0, 0
        self.seconds = 0.0  # that the teacher took for all pools
        self._pool: Targets | None = None

    @torch.no_grad()
    def draw(self, count: int, *, seed: int, step: int) -> Targets:
        if self._number < 0:
            self._next(seed)
        if self._pool is None:
            self._pool = self._drawn(seed)
        if self._taken + count > len(self._pool.points):
            self._taken, self._used = 0, self._used + 1
            if self._used >= self._uses:
                self._next(seed)
        pool, some = self._pool, slice(self._taken, self._taken + count)
        self._taken += count
        assert pool.raw is not None and pool.features is not None and pool.colour is not None
        return Targets(pool.points[some], pool.raw[some], pool.features[some], pool.colour[some])

    def _next(self, seed: int) -> None:
        self._number, self._taken, self._used = self._number + 1, 0, 0
        self._pool = self._drawn(seed)

    def _drawn(self, seed: int) -> Targets:
        """Return pool `_number`, the same for the same seed."""
        start = self._teacher.seconds
        parts: list[Answers] = []
        for turn in range(_MOST_TRIES):
            step = self._number * _MOST_TRIES + turn
            cameras = self._poses.at(*self._poses.draw(_POSES, seed=seed, step=step))
            _, rays = rays_of(cameras, _RAYS, seed=seed, step=step)
            jitter = uniform((_RAYS,), seed=seed, stream="jitter", step=step, device=rays.origins.device)
            found = self._teacher.answers(rays, jitter)
            parts.append(with_important(found, _RAYS) if self._important else found)
            if sum(len(part.raw) for part in parts) >= POOL:
                break
        self.seconds += self._teacher.seconds - start
        x, directions, raw, features, colour = (
            torch.cat([pick(part) for part in parts])
            for pick in (
                lambda part: part.points.x,
                lambda part: part.points.directions,
                lambda part: part.raw,
                lambda part: part.features,
                lambda part: part.colour,
            )
        )
        times = torch.cat([part.points.times for part in parts if part.points.times is not None] or [x[:0]])
        if not len(x):  # a teacher that is empty: any points of its domain, with the lowest density
            return self._empty(seed)
        keys = random_bits((len(x),), seed=seed, stream="shuffle", step=self._number, device=x.device)
        order = keys.argsort(stable=True)[:_MOST]
        order = order.repeat(-(-LEAST // len(order)))
        there = Points(x[order], directions[order], times[order] if len(times) else None)
        return Targets(there, raw[order], features[order], colour[order])

    def _empty(self, seed: int) -> Targets:
        domain, device = self._teacher.field.meaning.domain, self._teacher.field.device
        local = uniform((POOL, 3), seed=seed, stream="nowhere", step=self._number, device=device) * 2 - 1
        times = (local[:, 0] + 1) / 2 if self._teacher.field.meaning.moving else None
        points = Points(domain.to_world(local), torch.nn.functional.normalize(local, dim=1), times)
        vector = self._teacher.field.features(points[:1]).vector.shape[1]
        raw = torch.full((POOL, 1), self._teacher.field.meaning.transform.clamp[0], device=device)
        features = torch.zeros(POOL, vector, device=device)
        return Targets(points, raw, features, torch.zeros_like(local))

    def state(self) -> dict[str, Any]:
        return {"pool": self._number, "taken": self._taken, "used": self._used, "seconds": self.seconds}

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self._number, self._taken, self._used = state["pool"], state["taken"], state["used"]
        self.seconds = state["seconds"]
        self._pool = None
