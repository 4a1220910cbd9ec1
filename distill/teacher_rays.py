"""TeacherRays: rays with a teacher's picture as their target, more of them where the student is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.distill.hard import NUMBERS, HardPoses, HardRays
from polyfield.distill.poses import Poses, rays_of
from polyfield.distill.teacher import Teacher
from polyfield.fitting.rays.source import POOL, Batch, RaySource, with_noise
from polyfield.fitting.runs.restoring import joined, part
from polyfield.kernels import random_bits, uniform

SAMPLES = 2.0  # whose evaluation takes as long as one of those that a student is trained on
_POSES = 256  # of a pool
_MOST_TRIES = 16  # times that many rays, before those that hit something are repeated


@dataclass(frozen=True)
class TaughtBatch(Batch):
    """Rays with the poses and the slots that they are from."""

    pose: Tensor  # (R,) int64, of those of the pool
    slot: Tensor  # (R,) int64 among the hard rays, or -1


class TeacherRays(RaySource):
    """Random rays that hit something, with their pictures. Each picture is used `uses` times.

    With `hard_poses` a tenth of the poses are those that the student was worst at, moved a little; with `hard_rays` a tenth
    of the rays are those that it was worst at.
    """

    waits = True
    ranges = {"drawn": (0, 10**9), "poses": (0, 10**6), "rays": (0, 1 << 30), "seconds": (0, 10**9)}  # noqa: RUF012

    def __init__(
        self, teacher: Teacher, poses: Poses, *, uses: int, hard_poses: bool = False, hard_rays: bool = False
    ) -> None:
        device = teacher.field.device
        self._teacher, self._poses, self._uses = teacher, poses, uses
        self._hard_poses = HardPoses(_POSES, device) if hard_poses else None
        self._hard_rays = HardRays(device) if hard_rays else None
        self.seconds = 0.0  # that the teacher took for all pictures
        self._drawn = 0  # pools with pictures, up to the present one
        self._picture = torch.zeros(POOL, NUMBERS, device=device)
        self._pose = torch.zeros(POOL, dtype=torch.int64, device=device)

    @torch.no_grad()
    def draw(self, count: int, *, seed: int, step: int | Tensor) -> TaughtBatch:
        assert isinstance(step, int) and count == POOL
        if self._drawn != step // self._uses + 1:
            self._draw_picture(seed, step // self._uses)
        keys = random_bits((count,), seed=seed, stream="shuffle rays", step=step, device=self._pose.device)
        order = keys.argsort(stable=True)
        numbers, pose = self._picture[order], self._pose[order]
        slot = torch.full_like(pose, -1)
        if self._hard_rays:
            numbers, slot = self._hard_rays.mixed_in(numbers, seed=seed, step=step)
        origins, directions, rgba, jitter, times = (
            part.contiguous() for part in numbers.split((3, 3, 4, 1, 1), 1)
        )
        even = torch.ones(count, device=pose.device)
        rays = Rays(origins, directions, times[:, 0] if self._teacher.field.meaning.moving else None)
        batch = with_noise(rays, rgba, even, seed=seed, step=step)
        # At first the student is evaluated at the very samples that the teacher was (but for hard rays), then at others. Measured
        # for 30 s of lego at 1/4, hashgrid to hashgrid, each picture used 7 times: 31.6 dB at the same samples, 31.9 so.
        first = step % self._uses == 0
        own = vars(batch) | ({"jitter": jitter[:, 0]} if first else {})
        return TaughtBatch(**own, pose=pose, slot=slot)

    def _draw_picture(self, seed: int, number: int) -> None:
        frame, c2w = self._poses.draw(_POSES, seed=seed, step=number)
        if self._hard_poses:
            frame, c2w = self._hard_poses.mixed_in(frame, c2w, seed=seed, step=number)
        cameras, found = self._poses.at(frame, c2w), []
        for turn in range(_MOST_TRIES):
            step = number * _MOST_TRIES + turn
            pose, rays = rays_of(cameras, POOL, seed=seed + 1, step=step)
            jitter = uniform((POOL,), seed=seed, stream="teacher", step=step, device=pose.device)
            start = self._teacher.seconds
            rgba = self._teacher.picture(rays, jitter)
            self.seconds += self._teacher.seconds - start
            hit = rgba[:, 3] > 0
            if not hit.any():
                continue
            numbers = _numbers(rays, rgba, jitter)
            found.append((numbers[hit], pose[hit]))
            if sum(len(part) for _, part in found) >= POOL:
                break
        if not found:  # nothing is there: rays of nothing
            found = [(_numbers(rays, rgba, jitter), pose)]
        numbers, poses = (torch.cat(parts) for parts in zip(*found))
        repeated = torch.arange(POOL, device=numbers.device) % len(numbers)
        self._picture, self._pose, self._drawn = numbers[repeated], poses[repeated], number + 1

    @torch.no_grad()
    def learn(self, batch: Batch, errors: Tensor) -> None:
        assert isinstance(batch, TaughtBatch)
        own = batch.slot < 0
        if self._hard_poses:
            self._hard_poses.learn(batch.pose[own], errors[own])
        if self._hard_rays:
            numbers = _numbers(batch.rays, batch.target, batch.jitter)
            self._hard_rays.learn(numbers, batch.slot[~own], errors)

    def tensors(self) -> dict[str, Tensor]:
        return {"picture": self._picture, "pose": self._pose} | joined(
            poses=self._hard_poses.tensors() if self._hard_poses else {},
            rays=self._hard_rays.tensors() if self._hard_rays else {},
        )

    def state(self) -> dict[str, Any]:
        return {
            "drawn": self._drawn,
            "poses": self._hard_poses.filled if self._hard_poses else 0,
            "rays": self._hard_rays.filled if self._hard_rays else 0,
            "seconds": self.seconds,
        }

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self._drawn, self._picture, self._pose = state["drawn"], tensors["picture"], tensors["pose"]
        self.seconds = state["seconds"]
        if self._hard_poses:
            self._hard_poses.restore(part(tensors, "poses"), state["poses"])
        if self._hard_rays:
            self._hard_rays.restore(part(tensors, "rays"), state["rays"])


def _numbers(rays: Rays, rgba: Tensor, jitter: Tensor) -> Tensor:
    """Return what a pool keeps of rays, (R, NUMBERS). Without times they are 0."""
    times = torch.zeros_like(jitter) if rays.times is None else rays.times
    return torch.cat((rays.origins, rays.directions, rgba, jitter[:, None], times[:, None]), 1)
