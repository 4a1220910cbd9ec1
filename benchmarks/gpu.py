"""Measure the CUDA kernels on a GPU: `python benchmarks/gpu.py SCENE.safetensors --out gpu.json`, in under 8 minutes.

It needs torch, triton, numpy, safetensors and this source tree; nothing is installed or built. `python -m benchmarks.pack`
makes the scene file. Sections are independent: if one fails, its record holds the error. With --toy, everything runs on the
CPU in Triton's interpreter. Its sizes say nothing about speed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
if "--toy" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # before the kernels are imported
os.environ["POLYFIELD_KERNELS"] = "cuda"

import torch

from benchmarks.gpu_agreement import BOX, agreement, kernels
from benchmarks.pack import PackedScene, unpack
from polyfield.cameras.cameras import Cameras
from polyfield.fields import FieldSpec, create
from polyfield.fitting.fit import Fit
from polyfield.fitting.metrics.images import psnr, to_8_bits
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.rays import batch_size
from polyfield.fitting.rays.batch_size import BatchSize
from polyfield.fitting.rays.lattice import lattice
from polyfield.fitting.rays.photographs import Photographs
from polyfield.fitting.rays.ray_objective import RayObjective
from polyfield.fitting.rays.visible import visible
from polyfield.fitting.schedule import Length
from polyfield.kernels import Levels, adam, interpolate, uniform
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.pictures import RadiancePictures
from polyfield.rendering.radiance.sampling import cascades


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    device: str
    points: int  # of a kernel's call
    repeats: int
    rays: int  # of the steps that are held against the general path
    log2_sizes: tuple[int, ...]
    seconds: tuple[float, ...]  # of fits
    steps: int  # of a rate
    parity_steps: int
    frames: tuple[tuple[int, int], ...]
    options: dict[str, int]  # of the fields that are fitted


GPU = Sizes(
    "cuda",
    1 << 18,
    20,
    2000,
    (14, 16, 17, 18, 19),
    (3.0, 6.0, 20.0),
    320,
    320,
    ((800, 800), (3840, 2160)),
    {},
)
TOY = Sizes(
    "cpu", 64, 1, 24, (8,), (0.5,), 16, 16, ((8, 6),),
    {"levels": 2, "entries": 1 << 8, "finest": 24, "width": 16},
)  # fmt: skip


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], Any], sizes: Sizes) -> float:
    """Median of some calls, after one that compiles."""
    found = []
    for _ in range(sizes.repeats + 1):
        wait(sizes.device)
        start = time.perf_counter()
        work()
        wait(sizes.device)
        found.append((time.perf_counter() - start) * 1000)
    return statistics.median(found[1:])


def kernel_table(sizes: Sizes, scene: PackedScene) -> dict[str, Any]:
    """Milliseconds and rates of single kernels, for tables of several sizes."""
    return {
        "points": sizes.points,
        "rows": {f"2^{size}": kernel_row(size, sizes) for size in sizes.log2_sizes},
    }


def kernel_row(log2_size: int, sizes: Sizes) -> dict[str, Any]:
    device = sizes.device
    levels = Levels.geometric(8, 16, 1024, 3, 1 << log2_size)
    table = torch.zeros(levels.entries, 4, device=device, requires_grad=True)
    points = uniform((sizes.points, 3), seed=1, stream="points", device=device)
    gradient = torch.ones(sizes.points, 32, device=device)
    out = interpolate(table, points, levels)
    spec = FieldSpec.of("hashgrid", "radiance", BOX, entries=1 << log2_size)
    fused = FusedField.of(create(spec, seed=0, device=device))
    assert fused is not None
    tensors = [torch.zeros_like(table) for _ in range(4)]

    def forward() -> None:
        with torch.no_grad():
            interpolate(table, points, levels)

    def optimise() -> None:
        adam(*tensors, step=1, learning_rate=0.1, betas=(0.9, 0.95), eps=1e-8, decay=0.0)

    works: dict[str, tuple[int, Callable[[], Any]]] = {
        "interpolate": (sizes.points, forward),
        "interpolate, gradients to table": (
            sizes.points,
            lambda: out.backward(gradient, retain_graph=True),
        ),
        "encode and density network": (sizes.points, lambda: fused.density(points)),
        "adam": (table.numel(), optimise),
    }
    found = {name: (count, milliseconds(work, sizes)) for name, (count, work) in works.items()}
    return {name: {"ms": ms, "per_second": count / ms * 1000} for name, (count, ms) in found.items()}


class SceneFit(Fit):
    """A fit of the default field to a packed scene."""

    objective: RayObjective

    def __init__(
        self, scene: PackedScene, sizes: Sizes, length: Length, *, deterministic: bool = False
    ) -> None:
        cameras, device = scene.cameras[list(range(scene.train))], sizes.device
        source = Photographs(cameras, scene.images[: scene.train], [None] * scene.train, device)
        if device == "cpu":
            source._images = [torch.cat(source._images)]  # as on a GPU
        spec = FieldSpec.of("hashgrid", "radiance", scene.domain, **sizes.options)
        field = create(spec, device=device)
        field.advance(0.0)
        optimiser, count = Optimiser(field.parameter_groups(), decay=1e-6), cascades(scene.domain)
        objective = RayObjective(
            field,
            optimiser,
            source,
            lattice=lattice(cameras, scene.domain, scene.near),
            seed=0,
            visible=visible(cameras, scene.domain, count).to(device) if count > 1 else None,
            deterministic=deterministic,
        )
        if device != "cpu":  # the general path too, to be compared
            objective._size, objective._rays = batch_size.GPU, batch_size.GPU.first_rays
        super().__init__(field, optimiser, objective, length=length)

    def pictures(self) -> RadiancePictures:
        """Return what draws the field as it is now."""
        return RadiancePictures(self.field, self.objective.sampler(self.progress))


def rates(fit: SceneFit, steps: int) -> dict[str, float]:
    """Return the rates of some steps more."""
    before, since, at = dict(fit.totals), fit.seconds, fit.steps
    while fit.steps < at + steps:
        fit.step()
    seconds = fit.seconds - since
    per_second = {key: (fit.totals[key] - before[key]) / seconds for key in ("rays", "evaluated", "shaded")}
    return {
        "steps_per_second": (fit.steps - at) / seconds,
        **per_second,
        "rays_of_a_step": fit.state()["objective"]["rays"],
    }


def steps(sizes: Sizes, scene: PackedScene) -> dict[str, Any]:
    """Rates half-way through a fit: queued as graphs, and by the general path in eager PyTorch. The first steps' time is
    that of a cold start, kernels compiled unless they were kept from an earlier run."""
    start = time.perf_counter()
    fit = SceneFit(scene, sizes, Length(steps=8 * sizes.steps))
    fit.step()
    cold = time.perf_counter() - start
    while fit.progress < 0.5:
        fit.step()
    found: dict[str, Any] = {"cold_start_seconds": cold, "queued": rates(fit, sizes.steps)}
    tensors, state = fit.tensors(), fit.state()
    with kernels("reference"):
        general = SceneFit(scene, sizes, Length(steps=8 * sizes.steps))
        general.restore(tensors, state)
        general.step()
        found["eager"] = rates(general, max(sizes.steps // 20, 1))
    found["times_eager"] = found["queued"]["rays"] / found["eager"]["rays"]
    return found


def pictures_psnr(fit: SceneFit, scene: PackedScene) -> float:
    """Return the mean over the test views, on the scene's background, rounded to 8 bits."""
    cameras, pictures = scene.cameras.to(fit.device), fit.pictures()
    background = torch.tensor(scene.background, device=fit.device)
    found = []
    for view in range(scene.train, len(scene.images)):
        rendering = pictures.render(cameras, view)
        truth = torch.from_numpy(scene.images[view].astype("float32")).to(fit.device) / 65535
        wanted = truth[..., :3] + (1 - truth[..., 3:]) * background
        found.append(psnr(to_8_bits(rendering.over(background)), to_8_bits(wanted)))
    pictures.close()
    return statistics.mean(found)


