"""The verbs of the command: each parses its options, calls the API, and returns figures for stdout.

Heavy modules are imported inside, so that `--help` answers at once.
"""

from __future__ import annotations

import signal as signals
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from polyfield.errors import PolyfieldError

if TYPE_CHECKING:
    from polyfield.api.fit import FitResult

Source = Annotated[str, tyro.conf.arg(metavar="[SOURCE]")]
Kind = Annotated[str | None, tyro.conf.arg(name="as")]  # `as` is a word of Python's own
RunFolder = Annotated[Path, tyro.conf.arg(metavar="RUN")]
Teacher = Annotated[str, tyro.conf.arg(metavar="TEACHER")]
FieldSource = Annotated[Path, tyro.conf.arg(metavar="RUN|FIELD")]
Other = Annotated[Path | None, tyro.conf.arg(metavar="[RUN|FIELD]")]
Six = tuple[float, float, float, float, float, float]
Nine = tuple[float, float, float, float, float, float, float, float, float]
Scene = Annotated[str | None, tyro.conf.arg(metavar="[SCENE]")]


def fit(
    source: Source = "demo",
    /,
    *,
    field: str | None = None,
    kind: Kind = None,
    box: tuple[float, float, float, float] | None = None,
    signal: str | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    downscale: int = 1,
    bytes: int | None = None,
    bits: int | None = None,
    options: dict[str, int | str] | None = None,
    seed: int = 0,
    device: str = "auto",
    deterministic: bool = False,
    out: Path | None = None,
    save_seconds: float = 30.0,
    view: bool = False,
) -> dict[str, Any]:
    """Fit a field to posed photographs, a picture, a video, a mesh, a point cloud or a volume, then measure it.

    Args:
        source: A scene: a folder with transforms.json or transforms_train.json, or the path of either; a picture (PNG,
            JPEG, WebP, BMP, GIF, EXR); a video (MP4, MOV, WebM, MKV, AVI); a mesh (OBJ, PLY, STL, GLB, OFF); a point cloud (PLY, PCD, npz, npy);
            a volume (npy, npz, NIfTI, TIFF); or a built-in scene, "demo" or "demo-moving".
        field: The architecture: hashgrid, densegrid, triplane, kplanes, vm, cp, voxels, mlp, cam or rbf. hashgrid if not
            given, and kplanes for a video.
        kind: What to read the source as: scene, picture, video, mesh, cloud or volume. Its name and content decide if not
            given.
        box: Centre and half size of a scene's region of detail, x y z h, in its own coordinates. The cameras decide if not
            given.
        signal: What the field's values are. Scene: radiance; picture: image; video: video; mesh: sdf, udf or occupancy; cloud: udf;
            volume: volume. The first that fits if not given.
        steps: Training steps. On a CPU such a fit repeats and resumes bit for bit with the same number of threads.
        seconds: Seconds of training; give this or --steps. 120 if neither is given.
        downscale: Average blocks of this many pixels along each side into one.
        bytes: Make the largest field whose stored parameters and buffers take at most this many bytes. An mlp stays at most 64 wide.
        bits: 8 stores tables and networks as 8-bit whole numbers with scales: about half the bytes. Tables are in half
            precision and networks in single if not given.
        options: Names and values, e.g. --options log2_size 19. An unknown name lists those there are.
        seed: All randomness follows from it.
        device: cpu, cuda, or auto: cuda if there is a GPU.
        deterministic: On a GPU, sum gradients in fixed point, so that a fit by steps can be repeated bit for
            bit there too. It is slower, and available for radiance in a hash grid or a dense grid.
        out: The run's folder, new or empty. runs/SOURCE-FIELD-N if not given.
        save_seconds: Seconds between checkpoints.
        view: Open the interactive viewer while the field is fitted, and until Ctrl-C after that.
    """
    from polyfield.api.fit import fit

    return _result(
        fit(
            source,
            field=field,
            kind=kind,
            box=box,
            signal=signal,
            steps=steps,
            seconds=seconds,
            downscale=downscale,
            bytes=bytes,
            bits=bits,
            options=options,
            seed=seed,
            device=device,
            deterministic=deterministic,
            out=out,
            save_seconds=save_seconds,
            view=view,
        )
    )


