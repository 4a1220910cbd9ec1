"""The verbs of polyfield, one function each: they call their floor and return what they measured.

Heavy modules are imported inside, so that `--help` answers at once.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from polyfield.apps.progress import say, showing
from polyfield.apps.results import plain
from polyfield.errors import PolyfieldError

if TYPE_CHECKING:
    from torch import Tensor

    from polyfield.fit.fit import Fit
    from polyfield.fit.runs.config import FitConfig
    from polyfield.fit.runs.run import Run
    from polyfield.fit.tasks.task import Task

_DEFAULT_SECONDS = 120.0


def fit(
    source: tyro.conf.Positional[str] = "demo",
    /,
    *,
    field: str = "hashgrid",
    signal: str | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    downscale: int = 1,
    size: int | None = None,
    options: dict[str, int | str] | None = None,
    seed: int = 0,
    device: str = "auto",
    deterministic: bool = False,
    out: Path | None = None,
    save_seconds: float = 30.0,
    resume: Path | None = None,
    generation: int | None = None,
) -> dict[str, Any]:
    """Fit a field to photographs with poses, a picture, a mesh, a point cloud or a volume, then measure it.

    Args:
        source: A scene: a folder that holds transforms.json or transforms_train.json, or such a file; a picture (PNG, JPEG,
            WebP, BMP, GIF, EXR); a mesh (OBJ, PLY, STL, GLB, OFF); a point cloud (PLY, PCD, npz, npy); a volume (npy, npz,
            NIfTI, TIFF); or a built-in scene, "demo" or "demo-moving".
        field: The architecture: hashgrid, densegrid, triplane, kplanes, vm, cp or mlp.
        signal: What the field's values mean: radiance of a scene, image, sdf, udf or occupancy of a mesh, udf of a cloud,
            volume. Found by what the source is if not given.
        steps: How long: this many steps. Such a fit can be repeated and resumed bit for bit.
        seconds: Or how long: seconds of training. 120 if neither is given.
        downscale: Average K x K pixels into one.
        size: Take the largest field that stores at most so many bytes; an mlp becomes no wider than 64.
        options: Options of the architecture, e.g. log2_size 19.
        seed: What all randomness follows from.
        device: cpu, cuda, or auto: cuda where there is one.
        deterministic: On a GPU, sum gradients in fixed point, so that a fit of so many steps can be repeated bit for bit
            there too, at some cost in speed: of radiance in a hash grid or a dense grid.
        out: The run's folder; it must not exist. runs/SOURCE-FIELD-N if not given.
        save_seconds: Seconds between checkpoints.
        resume: Go on with this run, by the options it was begun with.
        generation: With --resume, the step of the checkpoint to go on from. The newest if not given.
    """
    from polyfield.apps.sources import absolute, open_again, open_task
    from polyfield.fit.devices import device_of, machine
    from polyfield.fit.runs import session
    from polyfield.fit.runs.config import FitConfig
    from polyfield.fit.runs.run import Run

    if resume is not None:
        given = (
            source,
            field,
            signal,
            steps,
            seconds,
            downscale,
            size,
            options,
            seed,
            device,
            deterministic,
            out,
            save_seconds,
        )
        if given != ("demo", "hashgrid", None, None, None, 1, None, None, 0, "auto", False, None, 30.0):
            raise PolyfieldError("--resume takes the options that the run was begun with; give no others")
        run = Run.open(resume)
        config = FitConfig.of(run.config, str(run.path / "config.json"))
        task = open_again(run, config)
    else:
        if generation is not None:
            raise PolyfieldError("--generation goes with --resume RUN")
        if steps is None and seconds is None:
            seconds = _DEFAULT_SECONDS
        config = FitConfig(
            absolute(source),
            field,
            steps,
            seconds,
            downscale,
            options or {},
            seed,
            device,
            save_seconds,
            deterministic,
            signal or "radiance",
            size,
        )
        device_of(device)
        task = open_task(source, signal, downscale)
        config = replace(config, signal=task.signal)
    say(f"fitting {task.signal}")
    say(f"memory: about {task.memory(config)}")
    with showing("preparing") as progress:
        fitting = task.begin(config, lambda doing, share: progress(share, doing))
    if resume is None:  # only now: a fit that is refused leaves no folder
        run = Run.create(
            out,
            source_name=task.name,
            architecture=field,
            config={**vars(config), "machine": machine(fitting.device)},
            scene=task.summary(),
        )
    with run.lock():
        if resume is not None:
            for warning in session.resume(task, fitting, run, generation):
                say(f"warning: {warning}")
            say(f"{run.path}: going on from step {fitting.steps}")
        return _fit(run, config, task, fitting)


def _fit(run: Run, config: FitConfig, task: Task, fitting: Fit) -> dict[str, Any]:
    from polyfield.fit.runs import session
    from polyfield.fit.runs.loop import train

    made = fitting.field
    say(
        f"{run.path}: {config.field}, {made.parameter_count():,} parameters, {made.stored_bytes():,} bytes, on "
        f"{fitting.device}"
    )
    with showing("fitting") as progress:
        status = train(
            fitting,
            run,
            save_seconds=config.save_seconds,
            report=lambda step: progress(
                fitting.progress, f"step {step.step}, {fitting.rate}, {step.psnr:.1f} dB"
            ),
        )
    took = session.figures(task, fitting, config)
    if status:
        name = signals.Signals(status - 128).name
        say(f"stopped by {name} at step {fitting.steps}; go on with: polyfield fit --resume {run.path}")
        return {"run": str(run.path), "stopped_by": name, **took, "exit_status": status}
    task.save(fitting, run)
    return _evaluate(run, task, took, str(fitting.device))


def evaluate(run: tyro.conf.Positional[Path], /, *, device: str = "auto") -> dict[str, Any]:
    """Measure a run's field: on the views held out, or on what else it was fitted to.

    Args:
        run: A run's folder.
        device: cpu, cuda, or auto: cuda where there is one.
    """
    from polyfield.apps.sources import open_again
    from polyfield.fit.devices import device_of
    from polyfield.fit.runs import session
    from polyfield.fit.runs.config import FitConfig
    from polyfield.fit.runs.run import Run

    opened = Run.open(run)
    config = FitConfig.of(opened.config, str(opened.path / "config.json"))
    task = open_again(opened, config)
    with opened.lock():
        try:
            took = session.figures_of(task, opened, config)
        except PolyfieldError as error:
            say(f"warning: {error}; eval.json will not say what the fit took")
            took = {}
        return _evaluate(opened, task, took, device_of(device))


def _evaluate(run: Run, task: Task, took: dict[str, Any], device: str) -> dict[str, Any]:
    """Evaluate, write eval.json and a picture of what was measured, and return all figures."""
    from polyfield.export.pictures import sheet, write_png

    with showing("evaluating") as progress:
        evaluation = task.evaluate(run, device, lambda doing, share: progress(share, doing))
    result = plain({"run": str(run.path), **took, **evaluation.figures})
    run.write_eval(result)
    if evaluation.sheet:
        path = run.renders / evaluation.file
        write_png(path, sheet(evaluation.sheet))
        say(f"{path}: {evaluation.caption}")
    say(evaluation.said)
    say(f"{result['parameters']:,} parameters, {result['bytes']:,} bytes stored")
    return result


def render(
    source: tyro.conf.Positional[Path],
    /,
    *,
    path: str | None = None,
    out: Path | None = None,
    frames: int = 60,
    fps: float = 30.0,
    size: tuple[int, int] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Render a fitted field: a turntable, test views, a camera path, sections, or a picture. It replaces an earlier one.

    Args:
        source: A run's folder or a .field file.
        path: Of radiance: orbit, test, or a nerfstudio camera_path.json. Of shapes and volumes: orbit or slices. Of an
            image: picture. The first of these if not given.
        out: A video (.mp4), replaced if it is there, or a folder of PNG files: a new one, or one that an earlier
            rendering made, whose frames then go; of slices and pictures a PNG file. In the run's renders if not given.
        frames: How many frames an orbit has.
        fps: Frames per second of a video of an orbit or of test views.
        size: Width and height in pixels of an orbit, slices or a picture. Those of the first training view or of the
            picture if not given; 512 x 512 of shapes and volumes.
        device: cpu, cuda, or auto: cuda where there is one.
    """
    import time

    from polyfield.apps.frames import write_frames
    from polyfield.apps.rendering import draw
    from polyfield.export.pictures import write_png, write_video
    from polyfield.fit.runs.run import Run
    from polyfield.fit.runs.session import open_field

    source = Path(source)
    run = Run.open(source) if source.is_dir() else None
    file = run.field_path if run else source
    field, context = open_field(file, device)
    drawing = draw(file, field, context, run, path=path, frames=frames, size=size, fps=fps)
    if out is None:
        suffix = ".png" if drawing.still else "" if drawing.folder else ".mp4"
        out = (run.renders if run else Path("renders")) / f"{drawing.name}{suffix}"
    out, start = Path(out), time.perf_counter()
    with showing("rendering") as progress:
        pictures = _shown(drawing.pictures, drawing.count, progress)
        if drawing.still:
            if out.suffix != ".png":
                raise PolyfieldError(f"--out {out}: expected a name that ends in .png")
            write_png(out, next(pictures))
        elif out.suffix == ".mp4":
            write_video(out, pictures, fps=drawing.fps)
        elif out.suffix:
            raise PolyfieldError(f"--out {out}: expected a name that ends in .mp4, or a folder for PNG files")
        else:
            write_frames(
                out, pictures, {"source": str(source), "path": drawing.name, "frames": drawing.count}
            )
    seconds = time.perf_counter() - start
    say(f"{out}: {drawing.count} frames" if not drawing.still else f"{out}")
    return {
        "out": str(out),
        "frames": drawing.count,
        "seconds": seconds,
        "seconds_per_frame": seconds / drawing.count,
    }


