"""The verbs of polyfield, one function each: they call their floor and return what they measured.

Heavy modules are imported inside, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from polyfield.apps.progress import say, showing
from polyfield.apps.results import plain
from polyfield.errors import PolyfieldError, naming, shown

if TYPE_CHECKING:
    from torch import Tensor

    from polyfield.data.scene import Scene
    from polyfield.fit.run import Run
    from polyfield.render.cameras import Cameras

_DEFAULT_SECONDS = 120.0
_SHEET_VIEWS = 4  # on the picture that fit and eval make


def fit(
    source: tyro.conf.Positional[str] = "demo",
    /,
    *,
    field: str = "hashgrid",
    steps: int | None = None,
    seconds: float | None = None,
    downscale: int = 1,
    options: dict[str, int] | None = None,
    seed: int = 0,
    device: str = "auto",
    deterministic: bool = False,
    out: Path | None = None,
    save_seconds: float = 30.0,
    resume: Path | None = None,
    generation: int | None = None,
) -> dict[str, Any]:
    """Fit a radiance field to photographs with poses, then evaluate it on the views held out.

    Args:
        source: A scene: a folder that holds transforms.json or transforms_train.json, or such a file; or a built-in
            scene, "demo" or "demo-moving".
        field: The architecture: hashgrid or mlp.
        steps: How long: this many steps. Such a fit can be repeated and resumed bit for bit.
        seconds: Or how long: seconds of training. 120 if neither is given.
        downscale: Average K x K pixels into one.
        options: Options of the architecture, e.g. log2_size 19.
        seed: What all randomness follows from.
        device: cpu, cuda, or auto: cuda where there is one.
        deterministic: On a GPU, sum gradients in fixed point, so that a fit of so many steps can be repeated bit for bit
            there too, at some cost in speed.
        out: The run's folder; it must not exist. runs/SOURCE-FIELD-N if not given.
        save_seconds: Seconds between checkpoints.
        resume: Go on with this run, by the options it was begun with.
        generation: With --resume, the step of the checkpoint to go on from. The newest if not given.
    """
    from polyfield.apps.scenes import BUILT_IN, open_again, open_source
    from polyfield.fit import session
    from polyfield.fit.config import FitConfig
    from polyfield.fit.run import Run

    if resume is not None:
        given = (
            source,
            field,
            steps,
            seconds,
            downscale,
            options,
            seed,
            device,
            deterministic,
            out,
            save_seconds,
        )
        if given != ("demo", "hashgrid", None, None, 1, None, 0, "auto", False, None, 30.0):
            raise PolyfieldError("--resume takes the options that the run was begun with; give no others")
        run = Run.open(resume)
        config = FitConfig.of(run.config, str(run.path / "config.json"))
        scene = open_again(run, config.source, config.downscale)
        say(f"memory: about {session.memory(scene, config)}")
        fitting = session.begin(scene, config)
    else:
        if generation is not None:
            raise PolyfieldError("--generation goes with --resume RUN")
        if steps is None and seconds is None:
            seconds = _DEFAULT_SECONDS
        place = source if source in BUILT_IN else str(Path(source).resolve())
        config = FitConfig(
            place, field, steps, seconds, downscale, options or {}, seed, device, save_seconds, deterministic
        )
        session.device_of(device)
        scene = open_source(source, downscale)
        say(f"memory: about {session.memory(scene, config)}")
        fitting = session.begin(scene, config)  # before the run: a fit that is refused leaves no folder
        run = Run.create(
            out,
            source_name=scene.name,
            architecture=field,
            config={**vars(config), "machine": session.machine(fitting)},
            scene=scene.summary(),
        )
    with run.lock():
        if resume is not None:
            for warning in session.resume(fitting, run, generation):
                say(f"warning: {warning}")
            say(f"{run.path}: going on from step {fitting.steps}")
        return _fit(run, config, scene, fitting)


def _fit(run: Run, config: Any, scene: Scene, fitting: Any) -> dict[str, Any]:
    from polyfield.fit import session
    from polyfield.fit.loop import train

    parameters = fitting.field.parameter_count()
    say(f"{run.path}: {config.field}, {parameters:,} parameters, on {fitting.grid.density.device}")
    with showing("fitting") as progress:
        status = train(
            fitting,
            run,
            save_seconds=config.save_seconds,
            report=lambda step: progress(
                fitting.progress,
                f"step {step.step}, {fitting.totals['rays'] / fitting.seconds:,.0f} rays/s, {step.psnr:.1f} dB",
            ),
        )
    if status:
        name = signal.Signals(status - 128).name
        say(f"stopped by {name} at step {fitting.steps}; go on with: polyfield fit --resume {run.path}")
        return {"run": str(run.path), "stopped_by": name, **session.figures(fitting), "exit_status": status}
    session.save(fitting, scene, run)
    return _evaluate(run, scene, session.figures(fitting), str(fitting.grid.density.device))


def evaluate(run: tyro.conf.Positional[Path], /, *, device: str = "auto") -> dict[str, Any]:
    """Evaluate a run's field on the views held out.

    Args:
        run: A run's folder.
        device: cpu, cuda, or auto: cuda where there is one.
    """
    from polyfield.apps.scenes import open_again
    from polyfield.fit import session
    from polyfield.fit.config import FitConfig
    from polyfield.fit.run import Run

    opened = Run.open(run)
    config = FitConfig.of(opened.config, str(opened.path / "config.json"))
    scene = open_again(opened, config.source, config.downscale)
    with opened.lock():
        try:
            figures = session.figures_of(opened, config)
        except PolyfieldError as error:
            say(f"warning: {error}; eval.json will not say what the fit took")
            figures = {}
        return _evaluate(opened, scene, figures, session.device_of(device))


def _evaluate(run: Run, scene: Scene, figures: dict[str, Any], device: str) -> dict[str, Any]:
    """Evaluate, write eval.json and the picture of a few test views, and return all figures."""
    from polyfield.export.pictures import depth_picture, sheet, write_png
    from polyfield.fit.session import evaluate_run

    chosen = {round(i * (len(scene.test) - 1) / max(_SHEET_VIEWS - 1, 1)) for i in range(_SHEET_VIEWS)}
    columns: list[list[Tensor]] = []

    def show(view: int, truth: Tensor, picture: Tensor, rendering: Any) -> None:
        if view in chosen:
            columns.append([truth, picture, depth_picture(rendering.depth, rendering.opacity)])

    with showing("evaluating") as progress:
        result = evaluate_run(
            run, scene, device=device, show=show, progress=lambda done, total: progress(done / total)
        )
    result = plain({"run": str(run.path), **figures, **result})
    run.write_eval(result)
    if columns:
        path = run.renders / "test-views.png"
        write_png(path, sheet(list(zip(*columns, strict=True))))
        say(f"{path}: test views; photographs, pictures of the field, and its depth")
    if result["psnr"] is None:
        say("no test PSNR: no test view has a pixel that counts, or all pictures are perfect")
    else:
        say(f"test PSNR {result['psnr']:.2f} dB over {result['views']} views ({result['protocol']})")
    return result


def render(
    source: tyro.conf.Positional[Path],
    /,
    *,
    path: str = "orbit",
    out: Path | None = None,
    frames: int = 60,
    fps: float = 30.0,
    size: tuple[int, int] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Render a fitted field: a turntable, the test views, or a camera path. A rendering replaces an earlier one.

    Args:
        source: A run's folder or a .field file.
        path: orbit, test, or a nerfstudio camera_path.json.
        out: A video (.mp4), replaced if it is there, or a folder of PNG files: a new one, or one that an earlier
            rendering made, whose frames then go. renders/PATH.mp4 in the run, or a folder renders/test.
        frames: How many frames an orbit has.
        fps: Frames per second of a video of an orbit or of test views.
        size: Width and height in pixels of an orbit. Those of the first training view if not given.
        device: cpu, cuda, or auto: cuda where there is one.
    """
    import time

    from polyfield.apps.frames import write_frames
    from polyfield.export.pictures import write_video
    from polyfield.fit.run import Run
    from polyfield.fit.session import open_field

    source = Path(source)
    run = Run.open(source) if source.is_dir() else None
    file = run.field_path if run else source
    field, context, sampler = open_field(file, device)
    cameras, fps = _path_cameras(path, file, context.cameras, run, frames, size, fps)
    if out is None:
        name = "test" if path == "test" else f"{Path(path).stem}.mp4"
        out = (run.renders if run else Path("renders")) / name
    out, start = Path(out), time.perf_counter()
    with showing("rendering") as progress:
        pictures = _pictures(field, context.background, cameras, sampler, progress)
        if out.suffix == ".mp4":
            write_video(out, pictures, fps=fps)
        elif out.suffix:
            raise PolyfieldError(f"--out {out}: expected a name that ends in .mp4, or a folder for PNG files")
        else:
            write_frames(out, pictures, {"source": str(source), "path": path, "frames": len(cameras)})
    seconds = time.perf_counter() - start
    say(f"{out}: {len(cameras)} frames")
    return {
        "out": str(out),
        "frames": len(cameras),
        "seconds": seconds,
        "seconds_per_frame": seconds / len(cameras),
    }


