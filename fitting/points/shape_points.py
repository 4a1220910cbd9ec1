"""ShapePoints: points near a shape, and what its field should say there.

No point is on the surface itself. Where many are, a field learns to be flat there, and its sign and normals are noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from polyfield.fields import Domain, Points
from polyfield.fitting.points.source import PointSource, Targets
from polyfield.kernels import random_bits
from polyfield.progress import Progress

POOL = 4_000_000  # points
_UNIFORM = 0.25  # share of the pool that lies anywhere in the domain; the rest lies near the surface
_AT_ONCE = 500_000

Surface = Callable[[int, int], np.ndarray]  # count and seed to points (N, 3) float64 of the shape
Label = Callable[[np.ndarray], np.ndarray]  # source points (N, 3) float64 to raw values (N,) float32


class ShapePoints(PointSource):
    """Points are drawn from a pool, whose values are computed once.

    Those near the surface are displaced by normal numbers of the standard deviations `near`, in half longest sides.
    """

    def __init__(
        self,
        surface: Surface,
        label: Label,
        domain: Domain,
        *,
        near: tuple[float, ...],
        seed: int,
        device: str,
        progress: Progress,
    ) -> None:
        random = np.random.Generator(np.random.Philox(seed))
        centre, half = np.array(domain.centre), np.array(domain.half_size)
        points, values = np.empty((POOL, 3), np.float32), np.empty((POOL, 1), np.float32)
        for start in range(0, POOL, _AT_ONCE):
            stop = min(start + _AT_ONCE, POOL)
            anywhere = round((stop - start) * _UNIFORM)
            others = stop - start - anywhere
            away = random.standard_normal((others, 3)) * np.resize(near, others)[:, None] * half.max()
            x = np.concatenate(
                (
                    centre + half * random.uniform(-1, 1, (anywhere, 3)),
                    surface(others, start + 1) - domain.origin + away,
                )
            )
            points[start:stop] = np.clip(x, centre - half, centre + half)  # a field has no values outside
            values[start:stop, 0] = label(points[start:stop].astype(np.float64) + domain.origin)
            progress(stop / POOL)
        self._points, self._values = torch.from_numpy(points).to(device), torch.from_numpy(values).to(device)

    def draw(self, count: int, *, seed: int, step: int) -> Targets:
        bits = random_bits((count,), seed=seed, stream="shape", step=step, device=self._points.device)
        row = bits * POOL >> 32  # scaled, not modulo, so that no point is favoured
        return Targets(Points(self._points[row]), raw=self._values[row])
