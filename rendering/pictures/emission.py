"""Emission: volumes that emit and absorb light.

A transfer function maps their values to colour and extinction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.errors import PolyfieldError
from polyfield.kernels import RaySamples, composite
from polyfield.rendering.surfaces.tracing import clip

# From dark violet through red to cream: sRGB, evenly spaced in lightness (CIE L* 6 to 97), hues in one turn.
_RAMP = (
    (0.07, 0.06, 0.16),
    (0.30, 0.11, 0.38),
    (0.58, 0.16, 0.46),
    (0.82, 0.29, 0.41),
    (0.97, 0.50, 0.36),
    (0.98, 0.77, 0.46),
    (1.00, 0.97, 0.85),
)
_LUMINANCE = (0.2126, 0.7152, 0.0722)  # of red, green and blue (Rec. 709)
_AT_ONCE = 32  # samples of a ray between two checks of its remaining light
_LEAST_LIGHT = 1e-3  # a ray ends when less of its light remains


@dataclass(frozen=True)
class TransferFunction:
    """A map from a volume's values to colour and extinction.

    One channel is shown in a ramp of colours, and its value is the density. Three channels are red, green and
    blue, and their luminance is the density. A fourth channel is the density. Raises PolyfieldError if the
    numbers make no sense.
    """

    window: tuple[float, float] = (0.0, 1.0)  # these values become 0 and 1; values beyond are clamped
    exponent: float = 1.0  # the density is raised to this power: a larger one shows only high values
    extinction: float = 20.0  # optical depth of the box's diagonal where density is 1

    def __post_init__(self) -> None:
        if not (0 < self.exponent < math.inf and 0 <= self.extinction < math.inf):
            raise PolyfieldError(
                f"transfer function: exponent is {self.exponent} and extinction is {self.extinction}; "
                "expected a finite exponent above 0 and a finite extinction of at least 0"
            )

    def __call__(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return extinction (N,) per box diagonal, and sRGB (N, 3), of values (N, C)."""
        shares = windowed(values, self.window)
        match shares.shape[1]:
            case 1:
                dense, colour = shares[:, 0], ramp(shares[:, 0])
            case 3:
                dense, colour = shares @ shares.new_tensor(_LUMINANCE), shares
            case _:
                dense, colour = shares[:, 3], shares[:, :3]
        return self.extinction * dense**self.exponent, colour


def windowed(values: Tensor, window: tuple[float, float]) -> Tensor:
    """Return a volume's values (N, C), with the window mapped to [0, 1] and values beyond it clamped.

    Raises PolyfieldError if C is not 1, 3 or 4, or the window's first value is not the lower one.
    """
    low, high = window
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise PolyfieldError(
            f"volume: window is {low:g} to {high:g}; expected two finite values, the lower one first"
        )
    if values.shape[1] not in (1, 3, 4):
        raise PolyfieldError(
            f"volume: the field has {values.shape[1]} channels; only fields with 1, 3 or 4 can be shown"
        )
    return ((values - low) / (high - low)).clamp(0, 1)


def ramp(shares: Tensor) -> Tensor:
    """Return colours (N, 3) of shares (N,) in [0, 1]. Lightness grows uniformly with the share."""
    colours = shares.new_tensor(_RAMP)
    place = shares * (len(_RAMP) - 1)
    lower = place.long().clamp(max=len(_RAMP) - 2)
    return torch.lerp(colours[lower], colours[lower + 1], (place - lower)[:, None])


class Emission(NamedTuple):
    """Colours, opacities and depths of R rays."""

    colour: Tensor  # (R, 3) on the background
    opacity: Tensor  # (R,)
    depth: Tensor  # (R,) expected distance along the unit ray, 0 for empty rays


@torch.no_grad()
def render_emission(
    values: Callable[[Tensor], Tensor],
    low: Sequence[float],
    high: Sequence[float],
    rays: Rays,
    transfer: TransferFunction,
    *,
    step: float,
    background: Tensor,
) -> Emission:
    """Return what rays (R,) see of a volume, points (N, 3) -> (N, C), in the box low .. high.

    The background is (3,) or (R, 3). Emission and absorption (Max 1995) are composited front to back. A ray
    is cut into pieces of `step` (units of the source), the last one shorter. The volume is evaluated in the
    middle of each piece. A ray ends where 0.1 % of its light remains. 32 samples of every ray are held at
    once, so the caller must bound the number of rays. Raises PolyfieldError if step is not positive.
    """
    if not step > 0:
        raise PolyfieldError(f"volume: step is {step}; expected a positive length")
    near, far = clip(rays, low, high)
    diagonal = math.dist(low, high)
    light, depth, colour = torch.ones_like(near), torch.zeros_like(near), torch.zeros_like(rays.origins)
    pieces = torch.arange(_AT_ONCE, device=near.device)
    alive = (far > near).nonzero()[:, 0]
    while len(alive):
        start = near[alive, None] + step * pieces
        dt = (far[alive, None] - start).clamp(max=step)
        row, column = (dt > 0).nonzero(as_tuple=True)
        dt = dt[row, column]
        t, ray = start[row, column] + dt / 2, alive[row]
        extinction, glow = transfer(values(rays.origins[ray] + t[:, None] * rays.directions[ray]))
        seen = composite(RaySamples.pack(t, dt, row, len(alive)), extinction / diagonal, glow)
        colour[alive] += light[alive, None] * seen.colour
        depth[alive] += light[alive] * seen.depth
        light[alive] *= 1 - seen.opacity
        pieces = pieces + _AT_ONCE
        alive = alive[(light[alive] > _LEAST_LIGHT) & (near[alive] + step * pieces[0] < far[alive])]
    opacity = 1 - light
    return Emission(colour + light[:, None] * background, opacity, depth / opacity.clamp(min=1e-10))
