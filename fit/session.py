"""From a scene to a fit, and from a fit to its field file and its figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from polyfield.data.scene import Scene
from polyfield.errors import PolyfieldError
from polyfield.fields import Field, FieldSpec
from polyfield.fields.field_file import FieldContext, load_field, save_field
from polyfield.fit import checkpoints
from polyfield.fit.config import FitConfig
from polyfield.fit.evaluate import Show, evaluate
from polyfield.fit.pixels import PixelStore
from polyfield.fit.radiance import RadianceFit
from polyfield.fit.run import Run
from polyfield.render.sampling import sampler_of


def device_of(name: str) -> str:
    """`auto` is CUDA where there is one. Raises PolyfieldError for a device that is not here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    here = {"cpu"}
    if torch.cuda.is_available():
        here |= {"cuda"} | {f"cuda:{index}" for index in range(torch.cuda.device_count())}
    if name not in here:
        raise PolyfieldError(
            f"--device {name}: there is no such device here; expected auto, {', '.join(sorted(here))}"
        )
    return name


def begin(scene: Scene, config: FitConfig) -> RadianceFit:
    """A fit of a scene's training views, at step 0."""
    train = list(scene.train)
    device = device_of(config.device)
    cameras = scene.cameras[train]
    pixels = PixelStore(cameras, [scene.images[i] for i in train], [scene.masks[i] for i in train], device)
    if not len(pixels):
        raise PolyfieldError(f"{scene.name}: the masks leave no pixel to fit to")
    spec = FieldSpec.of(config.field, "radiance", scene.domain, **config.options)
    return RadianceFit(
        spec, cameras, pixels, near=scene.near, length=config.length, seed=config.seed, device=device
    )


def resume(fit: RadianceFit, run: Run, generation: int | None) -> tuple[str, ...]:
    """Put a fit back to a run's newest checkpoint, or to the one of a step. Returns warnings, a line each."""
    if generation is None and not checkpoints.generations(run.path):
        run.truncate_metrics(0)
        return (f"{run.path}: nothing was saved before it stopped; starting over",)
    checkpoint = checkpoints.load(run.path, generation)
    fit.restore(checkpoint.tensors, checkpoint.state)
    run.truncate_metrics(checkpoint.step)
    return checkpoint.warnings


def save(fit: RadianceFit, scene: Scene, run: Run) -> None:
    """Write the run's field file."""
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


def figures(fit: RadianceFit) -> dict[str, Any]:
    """What the fit took."""
    seconds = max(fit.seconds, 1e-9)
    return {
        "steps": fit.steps,
        "train_seconds": fit.seconds,
        "prepare_seconds": 0.0,
        "rays_per_second": fit.totals["rays"] / seconds,
        "evaluated_samples_per_second": fit.totals["evaluated"] / seconds,
        "trained_samples_per_second": fit.totals["shaded"] / seconds,
        "occupancy_share_of_time": fit.grid_seconds / seconds,
        "steps_skipped": fit.totals["skipped"],
        "deterministic": fit.length.steps is not None and fit.grid.density.device.type == "cpu",
    }


def on_device(field: Field, context: FieldContext, device: str) -> tuple[Field, FieldContext]:
    """A field and its context on a device, which may be `auto`."""
    device = device_of(device)
    if context.occupancy is not None:
        context = replace(context, occupancy=context.occupancy.to(device))
    return field.to(device), context


def evaluate_run(run: Run, scene: Scene, *, device: str, show: Show | None, progress: Any) -> dict[str, Any]:
    """Evaluate a run's field file on the scene's test views; the figures of the field itself beside."""
    field, context = on_device(*load_field(run.field_path), device)
    test = list(scene.test)
    result = evaluate(
        field,
        sampler_of(field, context),
        scene.cameras[test].to(device),
        [scene.images[i] for i in test],
        [scene.masks[i] for i in test],
        torch.tensor(context.background, device=device),
        show=show,
        progress=progress,
    )
    return result | {"parameters": field.parameter_count(), "bytes": field.stored_bytes()}