def fits(sizes: Sizes, scene: PackedScene) -> dict[str, Any]:
    """PSNR on test views after fits of several lengths, kernels warm."""
    rows = {}
    for seconds in sizes.seconds:
        fit = SceneFit(scene, sizes, Length(seconds=seconds))
        while fit.progress < 1:
            fit.step()
        rows[f"{seconds:g} s"] = {
            "psnr": pictures_psnr(fit, scene),
            "steps": fit.steps,
            "seconds": fit.seconds,
            "skipped": fit.totals["skipped"],
            "rays_per_second": fit.totals["rays"] / fit.seconds,
            "evaluated_per_second": fit.totals["evaluated"] / fit.seconds,
        }
    return {"rows": rows, "frames": frames(sizes, scene, fit)}


def frames(sizes: Sizes, scene: PackedScene, fit: SceneFit) -> dict[str, Any]:
    """Return milliseconds of whole pictures from a test view, of the fit's field."""
    rows, pictures = {}, fit.pictures()
    for width, height in sizes.frames:
        focal = float(scene.cameras.intrinsics[0, 0]) * width / int(scene.cameras.sizes[0, 0])
        view = Cameras.perspective(scene.cameras.c2w[-1:], focal=focal, size=(width, height)).to(sizes.device)
        ms = milliseconds(partial(pictures.render, view, 0), sizes)
        rows[f"{width} x {height}"] = {"ms": ms, "per_second": 1000 / ms}
    pictures.close()
    return rows


