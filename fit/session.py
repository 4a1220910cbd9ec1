"""From a scene to a fit, and from a fit to its field file and its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from polyfield.data.scene import Scene
from polyfield.errors import PolyfieldError, naming, shown
from polyfield.fields import Field, FieldSpec
from polyfield.fields.field_file import FieldContext, load_field, save_field
from polyfield.fields.registry import options_of
from polyfield.fit import checkpoints
from polyfield.fit.batches import POOL
from polyfield.fit.config import FitConfig
from polyfield.fit.evaluate import Show, evaluate
from polyfield.fit.memory import Memory, available, available_on_gpu, predict, predict_on_gpu
from polyfield.fit.pixels import PixelStore
from polyfield.fit.radiance import RadianceFit
from polyfield.fit.run import Run
from polyfield.kernels.dispatch import form, instruction_set
from polyfield.render.sampling import Sampler, sampler_of


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


def memory(scene: Scene, config: FitConfig) -> Memory:
    """What a fit will take. Raises PolyfieldError if there is not as much, and says what would fit."""
    device = torch.device(device_of(config.device))
    pixels = int(scene.cameras.sizes.prod(1).sum())

    def needed(**options: int) -> Memory:
        spec = _spec(scene, replace(config, options=config.options | options))
        if device.type == "cpu":
            return predict(spec, pixels=pixels, fused=form(device) == "native")
        fused, repeats = form(device) == "cuda", config.deterministic
        return predict_on_gpu(spec, pixels=pixels, fused=fused, deterministic=repeats)

    def fits(memory: Memory) -> bool:
        if device.type == "cpu":
            return memory.rest <= free  # the images are there already
        return memory.images + memory.rest <= free

    free = available() if device.type == "cpu" else available_on_gpu(device)
    asked = needed()
    if not fits(asked):
        sizes = range(getattr(options_of(config.field, config.options), "log2_size", 0) - 1, 9, -1)
        fitting = next((size for size in sizes if fits(needed(log2_size=size))), None)
        cure = "give a larger --downscale, or smaller --options"
        if fitting is not None:
            cure = f"--options log2_size {fitting} fits"
        raise PolyfieldError(
            f"{scene.name}: the fit needs about {asked}; {free / 1e9:.1f} GB are free on {device}: {cure}"
        )
    return asked


def _spec(scene: Scene, config: FitConfig) -> FieldSpec:
    return FieldSpec.of(config.field, "radiance", scene.domain, **config.options)


def begin(scene: Scene, config: FitConfig) -> RadianceFit:
    """A fit of a scene's training views, at step 0."""
    train = list(scene.train)
    device = device_of(config.device)
    cameras = scene.cameras[train]
    pixels = PixelStore(cameras, [scene.images[i] for i in train], [scene.masks[i] for i in train], device)
    if not len(pixels):
        raise PolyfieldError(f"{scene.name}: the masks leave no pixel to fit to")
    return RadianceFit(
        _spec(scene, config),
        cameras,
        pixels,
        near=scene.near,
        length=config.length,
        seed=config.seed,
        device=device,
        deterministic=config.deterministic,
    )


def machine(fit: RadianceFit) -> dict[str, Any]:
    """What a fit's last bits hang on beside its options, as config.json keeps it."""
    device = fit.grid.density.device
    kernels = form(device)
    return {
        "device": str(device),
        # Native sums do not hang on the number of threads, but their last bits do on the instruction set.
        "kernels": f"{kernels}, {instruction_set()}" if kernels == "native" else kernels,
        "threads": None if kernels == "native" else torch.get_num_threads(),
        "torch": torch.__version__,
    }


def resume(fit: RadianceFit, run: Run, generation: int | None) -> tuple[str, ...]:
    """Put a fit back to a run's newest checkpoint, or to the one of a step. Returns warnings, a line each."""
    warnings = _another_machine(fit, run)
    if generation is None and not checkpoints.begun(run.path):
        if run.field_path.exists():
            raise PolyfieldError(
                f"{shown(run.path)}: holds a field but no checkpoint to go on from; begin a new run"
            )
        warnings.append(f"{shown(run.path)}: nothing was saved before it stopped; starting over")
        return (*warnings, *run.truncate_metrics(0))
    checkpoint = checkpoints.load(run.path, generation)
    _check_state(checkpoint)
    with naming(checkpoint.path):
        fit.restore(checkpoint.tensors, checkpoint.state)
    return (*warnings, *checkpoint.warnings, *run.truncate_metrics(checkpoint.step))