def convert(
    teacher: Teacher,
    /,
    *,
    to: str = "mlp",
    steps: int | None = None,
    seconds: float | None = None,
    bytes: int | None = None,
    bits: int | None = None,
    options: dict[str, int | str] | None = None,
    stages: tuple[float, float] | None = None,
    hard: tuple[str, ...] = ("poses", "rays", "points"),
    init_head: bool = True,
    signal: str | None = None,
    box: tuple[float, float, float, float] | None = None,
    seed: int = 0,
    device: str = "auto",
    deterministic: bool = False,
    out: Path | None = None,
    save_seconds: float = 30.0,
    view: bool = False,
) -> dict[str, Any]:
    """Fit a field of any architecture to another field, then measure it against that field. No photograph is needed.

    Args:
        teacher: A run's folder, a .field file, a mesh, or a Python function as module:function.
        to: The architecture: hashgrid, densegrid, triplane, kplanes, vm, cp, voxels, mlp, cam or rbf.
        steps: Training steps. On a CPU such a fit repeats and resumes bit for bit with the same number of threads.
        seconds: Seconds of training; give this or --steps. 120 if neither is given.
        bytes: Make the largest field whose stored parameters and buffers take at most this many bytes. An mlp stays at most 64 wide.
        bits: 8 stores tables and networks as 8-bit whole numbers with scales: about half the bytes. Tables are in half
            precision and networks in single if not given.
        options: Names and values, e.g. --options width 128 layers 8. An unknown name lists those there are.
        stages: Shares of the fit at which the stages of latent vectors and of samples end. Rendered colours follow.
            0.02 0.1 for fields with tables and 0.05 0.8 for networks, if not given.
        hard: What is taught more often where the student is wrong: some of poses, rays and points.
        init_head: Begin with the teacher's colour network if the new field has one of the same shape.
        signal: Of a function: what its values are, such as sdf or radiance.
        box: Centre and half size of the new field's domain, x y z h, in the source's coordinates. Functions in three
            dimensions need it. Of a field, only this part is converted.
        seed: All randomness follows from it.
        device: cpu, cuda, or auto: cuda if there is a GPU.
        deterministic: As in fit.
        out: The run's folder, new or empty. runs/TEACHER-TO-N if not given.
        save_seconds: Seconds between checkpoints.
        view: Open the interactive viewer, with the student beside the teacher, and until Ctrl-C after the fit.
    """
    from polyfield.api.convert import convert

    return _result(
        convert(
            teacher,
            to=to,
            steps=steps,
            seconds=seconds,
            bytes=bytes,
            bits=bits,
            options=options,
            stages=stages,
            hard=hard,
            init_head=init_head,
            signal=signal,
            box=box,
            seed=seed,
            device=device,
            deterministic=deterministic,
            out=out,
            save_seconds=save_seconds,
            view=view,
        )
    )


