"""Warming: a fit and a picture of nothing in particular, so that all kernels of the default field are compiled.

Triton compiles a kernel at its first launch and keeps it on disk; after this, no fit waits for that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.fields import Domain, FieldSpec
from polyfield.fields.domain import KINDS
from polyfield.fit.rays.pixels import PixelStore
from polyfield.fit.rays.radiance import RadianceFit
from polyfield.fit.schedule import Length
from polyfield.render.radiance.rendering import render_images

_STEPS = 64  # so that the occupancy grid comes to all of its resolutions


def warm(device: str, report: Callable[[float], None], **options: int) -> None:
    """Fit default fields, or with these options, of both kinds of domain on a device. report gets the share done."""
    eye = torch.tensor([[3.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
    poses = look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    cameras = Cameras.perspective(poses, focal=60.0, size=(64, 48))
    picture = np.full((48, 64, 4), 40_000, np.uint16)
    picture[:, 20:40] = 65_535
    pixels = PixelStore(cameras, [picture] * len(cameras), [None] * len(cameras), device)
    for number, kind in enumerate(KINDS):
        spec = FieldSpec.of("hashgrid", "radiance", Domain(kind, (0.0,) * 3, (1.0,) * 3), **options)
        fit = RadianceFit(spec, cameras, pixels, near=0.1, length=Length(steps=_STEPS), seed=0, device=device)
        while fit.progress < 1:
            fit.step()
            report((number + fit.progress) / len(KINDS))
        list(render_images(fit.field, cameras.to(device), range(len(cameras)), fit.sampler()))
