"""One object of a bank of radiance: a folder of posed photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool3d

from polyfield.data.readers import open_scene
from polyfield.errors import PolyfieldError, shown
from polyfield.fields import FieldSpec, Points, StoredField
from polyfield.fitting.metrics.views import evaluate
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks.scene_task import SceneTask
from polyfield.process.bank import OCCUPANCY_CELLS
from polyfield.process.objects import CLOUD_POINTS
from polyfield.process.recipes import Recipe
from polyfield.progress import silent
from polyfield.rendering.renderers import RadianceRenderer

_TEST_VIEWS = 4  # that the quality is measured on
_CANDIDATES = 8  # points for each one of the cloud


@dataclass(frozen=True)
class FittedScene:
    """What a bank keeps of a scene."""

    stored: dict[str, Tensor]
    centre: tuple[float, float, float]
    half_size: float
    quality: dict[str, float]
    cloud: Tensor  # (P, 3) float32 where density is high, in the object's own cube
    occupancy: Tensor  # packed bits of its cells
    context: dict[str, Any]  # what its renderer needs; lengths in half sizes


def fit_scene(spec: FieldSpec, recipe: Recipe, path: str, seed: int, device: str) -> FittedScene:
    """Return the fitted field of a scene. Raises PolyfieldError where the scene's region is not a cube."""
    scene = open_scene(path)
    domain = scene.domain
    half = domain.half_size[0]
    if domain.kind != "box" or domain.rotation is not None or any(h != half for h in domain.half_size):
        raise PolyfieldError(
            f"{shown(path)}: transforms.json describes an unbounded scene, but a bank needs objects in cubic boxes; rename "
            "transforms.json to transforms_train.json, so that the photographs are read as views of an object in a box"
        )
    meaning = replace(spec.meaning, domain=domain)
    if scene.cameras.times is not None:
        raise PolyfieldError(
            f"{shown(path)}: its photographs have times, but a bank stores only still objects; remove the times"
        )
    config = FitConfig(
        source=path,
        field=spec.architecture,
        steps=recipe.steps,
        seed=seed,
        device=device,
        options=spec.options,
        spec=replace(spec, meaning=meaning).to_json(),
    )
    task = SceneTask(scene)
    fit = task.begin(config, silent)
    while fit.progress < 1:
        fit.step()
    context, field = task.context(fit), fit.field
    test = list(scene.test)[:: max(1, len(scene.test) // _TEST_VIEWS)][:_TEST_VIEWS]
    with torch.no_grad():
        found = evaluate(
            RadianceRenderer(field, context),
            scene.cameras[test].to(field.device),
            [scene.images[view] for view in test],
            [scene.masks[view] for view in test],
        )
    assert context.occupancy is not None
    x, y, z = (float(c + o) for c, o in zip(domain.centre, domain.origin))
    return FittedScene(
        field.stored(),
        (x, y, z),
        half,
        {"psnr": found["psnr"], "ssim": found["ssim"]},
        _cloud(field, context.occupancy, seed),
        _packed(context.occupancy),
        {
            "background": list(context.background),
            "step_size": context.step_size / half,
            "cone": context.cone,
            "near": context.near / half,
        },
    )


def _cloud(field: StoredField, occupied: Tensor, seed: int) -> Tensor:
    """Return points (P, 3) of occupied cells, those where the density is highest among several random ones."""
    random = np.random.Generator(np.random.Philox(seed))
    cells = occupied[0].cpu().nonzero().numpy()  # z, y, x
    if not len(cells):
        return torch.zeros(CLOUD_POINTS, 3)
    chosen = cells[random.integers(len(cells), size=CLOUD_POINTS * _CANDIDATES)][:, ::-1]
    local = (chosen + random.random(chosen.shape)) / occupied.shape[-1] * 2 - 1
    x = torch.from_numpy(local.astype(np.float32))
    raw = field.raw_in_chunks(Points(field.meaning.domain.to_world(x).to(field.device))).cpu()
    best = raw.view(CLOUD_POINTS, _CANDIDATES).argmax(1)
    return x.view(CLOUD_POINTS, _CANDIDATES, 3)[torch.arange(CLOUD_POINTS), best]


def _packed(occupied: Tensor) -> Tensor:
    """Return a grid of cells (1, G, G, G) bool as bits of a coarser one; a cell is empty where all of its parts are."""
    factor = max(occupied.shape[-1] // OCCUPANCY_CELLS, 1)
    coarse = max_pool3d(occupied.cpu().float(), factor) > 0
    for axis in (1, 2, 3):
        coarse = coarse.repeat_interleave(OCCUPANCY_CELLS // coarse.shape[axis], axis)
    return torch.from_numpy(np.packbits(coarse.numpy(), bitorder="little"))