def edit(
    source: FieldSource,
    /,
    *,
    erase: Six | None = None,
    move: Nine | None = None,
    copy: Nine | None = None,
    recolour: Nine | None = None,
    paste: tuple[str, float, float, float, float, float, float] | None = None,
    mask: Path | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Write a new run whose field is an edited view of another. Convert it to store it.

    A box is its centre and its half sizes, x y z hx hy hz, in the source's coordinates. Edits are made in the order below.

    Args:
        source: A run's folder or a .field file, of radiance.
        erase: A box in which nothing is left.
        move: A box, and the vector by which what is in it is moved.
        copy: A box, and the vector by which what is in it is copied.
        recolour: A box, and its new colour, r g b from 0 to 1; the brightness at each point stays.
        paste: Another run or .field file, and the box in which its field replaces this one.
        mask: A volume file (.npy, .npz, .nii, .tif), stretched over each box: only its voxels that are not 0 are edited.
        out: The run's folder, new or empty. runs/SOURCE-edited-N if not given.
    """
    from polyfield.api.edit import edit

    pasted = None if paste is None else (paste[0], paste[1:])
    run = edit(source, erase=erase, move=move, copy=copy, recolour=recolour, paste=pasted, mask=mask, out=out)
    return {"run": str(run)}


def resume(
    run: RunFolder,
    /,
    *,
    generation: int | None = None,
    source: Path | None = None,
    view: bool = False,
) -> dict[str, Any]:
    """Continue a fit that was stopped, with the options that it was begun with.

    Args:
        run: The run's folder.
        generation: The step of the checkpoint to continue from. The newest if not given.
        source: The path of the source, if it was moved since the fit began.
        view: As in fit.
    """
    from polyfield.api.fit import resume

    return _result(resume(run, generation=generation, source=source, view=view))


def _result(result: FitResult) -> dict[str, Any]:
    if result.stopped_by is None:
        return result.figures
    status = 128 + signals.Signals[result.stopped_by].value
    return {
        "run": str(result.run),
        "stopped_by": result.stopped_by,
        **result.figures,
        "exit_status": status,
    }


def evaluate(run: RunFolder, /, *, source: Path | None = None, device: str = "auto") -> dict[str, Any]:
    """Measure a run's field: on the views held out, or on the source itself.

    Args:
        run: The run's folder.
        source: The path of the source, if it was moved since the fit.
        device: cpu, cuda, or auto: cuda if there is a GPU.
    """
    from polyfield.api.evaluate import evaluate

    return evaluate(run, source=source, device=device)


def view(
    source: FieldSource,
    other: Other = None,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 7007,
    device: str = "auto",
) -> dict[str, Any]:
    """Show a fitted field in a browser, or two beside each other, until Ctrl-C. Open the link that is printed.

    Args:
        source: A run's folder or a .field file.
        other: Another one, of the same signal.
        host: The address to listen on. Any other than 127.0.0.1 lets other machines in: whoever has the link, or reads
            the network's traffic, which is not encrypted, can look at the field.
        port: The port, or the next free one.
        device: cpu, cuda, or auto: cuda if there is a GPU.
    """
    from polyfield.api.view import view

    view(source, other, host=host, port=port, device=device)
    return {}


def render(
    source: FieldSource,
    /,
    *,
    path: str | None = None,
    show: str = "colour",
    out: Path | None = None,
    frames: int | None = None,
    fps: float | None = None,
    size: tuple[int, int] | None = None,
    time: float | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Render a fitted field: a turntable, test views, a camera path, sections, a picture or a video.

    An earlier rendering of the same name is replaced.

    Args:
        source: A run's folder or a .field file.
        path: For radiance: orbit; spiral, two turns that rise and fall; cameras, a path through the training cameras; test,
            the views held out; or a nerfstudio camera_path.json. For shapes and volumes: orbit or
            slices. For an image: picture. For a video: video, or picture, which is one frame. The first of these if not
            given.
        show: For radiance: colour, depth, opacity, normals, features (principal components) or samples (a ray).
        out: A video (.mp4), which is replaced, or a folder of PNG files. The folder is new, or an earlier
            rendering made it, and its frames are replaced. For slices and pictures, a PNG file. In the run's
            renders if not given.
        frames: Frames of an orbit or of a video. If not given, 60, or those of the video that the field was fitted to.
        fps: Frames per second of an orbit, of test views or of a video. If not given, 30, or those of that video.
        size: Width and height in pixels of an orbit, slices, a picture or a video. If not given, those of the first
            training view, of the picture or of the video, and 512 x 512 for shapes and volumes.
        time: Of a moving field: the time, from 0 to 1, at which it stands still. If not given, it moves along the path; test
            views have their own times. Frame k of the F frames of a video is at (k + 0.5) / F.
        device: cpu, cuda, or auto: cuda if there is a GPU.
    """
    from polyfield.api.render import render

    return render(
        source, path=path, show=show, out=out, frames=frames, fps=fps, size=size, time=time, device=device
    )


def doctor(scene: Scene = None, /, *, downscale: int = 1, warm: bool = False) -> dict[str, Any]:
    """Report what polyfield runs on and why, and check a scene without fitting it.

    Args:
        scene: A scene to open and check, as for fit.
        downscale: As for fit.
        warm: Compile the GPU's kernels now, so that no fit has to compile them. They are kept.
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
        "kernels_because": f"POLYFIELD_KERNELS={asked}" if asked else "the fastest kernels for each device",
    }
    if warm:
        report["warm_seconds"] = _warm()
    if scene is not None:
        from polyfield.api.sources import open_scene

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
    """Compile all kernels of a GPU, and return the seconds. Raises PolyfieldError where there are none."""
    import time

    import torch

    from polyfield.api.report import showing
    from polyfield.fitting.warm import warm
    from polyfield.kernels.dispatch import form

    if not torch.cuda.is_available():
        raise PolyfieldError(
            "--warm: no GPU was found, and kernels for the CPU need no compilation; omit --warm"
        )
    if form(torch.device("cuda")) != "cuda":
        raise PolyfieldError(
            "--warm: the PyTorch kernels are in use, and they need no compilation; "
            "set POLYFIELD_KERNELS=cuda to use the Triton kernels, or omit --warm"
        )
    start = time.perf_counter()
    with showing("compiling") as progress:
        warm("cuda", progress)
    return time.perf_counter() - start
