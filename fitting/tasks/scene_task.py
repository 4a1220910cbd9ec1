"""SceneTask: a radiance field of photographs with poses, measured on the views held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from polyfield.data.scene import Scene
from polyfield.errors import PolyfieldError
from polyfield.fields import Field, FieldSpec, Meaning, Points
from polyfield.fields.context import FieldContext
from polyfield.fields.registry import architecture
from polyfield.fitting.fit import Fit
from polyfield.fitting.losses import Term
from polyfield.fitting.metrics.images import mean
from polyfield.fitting.metrics.views import evaluate
from polyfield.fitting.rays.lattice import lattice
from polyfield.fitting.rays.photographs import Photographs
from polyfield.fitting.rays.queued import TOTALS
from polyfield.fitting.rays.ray_objective import LOSS, RANGES, RayObjective, fused_delta
from polyfield.fitting.rays.visible import visible
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.runs.devices import device_of
from polyfield.fitting.tasks.memory import Memory, is_fused, predict, predict_on_gpu
from polyfield.fitting.tasks.sizing import largest, size_of
from polyfield.fitting.tasks.task import Evaluation, MakeObjective, Task
from polyfield.kernels.dispatch import form
from polyfield.progress import Progress, part, silent
from polyfield.rendering.pictures.depth import depth_picture
from polyfield.rendering.radiance.rendering import Rendering
from polyfield.rendering.radiance.sampling import cascades
from polyfield.rendering.renderers import RadianceRenderer

_SHEET_VIEWS = 4
_FIRST_FIT = 200  # steps of the fit that shows where a scene has detail


class SceneTask(Task):
    """The task of a scene. A scene with times has a moving field."""

    objective_ranges = RANGES
    counts = TOTALS

    def __init__(self, scene: Scene) -> None:
        self.scene, self.name = scene, scene.name
        self.meaning = Meaning.of("radiance", scene.domain, moving=scene.cameras.times is not None)
        # Defaults suit scenes at rest of any resolution.
        self.resolution = int(scene.cameras.sizes.max()) if self.meaning.moving else None
        self.times = (
            0 if scene.cameras.times is None else len(scene.cameras.times[list(scene.train)].unique())
        )

    def summary(self) -> dict[str, Any]:
        return self.scene.summary()

    # -- memory

    def forecast(self, spec: FieldSpec, config: FitConfig) -> Memory:
        device = torch.device(device_of(config.device))
        pixels = int(self.scene.cameras.sizes.prod(1).sum())
        loss = [Term.from_json(term) for term in config.loss] or self.loss()
        fused = fused_delta(loss) is not None and is_fused(spec, form(device))
        if device.type == "cpu":
            return predict(spec, pixels=pixels, fused=fused)
        return predict_on_gpu(spec, pixels=pixels, fused=fused, deterministic=config.deterministic)

    def remedy(self, spec: FieldSpec, fits: Callable[[FieldSpec], bool]) -> str:
        if (fitting := largest(spec, fits)) is None:
            return "use a larger --downscale or smaller sizes in --options, or free some memory"
        return f"use --options {architecture(spec.architecture).size_option} {size_of(fitting)}, which fits"

    # -- a fit

    def loss(self) -> Sequence[Term]:
        return LOSS

    def objective(self, config: FitConfig, device: str, progress: Progress) -> MakeObjective:
        scene, train = self.scene, list(self.scene.train)
        cameras, domain = scene.cameras[train], scene.domain
        images, masks = [scene.images[i] for i in train], [scene.masks[i] for i in train]
        source = Photographs(cameras, images, masks, device)
        if not len(source):
            raise PolyfieldError(
                f"{scene.name}: the masks exclude every pixel of the training views; correct or remove the masks"
            )
        count = cascades(domain)
        seen = visible(cameras, domain, count).to(device) if count > 1 else None
        return lambda field, optimiser, terms: RayObjective(
            field,
            optimiser,
            source,
            lattice=lattice(cameras, domain, scene.near),
            seed=config.seed,
            loss=terms,
            visible=seen,
            deterministic=config.deterministic,
        )

    def importance(self, config: FitConfig, device: str, progress: Progress) -> Callable[[Tensor], Tensor]:
        """Return the opacity gradient of a first fit: a hash grid of a few hundred steps."""
        first = replace(
            config,
            field="hashgrid",
            options={"entries": 1 << 15},
            bytes=None,
            bits=None,
            spec=None,
            seconds=None,
            steps=_FIRST_FIT,
        )
        fit, shown = self.begin(first, silent), part(progress, 0.0, 1.0, "finding detail")
        while fit.progress < 1:
            fit.step()
            shown(fit.progress)
        field, length = fit.field, self.meaning.domain.size / 256
        times = torch.full((1,), 0.5, device=field.device) if self.meaning.moving else None

        def opacity(x: Tensor) -> Tensor:
            points = Points(x.to(field.device), times=None if times is None else times.expand(len(x)))
            return -torch.expm1(-field.density(field.raw_in_chunks(points)) * length)

        def gradient(x: Tensor) -> Tensor:
            steps = length * torch.eye(x.shape[-1], device=x.device)
            return torch.stack([opacity(x + step) - opacity(x - step) for step in steps], -1).norm(dim=-1)

        return gradient

    def context(self, fit: Fit) -> FieldContext:
        scene, objective = self.scene, fit.objective
        assert isinstance(objective, RayObjective)
        return FieldContext(
            background=scene.background,
            step_size=objective.lattice.step,
            cone=objective.lattice.cone,
            near=objective.lattice.near,
            occupancy=objective.grid.occupied,
            cameras=scene.cameras[list(scene.train)].to_json(),
            source={
                "scene": scene.name,
                "hashes": {scene.names[i]: scene.hashes[scene.names[i]] for i in scene.train},
            },
        )

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        seconds, totals = max(state["seconds"], 1e-9), state["totals"]
        grid_seconds = state["objective"]["grid_seconds"]
        return {
            "rays_per_second": totals["rays"] / seconds,
            "evaluated_samples_per_second": totals["evaluated"] / seconds,
            "trained_samples_per_second": totals["shaded"] / seconds,
            # Updates that are queued on a GPU are not timed.
            "occupancy_share_of_time": grid_seconds / seconds if grid_seconds else None,
        }

    # -- what is measured

    def measure(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        scene, test = self.scene, list(self.scene.test)
        chosen = {round(i * (len(test) - 1) / max(_SHEET_VIEWS - 1, 1)) for i in range(_SHEET_VIEWS)}
        columns: list[list[Tensor]] = []

        def show(view: int, truth: Tensor, picture: Tensor, rendering: Rendering) -> None:
            if view in chosen:
                columns.append([truth, picture, depth_picture(rendering.depth, rendering.opacity)])

        result = evaluate(
            RadianceRenderer(field, context),
            scene.cameras[test].to(field.device),
            [scene.images[i] for i in test],
            [scene.masks[i] for i in test],
            show=show,
            progress=part(progress, 0.0, 1.0, "evaluating"),
        )
        summary = (
            "no test PSNR: no test view has an unmasked pixel, or all renderings equal their photographs"
        )
        if result["psnr"] < float("inf"):
            summary = f"test PSNR {result['psnr']:.2f} dB over {result['views']} views ({result['protocol']})"
        within = self._within_times()
        if 0 < len(within) < len(test):
            psnr = mean([result["psnr_of_views"][view] for view in within])
            result |= {"views_within_times": len(within), "psnr_within_times": psnr}
            summary += (
                f"; {psnr:.2f} dB over the {len(within)} test views within the training views' time range"
            )
        caption = "test views; photographs, pictures of the field, and its depth"
        sheet = [list(row) for row in zip(*columns, strict=True)]
        return Evaluation(result, summary, sheet, caption, "test-views.png")

    def _within_times(self) -> list[int]:
        """Return the test views, counted from 0, whose time is between the first and the last of the training views."""
        times = self.scene.cameras.times
        if times is None:
            return []
        first, last = times[list(self.scene.train)].aminmax()
        tested = times[list(self.scene.test)]
        return ((tested >= first) & (tested <= last)).nonzero()[:, 0].tolist()