def _shown(pictures: Iterator[Tensor], count: int, progress: Any) -> Iterator[Tensor]:
    """The pictures, with progress."""
    for number, image in enumerate(pictures):
        yield image
        progress((number + 1) / count)


def doctor(
    scene: tyro.conf.Positional[str | None] = None, /, *, downscale: int = 1, warm: bool = False
) -> dict[str, Any]:
    """Say what polyfield runs on and why, and look a scene over without fitting it.

    Args:
        scene: A scene to open and check, as for fit.
        downscale: Average K x K pixels into one, as for fit.
        warm: Compile the GPU's kernels now, so that no fit has to. They are kept.
    """
    import os
    import platform

    import torch

    import polyfield
    from polyfield.kernels.dispatch import form, instruction_set

    native = instruction_set()
    devices = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    asked = os.environ.get("POLYFIELD_KERNELS")
    report: dict[str, Any] = {
        "polyfield": polyfield.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "native_extension": f"built; uses {native}" if native else "absent: no C++ compiler at installation",
        "threads": torch.get_num_threads(),
        "kernels": {device: form(torch.device(device)) for device in devices},
        "kernels_because": f"POLYFIELD_KERNELS={asked}" if asked else "the fastest form that each device has",
    }
    if warm:
        report["warm_seconds"] = _warm()
    if scene is not None:
        from polyfield.apps.sources import open_scene

        opened = open_scene(scene, downscale)
        report["scene"] = {
            "found": opened.found,
            "views": {"training": len(opened.train), "test": len(opened.test)},
            "skipped": list(opened.skipped),
            "notes": list(opened.notes),
            "megabytes": opened.bytes / 1e6,
            "domain": opened.summary()["domain"],
            "looks_at": opened.cameras.focus().tolist(),
        }
    return report


def _warm() -> float:
    """Compile all kernels of a GPU, and say how long that took. Raises PolyfieldError where there are none."""
    import time

    import torch

    from polyfield.fit.warm import warm
    from polyfield.kernels.dispatch import form

    if not torch.cuda.is_available():
        raise PolyfieldError("--warm: there is no GPU here, and other kernels are compiled at installation")
    if form(torch.device("cuda")) != "cuda":
        raise PolyfieldError(
            "--warm: the kernels in use are PyTorch's; set POLYFIELD_KERNELS=cuda for Triton's"
        )
    start = time.perf_counter()
    with showing("compiling") as progress:
        warm("cuda", progress)
    return time.perf_counter() - start