def parity(sizes: Sizes, scene: PackedScene) -> dict[str, Any]:
    """PSNR after equal steps of equal size, queued and by the general path; and whether a deterministic fit repeats."""
    found: dict[str, Any] = {}
    length = Length(steps=sizes.parity_steps)
    for form in ("cuda", "reference"):
        with kernels(form):
            fit = SceneFit(scene, sizes, length)
            while fit.progress < 1:
                fit.step()
            found[form] = pictures_psnr(fit, scene)
    found["difference"] = found["cuda"] - found["reference"]
    short = Length(steps=max(sizes.parity_steps // 4, 1))
    results = []
    for _ in range(2):
        fit = SceneFit(scene, sizes, short, deterministic=True)
        while fit.progress < 1:
            fit.step()
        results.append(fit.tensors())
    found["deterministic_repeats"] = all(
        torch.equal(results[0][name], results[1][name]) for name in results[0]
    )
    return found


def environment(sizes: Sizes) -> dict[str, Any]:
    found = {"torch": torch.__version__, "triton": importlib.import_module("triton").__version__}
    if sizes.device != "cpu":
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "multiprocessors": properties.multi_processor_count}
        found |= {"gigabytes": properties.total_memory / 1e9, "cuda": torch.version.cuda}
    return found


def right(sizes: Sizes, scene: PackedScene) -> dict[str, Any]:
    return agreement(sizes.device, min(sizes.points, 1 << 14), sizes.rays)


SECTIONS = {"agreement": right, "kernels": kernel_table, "steps": steps, "fits": fits, "parity": parity}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--only", nargs="*", choices=SECTIONS, default=list(SECTIONS))
    given = parser.parse_args()
    sizes, scene = (TOY if given.toy else GPU), unpack(given.scene)
    if given.toy:
        batch_size.CPU = BatchSize(rays=(16, 64), first_rays=32, shaded=(128, 256), evaluated=512)
    elif not torch.cuda.is_available():
        print("no GPU was found; --toy runs all of it on the CPU", file=sys.stderr)
        return 1
    report: dict[str, Any] = {"toy": given.toy, "environment": environment(sizes)}
    for name in given.only:
        start = time.perf_counter()
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            report[name] = SECTIONS[name](sizes, scene)
        except Exception:  # what else can be measured is
            report[name] = {"failed": traceback.format_exc()[-3000:]}
        report[name]["section_seconds"] = time.perf_counter() - start
        if sizes.device != "cpu":
            report[name]["most_memory_gigabytes"] = torch.cuda.max_memory_allocated() / 1e9
            torch.cuda.reset_peak_memory_stats()
            torch.cuda.empty_cache()
        given.out.write_text(json.dumps(report, indent=2) + "\n")
    failed = [name for name in given.only if "failed" in report[name]]
    print(f"{given.out}: {'failed: ' + ', '.join(failed) if failed else 'done'}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
