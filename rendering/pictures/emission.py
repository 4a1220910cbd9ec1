"""Emission: volumes that glow and absorb, as a transfer function makes colours and extinction of their values."""

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

# From dark violet over red to cream: sRGB, evenly spaced in lightness (CIE L* 6 to 97), hues in one turn.
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
_AT_ONCE = 32  # samples of a ray between two looks at how much light is left
_LEAST_LIGHT = 1e-3  # of less nothing is seen


@dataclass(frozen=True)
class TransferFunction:
    """From a volume's values to what is seen of them.

    One channel is shown in a ramp of colours, and is as dense as it is high; three channels are red, green and blue,
    as dense as they are bright; a fourth is the density. Raises PolyfieldError where the numbers make no sense.
    """

    window: tuple[float, float] = (0.0, 1.0)  # these values become 0 and 1, and what is beyond is held there
    exponent: float = 1.0  # density goes with this power: more leaves only what is high
    extinction: float = 20.0  # optical depth of the box's diagonal where density is 1

    def __post_init__(self) -> None:
        if not (0 < self.exponent < math.inf and 0 <= self.extinction < math.inf):
            raise PolyfieldError(
                f"transfer function: exponent is {self.exponent}, extinction {self.extinction}; expected positive numbers"
            )

    def __call__(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """values (N, C) to extinction (N,) per box diagonal and sRGB (N, 3)."""
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
    """A volume's values (N, C) with those of a window as 0 and 1, and what is beyond held there: (N, C).

    Raises PolyfieldError if C is not 1, 3 or 4, or the window is none.
    """
    low, high = window
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise PolyfieldError(f"volume: window is {low:g} to {high:g}; expected the lower value first")
    if values.shape[1] not in (1, 3, 4):
        raise PolyfieldError(f"volume: it has {values.shape[1]} channels; expected 1, 3 or 4 to show it")
    return ((values - low) / (high - low)).clamp(0, 1)


def ramp(shares: Tensor) -> Tensor:
    """Colours (N, 3) of shares (N,) in [0, 1]: the more, the lighter, and equally so everywhere."""
    colours = shares.new_tensor(_RAMP)
    place = shares * (len(_RAMP) - 1)
    lower = place.long().clamp(max=len(_RAMP) - 2)
    return torch.lerp(colours[lower], colours[lower + 1], (place - lower)[:, None])


class Emission(NamedTuple):
    """What was seen along R rays."""

    colour: Tensor  # (R, 3) on the background
    opacity: Tensor  # (R,)
    depth: Tensor  # (R,) expected distance along the unit ray, 0 where nothing is


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
    """What rays (R,) see of a volume, points (N, 3) -> (N, C), in the box low .. high before a background (3,) or (R, 3).

    Emission and absorption (Max 1995), front to back: a ray is cut into pieces of `step` (units of the source), the
    last one shorter, and asks in the middle of each. It ends where 0.1 % of the light is left. 32 samples of every
    ray are held at once: the caller bounds the number of rays. Raises PolyfieldError if step is not positive.
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
