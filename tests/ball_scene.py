"""A red ball that six small cameras look at, and fits of radiance fields to their pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.fields import Domain, FieldSpec, create
from polyfield.fields.context import FieldContext
from polyfield.fitting.fit import Fit
from polyfield.fitting.metrics.views import evaluate
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rays.lattice import lattice
from polyfield.fitting.rays.photographs import Photographs
from polyfield.fitting.rays.ray_objective import RayObjective
from polyfield.fitting.schedule import Length
from polyfield.rendering.renderers import RadianceRenderer

BOX = Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SPEC = FieldSpec.of("hashgrid", "radiance", BOX, levels=3, entries=1 << 10, finest=32, width=16)
RED = (1.0, 0.2, 0.1, 1.0)


def views(count: int = 6, size: tuple[int, int] = (40, 32)) -> Cameras:
    angle = torch.arange(count) * (2 * math.pi / count)
    eye = torch.stack((3 * angle.cos(), 3 * angle.sin(), torch.full_like(angle, 1.0)), 1)
    up = torch.tensor([0.0, 0.0, 1.0])
    return Cameras.perspective(look_at(eye, torch.zeros(3), up), focal=48.0, size=size)


def pictures(cameras: Cameras) -> list[np.ndarray]:
    """Return an opaque red ball of radius 0.6 on nothing, as every camera sees it."""
    images = []
    for frame in range(len(cameras)):
        rays = cameras.image_rays(frame)
        along = -(rays.origins * rays.directions).sum(1)
        hit = (rays.origins + along[:, None] * rays.directions).norm(dim=1) < 0.6
        rgba = torch.zeros(len(rays), 4)
        rgba[hit] = torch.tensor(RED)
        width, height = cameras.sizes[frame].tolist()
        images.append((rgba * 65535).round().numpy().astype(np.uint16).reshape(height, width, 4))
    return images


def photographs(cameras: Cameras) -> Photographs:
    """Return the pictures of the ball as a source of rays."""
    return Photographs(cameras, pictures(cameras), [None] * len(cameras))


def new_fit(
    steps: int = 60, seed: int = 0, spec: FieldSpec = SPEC, device: str = "cpu", **objective: Any
) -> Fit:
    """Return a fit to the ball at its first step; the rest are options of its objective."""
    cameras = views()
    field = create(spec, seed=seed, device=device)
    field.advance(0.0)
    optimiser = Optimiser(field.parameter_groups(), decay=1e-6)
    descent = RayObjective(
        field,
        optimiser,
        photographs(cameras),
        lattice=lattice(cameras, spec.meaning.domain, 0.0),
        seed=seed,
        **objective,
    )
    return Fit(field, optimiser, descent, length=Length(steps=steps))


def finished(fit: Fit) -> Fit:
    """Return a fit after all of its steps."""
    while fit.progress < 1:
        fit.step()
    return fit


def measured(
    fit: Fit,
    cameras: Cameras,
    images: list[np.ndarray],
    masks: list[np.ndarray | None],
    background: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> dict[str, Any]:
    """Return what the evaluation says of a fit's field now."""
    sampler = fit.objective.sampler(fit.progress)
    renderer = RadianceRenderer(fit.field, FieldContext(background=background), sampler)
    return evaluate(renderer, cameras, images, masks)
