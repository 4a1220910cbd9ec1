"""The distances at which a scene's rays are sampled, from its cameras and its domain."""

from __future__ import annotations

import math

from polyfield.cameras.cameras import Cameras
from polyfield.fields import Domain
from polyfield.rendering.radiance.sampling import Lattice

# The finest step is 1 / _FINEST of the domain's diagonal, for any resolution of the images.
_FINEST = 1024
# Steps of an unbounded scene are at least this share of the distance.
_LEAST_CONE = 1 / 512


def lattice(cameras: Cameras, domain: Domain, near: float) -> Lattice:
    """Return steps about half as long as a pixel is wide where the cameras look.

    Finer steps cost time and show no more detail, because the images have none.
    """
    distance = float((cameras.c2w[:, :, 3] - cameras.c2w.new_tensor(domain.centre)).norm(dim=1).median())
    pixel = float(1 / cameras.intrinsics[:, 0].median())
    diagonal = 2 * math.hypot(*domain.half_size)
    step = max(distance * pixel / 2, diagonal / _FINEST)
    return Lattice(step, 0.0 if domain.kind == "box" else max(2 * pixel, _LEAST_CONE), near)