def _path_cameras(
    path: str,
    file: Path,
    fitted: dict[str, Any],
    run: Run | None,
    frames: int,
    size: tuple[int, int] | None,
    fps: float,
) -> tuple[Cameras, float]:
    """The cameras along a path, for a field file with its fitted cameras, and the frames per second to show them at."""
    from polyfield.data.camera_path import read_camera_path
    from polyfield.data.views import read_views
    from polyfield.render.cameras import Cameras
    from polyfield.render.orbit import orbit

    if size is not None and not all(1 <= side <= 1 << 15 for side in size):
        raise PolyfieldError(f"--size is {size[0]} {size[1]}; expected 1 to 32768 pixels each")
    if path == "orbit":
        if not 1 <= frames <= 100_000:
            raise PolyfieldError(f"--frames is {frames}; expected 1 to 100000")
        with naming(file):
            return orbit(Cameras.from_json(fitted), frames=frames, size=size), fps
    if path == "test":
        if run is None:
            raise PolyfieldError("--path test: test views belong to a run; give its folder, not a field file")
        return read_views(run.path / "scene.json", "test"), fps
    if not os.path.isfile(path):
        raise PolyfieldError(f"--path {shown(path)}: expected orbit, test, or the file of a camera path")
    return read_camera_path(path)


def _pictures(
    field: Any, background: tuple[float, ...], cameras: Cameras, sampler: Any, progress: Any
) -> Iterator[Tensor]:
    """The pictures (H, W, 3) of a field along a path, one after the other."""
    import torch

    from polyfield.render.volume import render_images

    device = next(field.parameters()).device
    cameras, behind = cameras.to(device), torch.tensor(background, device=device)
    renderings = render_images(field, cameras, range(len(cameras)), sampler)
    for number, rendering in enumerate(renderings):
        yield rendering.over(behind)
        progress((number + 1) / len(cameras))


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
        from polyfield.apps.scenes import open_source

        opened = open_source(scene, downscale)
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
