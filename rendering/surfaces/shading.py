"""Shading: the light on a surface of which only the shape is known."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras.rays import Rays
from polyfield.rendering.surfaces.tracing import SurfaceHits

# Shares of the albedo: everywhere; from the camera, by the cosine; from the sky, half of it at the horizon.
_AMBIENT, _HEADLIGHT, _SKY = 0.05, 0.45, 0.5


def shade(hits: SurfaceHits, normals: Tensor, rays: Rays, *, albedo: Tensor, light: Tensor) -> Tensor:
    """Return colours (R, 3) in sRGB of the surfaces that rays (R,) met, with unit normals (R, 3).

    Colours are 0 for rays that met nothing. albedo (3,) or (R, 3) in [0, 1] is the colour of a surface that
    faces both camera and sky. light (3,) is the direction towards the middle of the sky, in the world.
    """
    # A learned normal may point away from the camera; its surface must not be black.
    headlight = (normals * rays.directions).sum(-1).abs()
    sky = (1 + normals @ normalize(light, dim=0)) / 2
    bright = _AMBIENT + _HEADLIGHT * headlight + _SKY * sky
    return albedo * (bright * hits.hit)[:, None]
