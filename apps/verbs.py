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
    """Fit a field to posed photographs, a picture, a video, a mesh, a point cloud or a volume, then evaluate it.

    Args:
        source: What the field is fitted to.
            A scene: a folder with transforms.json or transforms_train.json, or the path of one of these files.
            A picture (PNG, JPEG, WebP, BMP, GIF, EXR) or a video (MP4, MOV, WebM, MKV, AVI).
            A mesh (OBJ, PLY, STL, GLB, OFF), a point cloud (PLY, PCD, npz, npy) or a volume (npy, npz, NIfTI, TIFF).
            A built-in scene: demo, or demo-moving, which changes with time.
        field: The architecture: hashgrid, densegrid, triplane, kplanes, vm, cp, voxels, mlp, cam or rbf.
            If not given, kplanes for videos and hashgrid for all other sources.
        kind: The kind of the source: scene, picture, video, mesh, cloud or volume. If not given, it is detected.
        box: For scenes: the cube to model in detail: centre x y z and half size h, in the coordinates of the camera poses.
            If not given, the cube is computed from the camera poses, and from the point cloud if the scene has one.
        signal: The kind of value that the field stores.
            Scene: radiance. Picture: image. Video: video. Volume: volume. Point cloud: udf. Mesh: sdf, udf or occupancy.
            sdf and udf are signed and unsigned distances. If not given, sdf for closed meshes and udf for other meshes.
        steps: The number of training steps. On a CPU with the same number of threads, such fits repeat bit-identically.
        seconds: The training time in seconds. Give at most one of --steps and --seconds. If neither is given, 120.
        downscale: Replace each block of N x N pixels by its mean, where N is the given number.
        bytes: Use the largest field whose stored parameters and buffers take at most this many bytes.
            The hidden layers of an mlp then have at most 64 units, and the rank of cp is at most 256.
        bits: With 8, tables and networks are stored as compressed 8-bit integers with scales: less than half the bytes.
            If not given, tables are stored in half precision and networks in single precision.
        options: Options of the architecture, for example --options entries 524288. A wrong name gives a list of all names.
        seed: The seed of all random numbers.
        device: cpu, cuda, or auto. With auto, cuda if there is a GPU, else cpu.
        deterministic: On a GPU, sum gradients in fixed point, so that fits with --steps repeat bit-identically.
            This is slower, and possible only for radiance fields of the architectures hashgrid and densegrid.
        out: The run folder that is written, new or empty. If not given, runs/SOURCE-FIELD-N, with the first free number N.
        save_seconds: The time between checkpoints, in seconds.
        view: Open the interactive viewer during the fit. It stays open after the fit, until Ctrl-C.
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
    init_field: bool = True,
    signal: str | None = None,
    box: tuple[float, float, float, float] | None = None,
    seed: int = 0,
    device: str = "auto",
    deterministic: bool = False,
    out: Path | None = None,
    save_seconds: float = 30.0,
    view: bool = False,
) -> dict[str, Any]:
    """Fit a new field of any architecture (the student) to an existing field (the teacher), then compare the two fields.

    The teacher's photographs or other source data are not needed.

    Args:
        teacher: A run folder, a .field file, a mesh, or a Python function, written as module:function.
        to: The architecture of the student: hashgrid, densegrid, triplane, kplanes, vm, cp, voxels, mlp, cam or rbf.
        steps: The number of training steps. On a CPU with the same number of threads, such fits repeat bit-identically.
        seconds: The training time in seconds. Give at most one of --steps and --seconds. If neither is given, 120.
        bytes: As for polyfield fit.
        bits: As for polyfield fit.
        options: Options of the student's architecture, for example --options width 128 layers 8.
        stages: For radiance: two shares of the fit, from 0 to 1, at which stage 1 (latent vectors) and stage 2 (samples) end.
            If not given, 0.02 0.1, and for mlp and cam 0.05 0.5, or 0.05 1 if the teacher has no occupancy grid.
        hard: For radiance: what is compared more often if errors or weights are large, some of poses, rays and points.
        init_head: For radiance: start with the teacher's colour network if the student's colour network has the same shape.
        init_field: Start with all parameters of the teacher if both fields have the same architecture, options and domain.
        signal: For functions (required) and meshes: the kind of value that the field stores, such as sdf or radiance.
        box: The part to convert, a cube given by its centre x y z and half size h. Functions of three coordinates require it.
        seed: The seed of all random numbers.
        device: cpu, cuda, or auto. With auto, cuda if there is a GPU, else cpu.
        deterministic: As for polyfield fit.
        out: The run folder that is written, new or empty. If not given, runs/TEACHER-TO-N, with the first free number N.
        save_seconds: The time between checkpoints, in seconds.
        view: As for polyfield fit, with student and teacher side by side.
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
            init_field=init_field,
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
    """Write a new run whose field is an edited radiance field. To store the edited field, convert the new run.

    A box is given by its centre and half sizes, x y z hx hy hz, in the source's coordinates.
    Several edits are applied in the order of the options below.

    Args:
        source: A run folder or a .field file with a radiance field.
        erase: A box that is emptied.
        move: A box, and the vector by which its content is moved.
        copy: A box, and the vector from its content to the copy.
        recolour: A box, and the new colour of its content, r g b from 0 to 1. The brightness of each point is kept.
        paste: Another run folder or .field file, and a box. In this box, the other field replaces the edited field.
        mask: A volume file (.npy, .npz, .nii or .tif), stretched over each box. Where the mask is 0, nothing is edited.
        out: The run folder that is written, new or empty. If not given, runs/SOURCE-edited-N, with the first free number N.
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
    """Continue a fit that was stopped, with the options that it was started with.

    Args:
        run: The run folder.
        generation: The step of the checkpoint to continue from. If not given, the newest checkpoint.
        source: The new path of the source, if the source was moved after the fit began.
        view: As for polyfield fit.
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
    """Evaluate the field of a run again, as at the end of its fit.

    Args:
        run: The run folder.
        source: The new path of the source, if the source was moved after the fit.
        device: cpu, cuda, or auto. With auto, cuda if there is a GPU, else cpu.
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
    """Show one field, or two fields side by side, in a browser, until Ctrl-C. Open the link that the command prints.

    Args:
        source: A run folder or a .field file.
        other: A second run folder or .field file. Both fields must have the same signal.
        host: The address to listen on. With addresses other than 127.0.0.1, other machines can connect.
            Everyone who has the link can then view the field. The connection is not encrypted.
        port: The port to listen on. If this port is in use, the next free port is used.
        device: cpu, cuda, or auto. With auto, cuda if there is a GPU, else cpu.
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
    """Render a field to a video, a folder of PNG files, or one PNG file.

    Args:
        source: A run folder or a .field file.
        path: For radiance: orbit, spiral, cameras, test, or the path of a nerfstudio camera_path.json.
            spiral: two turns, up and down. cameras: a path through the training cameras. test: the test views.
            For shapes and volumes: orbit or slices. For images: picture. For videos: video, or picture for one frame.
            If not given, the first name above for the signal of the field.
        show: For radiance: colour, depth, opacity, normals, features (principal components) or samples (number per ray).
        out: A video (.mp4) or a folder of PNG files. For slices and picture: a PNG file.
            An existing video or PNG file is replaced. A folder must be new, empty, or written by an earlier render.
            If not given, the output is in the folder renders of the run or, for a .field file, of the current folder.
        frames: The number of frames of an orbit, a spiral, a path through the training cameras, or a video.
            If not given, 60, or the number of frames of the video that the field was fitted to.
        fps: Frames per second, except for a camera path file, which gives the rate.
            If not given, 30, or the rate of the video that the field was fitted to.
        size: Width and height in pixels, except for test views and for a camera path file, which give the size.
            If not given, the size of the first training view, picture or video; 512 x 512 for shapes and volumes.
        time: For moving fields and videos: render the field at this time, from 0 to 1.
            If not given, the time changes along the path, and each test view is rendered at its photograph's time.
            In a video of F frames, frame k (from 0) is at the time (k + 0.5) / F.
        device: cpu, cuda, or auto. With auto, cuda if there is a GPU, else cpu.
    """
    from polyfield.api.render import render

    return render(
        source, path=path, show=show, out=out, frames=frames, fps=fps, size=size, time=time, device=device
    )


def doctor(scene: Scene = None, /, *, downscale: int = 1, warm: bool = False) -> dict[str, Any]:
    """Report versions, devices and kernels, and check a scene without fitting it.

    Args:
        scene: The scene to check: a folder or file, demo, or demo-moving, as for polyfield fit.
        downscale: As for polyfield fit.
        warm: Compile the kernels for the GPU now, so that later fits do not have to. The compiled kernels are kept on disk.
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
