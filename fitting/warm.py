"""Warming: a short fit and a picture, so that all kernels of the default field are compiled.

Triton compiles a kernel at its first launch and keeps it on disk; after this, no fit waits for it.
"""

from __future__ import annotations

import numpy as np
import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.fields import Domain, FieldSpec, create
from polyfield.fields.domain import KINDS
from polyfield.fitting.fit import Fit
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rays.lattice import lattice
from polyfield.fitting.rays.photographs import Photographs
from polyfield.fitting.rays.ray_objective import RayObjective
from polyfield.fitting.schedule import Length
from polyfield.progress import Progress
from polyfield.rendering.radiance.pictures import RadiancePictures

_STEPS = 64  # enough for every resolution of the occupancy grid


def warm(device: str, report: Progress, **options: int) -> None:
    """Fit default fields, or fields with these options, of both kinds of domain on a device."""
    eye = torch.tensor([[3.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
    poses = look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    cameras = Cameras.perspective(poses, focal=60.0, size=(64, 48))
    picture = np.full((48, 64, 4), 40_000, np.uint16)
    picture[:, 20:40] = 65_535
    source = Photographs(cameras, [picture] * len(cameras), [None] * len(cameras), device)
    for number, kind in enumerate(KINDS):
        domain = Domain(kind, (0.0,) * 3, (1.0,) * 3)
        field = create(FieldSpec.of("hashgrid", "radiance", domain, **options), device=device)
        optimiser = Optimiser(field.parameter_groups(), decay=0.0)
        objective = RayObjective(field, optimiser, source, lattice=lattice(cameras, domain, 0.1), seed=0)
        fit = Fit(field, optimiser, objective, length=Length(steps=_STEPS))
        while fit.progress < 1:
            fit.step()
            report((number + fit.progress) / len(KINDS))
        pictures, there = RadiancePictures(field, objective.sampler(1.0)), cameras.to(device)
        for view in range(len(there)):
            pictures.render(there, view)
