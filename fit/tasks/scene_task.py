"""A radiance field to be fitted to photographs with poses, and measured on the views held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from polyfield.data.scene import Scene
from polyfield.errors import PolyfieldError
from polyfield.fields import FieldSpec
from polyfield.fields.field_file import FieldContext, save_field
from polyfield.fields.registry import architecture, build
from polyfield.fit.devices import device_of
from polyfield.fit.metrics.views import evaluate
from polyfield.fit.rays.pixels import PixelStore
from polyfield.fit.rays.radiance import RANGES, RadianceFit
from polyfield.fit.runs.config import FitConfig
from polyfield.fit.runs.run import Run
from polyfield.fit.runs.session import open_field
from polyfield.fit.tasks.memory import Memory, available, available_on_gpu, predict, predict_on_gpu
from polyfield.fit.tasks.sizing import largest, size_of, suited
from polyfield.fit.tasks.task import Evaluation, Progress
from polyfield.kernels.dispatch import form
from polyfield.render.pictures.depth import depth_picture
from polyfield.render.radiance.rendering import Rendering
from polyfield.render.radiance.sampling import sampler_of

_SHEET_VIEWS = 4


@dataclass(frozen=True)
class SceneTask:
    """The task of a scene."""

    scene: Scene
    ranges: ClassVar[dict[str, tuple[float, float]]] = RANGES
    signal: ClassVar[str] = "radiance"

    @property
    def name(self) -> str:
        return self.scene.name

    def summary(self) -> dict[str, Any]:
        return self.scene.summary()

    def spec(self, config: FitConfig) -> FieldSpec:
        """The field that a fit makes."""
        spec = FieldSpec.of(config.field, "radiance", self.scene.domain, **config.options)
        return suited(spec, None, config.size)

    def memory(self, config: FitConfig) -> Memory:
        device = torch.device(device_of(config.device))
        pixels = int(self.scene.cameras.sizes.prod(1).sum())
        spec = self.spec(config)

        def needed(spec: FieldSpec) -> Memory:
            if device.type == "cpu":
                return predict(spec, pixels=pixels, fused=_is_fused(spec, form(device)))
            fused, repeats = _is_fused(spec, form(device)), config.deterministic
            return predict_on_gpu(spec, pixels=pixels, fused=fused, deterministic=repeats)

        def fits(memory: Memory) -> bool:
            if device.type == "cpu":
                return memory.rest <= free  # the images are there already
            return memory.images + memory.rest <= free

        free = available() if device.type == "cpu" else available_on_gpu(device)
        asked = needed(spec)
        if not fits(asked):
            option = architecture(config.field).size_option
            fitting = largest(spec, lambda smaller: fits(needed(smaller)))
            cure = "give a larger --downscale, or smaller --options"
            if fitting is not None:
                cure = f"--options {option} {size_of(fitting)} fits"
            raise PolyfieldError(
                f"{self.name}: the fit needs about {asked}; {free / 1e9:.1f} GB are free on {device}: {cure}"
            )
        return asked

    def begin(self, config: FitConfig, progress: Progress | None = None) -> RadianceFit:
        """A fit of the training views, at step 0."""
        scene, train = self.scene, list(self.scene.train)
        device = device_of(config.device)
        cameras = scene.cameras[train]
        pixels = PixelStore(
            cameras, [scene.images[i] for i in train], [scene.masks[i] for i in train], device
        )
        if not len(pixels):
            raise PolyfieldError(f"{scene.name}: the masks leave no pixel to fit to")
        return RadianceFit(
            self.spec(config),
            cameras,
            pixels,
            near=scene.near,
            length=config.length,
            seed=config.seed,
            device=device,
            deterministic=config.deterministic,
        )

    def save(self, fit: RadianceFit, run: Run) -> None:
        scene = self.scene
        context = FieldContext(
            background=scene.background,
            step_size=fit.lattice.step,
            cone=fit.lattice.cone,
            near=fit.lattice.near,
            occupancy=fit.grid.occupied,
            cameras=scene.cameras[list(scene.train)].to_json(),
            source={
                "scene": scene.name,
                "hashes": {scene.names[i]: scene.hashes[scene.names[i]] for i in scene.train},
            },
        )
        save_field(run.field_path, fit.field, context)

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        seconds, totals = max(state["seconds"], 1e-9), state["totals"]
        return {
            "rays_per_second": totals["rays"] / seconds,
            "evaluated_samples_per_second": totals["evaluated"] / seconds,
            "trained_samples_per_second": totals["shaded"] / seconds,
            # Updates that are queued on a GPU are not timed.
            "occupancy_share_of_time": state["grid_seconds"] / seconds if state["grid_seconds"] else None,
        }

    def evaluate(self, run: Run, device: str, progress: Progress) -> Evaluation:
        """On the test views."""
        field, context = open_field(run.field_path, device)
        sampler, device = sampler_of(field, context), str(next(field.parameters()).device)
        scene, test = self.scene, list(self.scene.test)
        chosen = {round(i * (len(test) - 1) / max(_SHEET_VIEWS - 1, 1)) for i in range(_SHEET_VIEWS)}
        columns: list[list[Tensor]] = []

        def show(view: int, truth: Tensor, picture: Tensor, rendering: Rendering) -> None:
            if view in chosen:
                columns.append([truth, picture, depth_picture(rendering.depth, rendering.opacity)])

        result = evaluate(
            field,
            sampler,
            scene.cameras[test].to(device),
            [scene.images[i] for i in test],
            [scene.masks[i] for i in test],
            torch.tensor(context.background, device=device),
            show=show,
            progress=lambda done, total: progress("evaluating", done / total),
        )
        said = "no test PSNR: no test view has a pixel that counts, or all pictures are perfect"
        if result["psnr"] < float("inf"):
            said = f"test PSNR {result['psnr']:.2f} dB over {result['views']} views ({result['protocol']})"
        caption = "test views; photographs, pictures of the field, and its depth"
        result |= {"parameters": field.parameter_count(), "bytes": field.stored_bytes()}
        sheet = [list(row) for row in zip(*columns, strict=True)]
        return Evaluation(result, said, sheet, caption, "test-views.png")


def _is_fused(spec: FieldSpec, form: str) -> bool:
    """Whether steps of the field are one kernel, or a queue of them, in a form of the kernels."""
    with torch.device("meta"):
        plan = build(spec).plan()
    one = plan is not None and len(plan.groups) == 1 and len(plan.groups[0]) == 1 and plan.frequencies is None
    return (form == "native" and plan is not None) or (form == "cuda" and one)
