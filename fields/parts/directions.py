"""Spherical harmonics of directions: smooth functions on the sphere, which are inputs of colour networks."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def spherical_harmonics(directions: Tensor, degree: int) -> Tensor:
    """Return real orthonormal spherical harmonics ([B,] N, degree^2) of unit directions ([B,] N, 3).

    They have orders l < degree <= 5. They are in order of l and then of m = -l..l, without the
    Condon-Shortley phase. The recurrence of the associated Legendre polynomials is written in x, y, z, so the
    poles are not special cases: P_m^m = (2m - 1)!!, and (l - m) P_l^m = (2l - 1) z P_{l-1}^m - (l + m - 1)
    P_{l-2}^m.
    """
    x, y, z = directions.unbind(-1)
    columns: list[Tensor] = [torch.empty(0)] * degree**2
    cosine, sine = torch.ones_like(x), torch.zeros_like(x)  # sin^m(theta) times cos(m phi) and sin(m phi)
    for m in range(degree):
        before = torch.zeros_like(x)
        legendre = torch.full_like(x, float(math.prod(range(1, 2 * m, 2))))
        for order in range(m, degree):
            scale = math.sqrt(
                (2 * order + 1) / (4 * math.pi) * math.factorial(order - m) / math.factorial(order + m)
            )
            if m == 0:
                columns[order**2 + order] = scale * legendre
            else:
                columns[order**2 + order + m] = math.sqrt(2) * scale * legendre * cosine
                columns[order**2 + order - m] = math.sqrt(2) * scale * legendre * sine
            following = ((2 * order + 1) * z * legendre - (order + m) * before) / (order + 1 - m)
            before, legendre = legendre, following
        cosine, sine = x * cosine - y * sine, x * sine + y * cosine
    return torch.stack(columns, -1)
