"""Hard poses and hard rays: pools of what a student was worst at (PVD-AL, levels 1 and 2).

As Fang et al. 2024 describe them. Their code sorts the scores of poses in another order than the poses, and so keeps random
ones; here a score belongs to the pose whose rays it was computed from.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from polyfield.kernels import random_bits, uniform

SHARE = 0.1  # of a pool that is hard
POSES, RAYS = 100, 1 << 16  # that are kept
NUMBERS = 12  # of a ray: origin, direction, RGBA, jitter, time
_TURN = math.pi / 20  # at most, about each axis of the world


class HardPoses:
    """The poses that a student was worst at. Scores are mean squared errors of a pose's rays since it was drawn."""

    def __init__(self, count: int, device: torch.device) -> None:
        """count is the number of poses that are drawn at a time."""
        self.filled = 0  # poses kept
        self._frame = torch.zeros(POSES, dtype=torch.int64, device=device)
        self._c2w = torch.zeros(POSES, 3, 4, device=device)
        self._now = (
            torch.zeros(count, dtype=torch.int64, device=device),
            torch.zeros(count, 3, 4, device=device),
        )
        self._sums, self._counts = torch.zeros(2, count, device=device)

    def mixed_in(self, frame: Tensor, c2w: Tensor, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Return poses frame (P,), c2w (P, 3, 4) of which some are hard ones, and keep the worst of the poses before."""
        worst = self._worst(max(int(SHARE * len(frame)), 1))
        if self.filled < POSES:
            slots = torch.arange(self.filled, min(self.filled + len(worst), POSES), device=frame.device)
            self.filled += len(slots)
        else:
            bits = random_bits((len(worst),), seed=seed, stream="hard poses", step=step, device=frame.device)
            slots = bits * POSES >> 32
            frame, c2w = frame.clone(), c2w.clone()
            frame[: len(slots)], c2w[: len(slots)] = self._frame[slots], self._turned(slots, seed, step)
        worst = worst[: len(slots)]
        self._frame[slots], self._c2w[slots] = self._now[0][worst], self._now[1][worst]
        self._now = frame, c2w
        self._sums, self._counts = torch.zeros_like(self._sums), torch.zeros_like(self._counts)
        return frame, c2w

    def _worst(self, count: int) -> Tensor:
        """Return the indices of the poses with the largest mean errors, at most `count` of those that have any."""
        scored = (self._counts > 0).nonzero()[:, 0]
        mean = self._sums[scored] / self._counts[scored]
        return scored[torch.argsort(mean, descending=True, stable=True)[:count]]

    def _turned(self, slots: Tensor, seed: int, step: int) -> Tensor:
        """Return the poses of slots, turned by random angles about the axes of the world; their centres stay."""
        angles = uniform((len(slots), 3), seed=seed, stream="turns", step=step, device=slots.device) * 2 - 1
        zero = torch.zeros_like(angles[:, 0])
        x, y, z = (angles * _TURN).unbind(-1)
        cross = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).view(-1, 3, 3)
        pose = self._c2w[slots]
        return torch.cat((torch.linalg.matrix_exp(cross) @ pose[:, :, :3], pose[:, :, 3:]), -1)

    def learn(self, pose: Tensor, errors: Tensor) -> None:
        """Take the squared errors (R,) of rays of the poses (R,) that were drawn last."""
        self._sums.index_add_(0, pose, errors)
        self._counts.index_add_(0, pose, torch.ones_like(errors))

    def tensors(self) -> dict[str, Tensor]:
        return {
            "frame": self._frame,
            "c2w": self._c2w,
            "now_frame": self._now[0],
            "now_c2w": self._now[1],
            "sums": self._sums,
            "counts": self._counts,
        }

    def restore(self, tensors: dict[str, Tensor], filled: int) -> None:
        own = {name: tensor.clone() for name, tensor in tensors.items()}
        self._frame, self._c2w, self._sums, self._counts = (
            own[name] for name in ("frame", "c2w", "sums", "counts")
        )
        self._now, self.filled = (own["now_frame"], own["now_c2w"]), filled


class HardRays:
    """The rays that a student was worst at. A slot that was drawn gets one of the worst rays of the same step."""

    def __init__(self, device: torch.device) -> None:
        self.filled = 0  # rays kept
        self._rays = torch.zeros(RAYS, NUMBERS, device=device)

    def mixed_in(self, numbers: Tensor, *, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Return rays (R, NUMBERS) of which some are hard ones, and their slots (R,), -1 for all others."""
        slot = torch.full((len(numbers),), -1, dtype=torch.int64, device=numbers.device)
        if self.filled < RAYS:
            return numbers, slot
        every = round(1 / SHARE)  # spread, so that each part of the rays has some
        bits = random_bits(
            (len(slot[::every]),), seed=seed, stream="hard rays", step=step, device=slot.device
        )
        slot[::every] = bits * RAYS >> 32
        numbers = numbers.clone()
        numbers[::every] = self._rays[slot[::every]]
        return numbers, slot

    def learn(self, numbers: Tensor, slots: Tensor, errors: Tensor) -> None:
        """Take rays (R, NUMBERS) and their squared errors (R,), and the slots (S,) from which some were drawn."""
        if self.filled < RAYS:
            slots = torch.arange(
                self.filled, min(self.filled + int(SHARE * len(errors)), RAYS), device=errors.device
            )
            self.filled += len(slots)
        slots = slots.unique()  # a slot that was drawn twice is filled once
        self._rays[slots] = numbers[errors.topk(len(slots)).indices]

    def tensors(self) -> dict[str, Tensor]:
        return {"rays": self._rays}

    def restore(self, tensors: dict[str, Tensor], filled: int) -> None:
        self._rays, self.filled = tensors["rays"].clone(), filled