def _another_machine(fit: RadianceFit, run: Run) -> list[str]:
    """A warning where a fit goes on by other means than it began with."""
    then, now = run.config.get("machine"), machine(fit)
    if not isinstance(then, dict):
        return []
    changes = [f"{key} {then.get(key)!r:.40} (now {now[key]!r})" for key in now if then.get(key) != now[key]]
    where = shown(run.path / "config.json")
    return [f"{where}: begun with {', '.join(changes)}; it does not go on bit for bit"] if changes else []


_COUNTS = ("pool", "steps", "seconds", "grid_seconds", "grid_updates", "adam_steps", "bad_in_a_row")
_TOTALS = ("rays", "evaluated", "shaded", "skipped")
# The least and the most that numbers of state.json can be.
_RANGES = {
    "rays": (1, POOL),
    "rays_of_pool": (0, POOL),
    **{key: (0, 10**9) for key in _COUNTS},
    **{f"totals.{key}": (0, 1 << 62) for key in _TOTALS},
}


def _check_state(checkpoint: checkpoints.Checkpoint) -> None:
    """Refuse a state that no fit could have been in; RadianceFit checks more closely of which kinds its values are."""
    where, state = shown(checkpoint.path / checkpoints.STATE), dict(checkpoint.state)
    totals = state.pop("totals", None)
    if isinstance(totals, dict):
        state |= {f"totals.{key}": value for key, value in totals.items()}
    for key, (least, most) in _RANGES.items():
        value = state.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise PolyfieldError(f"{where}: {key} is {value!r:.80}; expected a number from {least} to {most}")
    if state["steps"] != checkpoint.step:
        raise PolyfieldError(f"{where}: steps is {state['steps']}; the folder's name says {checkpoint.step}")


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
    repeats = fit.length.steps is not None and (fit.deterministic or fit.grid.density.device.type == "cpu")
    return _figures(fit.state(), repeats)


def figures_of(run: Run, config: FitConfig) -> dict[str, Any]:
    """What a finished run's fit took. Raises PolyfieldError where its newest checkpoint cannot say."""
    checkpoint = checkpoints.load(run.path)
    _check_state(checkpoint)
    state, begun_on = checkpoint.state, run.config.get("machine")
    if config.length.progress(state["steps"], state["seconds"]) < 1:
        raise PolyfieldError(f"{shown(checkpoint.path)}: is not the end of the fit")
    device = begun_on.get("device") if isinstance(begun_on, dict) else None
    return _figures(state, config.steps is not None and (config.deterministic or device == "cpu"))


def _figures(state: dict[str, Any], repeats: bool) -> dict[str, Any]:
    seconds, totals = max(state["seconds"], 1e-9), state["totals"]
    return {
        "steps": state["steps"],
        "train_seconds": state["seconds"],
        "prepare_seconds": 0.0,
        "rays_per_second": totals["rays"] / seconds,
        "evaluated_samples_per_second": totals["evaluated"] / seconds,
        "trained_samples_per_second": totals["shaded"] / seconds,
        # Updates that are queued on a GPU are not timed.
        "occupancy_share_of_time": state["grid_seconds"] / seconds if state["grid_seconds"] else None,
        "steps_skipped": totals["skipped"],
        "deterministic": repeats,
    }


def open_field(path: Path, device: str) -> tuple[Field, FieldContext, Sampler]:
    """The field of a file on a device, which may be `auto`, its context, and how to sample it."""
    device = device_of(device)
    field, context = load_field(path)
    if context.occupancy is not None:
        context = replace(context, occupancy=context.occupancy.to(device))
    with naming(path):
        return field.to(device), context, sampler_of(field, context)


def evaluate_run(run: Run, scene: Scene, *, device: str, show: Show | None, progress: Any) -> dict[str, Any]:
    """Evaluate a run's field file on the scene's test views; the figures of the field itself beside."""
    field, context, sampler = open_field(run.field_path, device)
    test = list(scene.test)
    result = evaluate(
        field,
        sampler,
        scene.cameras[test].to(device),
        [scene.images[i] for i in test],
        [scene.masks[i] for i in test],
        torch.tensor(context.background, device=device),
        show=show,
        progress=progress,
    )
    return result | {"parameters": field.parameter_count(), "bytes": field.stored_bytes()}
