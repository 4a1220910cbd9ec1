"""Slow and obvious: the operations as loops over single numbers, in double precision."""

from __future__ import annotations

import itertools
import math

import numpy as np

from polyfield.kernels import Levels

PRIMES = (1, 2654435761, 805459861, 3674653429)


def interpolate(table: np.ndarray, points: np.ndarray, levels: Levels) -> np.ndarray:
    rows = []
    for point in points.astype(np.float64):
        row = []
        first = 0
        for nodes in levels.resolutions:
            dense = levels.index is not None or math.prod(nodes) <= levels.size
            entries = math.prod(nodes) if dense else levels.size
            position = [min(max(p, 0.0), 1.0) * (n - 1) for p, n in zip(point, nodes)]
            lower = [min(math.floor(p), n - 2) for p, n in zip(position, nodes)]
            value = np.zeros(table.shape[1])
            for corner in itertools.product((0, 1), repeat=len(nodes)):
                node = [i + c for i, c in zip(lower, corner)]
                weight = math.prod(p - i if c else 1 - (p - i) for p, i, c in zip(position, lower, corner))
                if dense:
                    index = sum(i * math.prod(nodes[:axis]) for axis, i in enumerate(node))
                    index = index if levels.index is None else int(levels.index[index])
                else:
                    index = 0
                    for i, prime in zip(node, PRIMES):
                        index ^= (i * prime) % 2**32
                    index %= 1 << (entries - 1).bit_length()
                    index %= entries
                value += weight * table[first + index]
            row.append(value)
            first += -(-entries // 16) * 16
        rows.append(np.concatenate(row))
    return np.array(rows).reshape(len(points), levels.count * table.shape[1])


def distance(u: float, step: float, cone: float) -> float:
    return u * step if cone == 0 or u * cone < 1 else step / cone * math.exp(cone * u - 1)


def march(origins, directions, near, far, occupancy, *, step, cone, jitter) -> list[tuple[int, float, float]]:
    """(ray, t, dt) of every sample, found by walking each ray."""
    found = []
    cells = occupancy.shape[-1]
    for ray in range(len(origins)):
        u = 0.0
        if near[ray] > 0:  # invert the lattice by bisection
            low, high = 0.0, 1e4
            for _ in range(200):
                u = (low + high) / 2
                low, high = (u, high) if distance(u, step, cone) < near[ray] else (low, u)
        u = math.ceil(u - float(jitter[ray])) + float(jitter[ray])
        while (t := distance(u, step, cone)) < far[ray]:
            point = origins[ray] + t * directions[ray]
            reach = float(np.abs(point).max())
            cascade = max(0, math.ceil(math.log2(reach))) if reach > 0 else 0
            if cascade < occupancy.shape[0]:
                cell = np.clip(((point / 2**cascade + 1) / 2 * cells).astype(int), 0, cells - 1)
                if occupancy[cascade, cell[2], cell[1], cell[0]]:
                    found.append((ray, t, distance(u + 0.5, step, cone) - distance(u - 0.5, step, cone)))
            u += 1
    return found


def composite(t, dt, ray, rays, density, colour):
    """Colour, opacity, depth of each ray and the weight of each sample, front to back."""
    colours, opacity, depth, weights = np.zeros((rays, 3)), np.zeros(rays), np.zeros(rays), []
    for r in range(rays):
        light = 1.0
        for i in np.nonzero(ray == r)[0]:
            alpha = 1 - math.exp(-density[i] * dt[i])
            weights.append(light * alpha)
            colours[r] += weights[-1] * colour[i]
            opacity[r] += weights[-1]
            depth[r] += weights[-1] * t[i]
            light *= 1 - alpha
    return colours, opacity, depth, np.array(weights)
