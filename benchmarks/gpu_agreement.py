"""Check that the kernels on a GPU agree with the reference on the CPU. Part of `benchmarks/gpu.py`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.fields import Domain, FieldSpec, create
from polyfield.kernels import (
    Levels,
    RaySamples,
    adam,
    composite,
    interpolate,
    march,
    muon,
    random_bits,
    uniform,
    weighted,
)
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.rendering import render_rays
from polyfield.rendering.radiance.sampling import Lattice, MarchingSampler

BOX = Domain("box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
SPACE = Domain("contraction", (0.0, 0.0, 0.0), (0.8, 0.8, 0.8))
# The most that gradients of a step may be off.
PRECISIONS = {"float32": 1e-2, "float16": 5e-2, "bfloat16": 3e-1}


@contextlib.contextmanager
def kernels(form: str, precision: str = "float16") -> Iterator[None]:
    """A context in which kernels are of that form and precision."""
    names = {"POLYFIELD_KERNELS": form, "POLYFIELD_PRECISION": precision}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def off(found: Tensor, wanted: Tensor) -> float:
    """Relative error in the Euclidean norm."""
    found, wanted = found.detach().double().cpu(), wanted.detach().double().cpu()
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-30))


def same_on_both(work: Callable[[str], list[Tensor]], device: str) -> float:
    """The largest error of what work gives on the device beside the reference on the CPU."""
    found = work(device)
    with kernels("reference"):
        wanted = work("cpu")
    return max(off(x, y) for x, y in zip(found, wanted, strict=True))


def interpolated(levels: Levels, features: int, count: int) -> Callable[[str], list[Tensor]]:
    def work(device: str) -> list[Tensor]:
        table = (
            uniform((levels.entries, features), seed=1, stream="table").to(device) - 0.5
        ).requires_grad_()
        points = (uniform((count, levels.dimensions), seed=1, stream="points") * 1.1 - 0.05).to(device)
        points.requires_grad_()
        out = interpolate(table, points, levels)
        out.backward(uniform(tuple(out.shape), seed=1, stream="gradient").to(device))
        assert table.grad is not None and points.grad is not None
        return [out, table.grad, points.grad]

    return work


def some_rays(count: int, device: str) -> tuple[Tensor, Tensor]:
    numbers = uniform((count, 6), seed=2, stream="rays").to(device) * 2 - 1
    return numbers[:, :3] * 1.5, torch.nn.functional.normalize(numbers[:, 3:], dim=1)


def marched(count: int, cascades: int) -> Callable[[str], list[Tensor]]:
    def work(device: str) -> list[Tensor]:
        origins, directions = some_rays(count, device)
        occupied = uniform((cascades, 32, 32, 32), seed=2, stream="occupied").to(device) < 0.3
        near, far, jitter = (torch.full((count,), x, device=device) for x in (0.05, 9.0, 0.37))
        samples = march(origins, directions, near, far, occupied, step=0.05, cone=0.01, jitter=jitter)
        return [samples.counts.float()]  # a sample on a cell's face may fall to either side

    return work


def composited(count: int) -> Callable[[str], list[Tensor]]:
    def work(device: str) -> list[Tensor]:
        ray = torch.arange(count, device=device) // 8
        t = torch.arange(count, device=device).float() % 8 + 1
        samples = RaySamples.pack(t, torch.full_like(t, 0.3), ray, count // 8)
        density = (uniform((count,), seed=3, stream="density").to(device) * 3).requires_grad_()
        colour = uniform((count, 3), seed=3, stream="colour").to(device).requires_grad_()
        out = composite(samples, density, colour)
        (out.colour.square().sum() + out.opacity.sum() + 0.1 * out.depth.sum()).backward()
        assert density.grad is not None and colour.grad is not None
        return [*out, density.grad, colour.grad]

    return work


def moved(count: int) -> Callable[[str], list[Tensor]]:
    def work(device: str) -> list[Tensor]:
        tensors = [uniform((count,), seed=4, stream=str(n)).to(device) for n in range(4)]
        adam(*tensors, step=3, learning_rate=0.1, betas=(0.9, 0.95), eps=1e-8, decay=0.01)
        return tensors

    return work


def turned(count: int) -> Callable[[str], list[Tensor]]:
    def work(device: str) -> list[Tensor]:
        tensors = [uniform((count // 4096 + 1, 64, 48), seed=4, stream=str(n)).to(device) for n in range(3)]
        tensors[0].zero_()
        muon(*tensors, learning_rate=0.1, momentum=0.95)
        return tensors

    return work


def drawn(count: int) -> Callable[[str], list[Tensor]]:
    def work(device: str) -> list[Tensor]:
        weights = (random_bits((4096,), seed=5, stream="weights", device=device) % 256).to(torch.uint8)
        mean = float(weights.float().mean())
        index, found = weighted(weights, count, mean=mean, seed=5, stream="rows", step=7)
        return [index.float(), found.float(), uniform((count,), seed=5, stream="a", step=9, device=device)]

    return work


def stepped(domain: Domain, count: int, device: str, precision: str) -> float:
    """The largest error of a fused step's gradients beside the general path's on the CPU."""

    def field_on(where: str) -> Any:
        spec = FieldSpec.of("hashgrid", "radiance", domain, levels=4, entries=1 << 12, finest=40, width=32)
        field = create(spec, seed=3)
        with torch.no_grad():
            field.get_parameter("encoding.tables.0").mul_(1e4)
        return field.to(where)

    def inputs(where: str) -> tuple[Rays, MarchingSampler, list[Tensor]]:
        cascades = 1 if domain.kind == "box" else 3
        occupied = uniform((cascades, 32, 32, 32), seed=5, stream="occupied").to(where) < 0.6
        sampler = MarchingSampler(domain, occupied, Lattice(0.06, (cascades > 1) * 0.02, 0.1))
        numbers = [uniform((count, n), seed=2, stream=str(n)).to(where) for n in (1, 4, 3)]
        return Rays(*some_rays(count, where)), sampler, [numbers[0][:, 0], *numbers[1:]]

    fitted = field_on(device)
    with kernels("cuda", precision):
        rays, sampler, (jitter, target, background) = inputs(device)
        fused = FusedField.of(fitted)
        assert fused is not None
        fused.train(rays, jitter, sampler, target, background, 0.1)
    general = field_on("cpu")
    with kernels("reference"):
        rays, sampler, (jitter, target, background) = inputs("cpu")
        rendering = render_rays(general, rays, sampler, jitter=jitter)
        wanted = target[:, :3] + (1 - target[:, 3:]) * background
        torch.nn.functional.huber_loss(rendering.over(background), wanted, delta=0.1).backward()
    pairs = zip(fitted.parameters(), general.parameters(), strict=True)
    return max(off(x.grad, y.grad) for x, y in pairs if x.grad is not None and y.grad is not None)


def agreement(device: str, points: int, rays: int) -> dict[str, Any]:
    """Kernels on the device beside the reference on the CPU: relative errors, and the most that they may be."""
    hashed, dense = Levels.geometric(8, 16, 512, 3, 20_000), Levels(((40, 30), (9, 7)), 1 << 12)
    works = {
        "interpolate, hashed": (interpolated(hashed, 4, points), 1e-4),
        "interpolate, dense, 2-D": (interpolated(dense, 3, points), 1e-4),
        "march, box": (marched(rays, 1), 1e-2),
        "march, cascades": (marched(rays, 3), 1e-2),
        "composite": (composited(points // 8 * 8), 1e-4),
        "adam": (moved(points), 1e-5),
        "muon": (turned(points), 1e-2),
        "random numbers": (drawn(points), 0.0),
    }
    cases: dict[str, tuple[Callable[[], float], float]] = {
        name: (partial(same_on_both, work, device), most) for name, (work, most) in works.items()
    }
    for domain in (BOX, SPACE):
        for precision, most in PRECISIONS.items():
            if device != "cpu" or precision != "bfloat16":  # whose products are wrong in the interpreter
                work = partial(stepped, domain, rays, device, precision)
                cases[f"step, {domain.kind}, {precision}"] = work, most
    rows: dict[str, dict[str, Any]] = {}
    for name, (check, most) in cases.items():
        try:
            error = check()
            rows[name] = {"error": error, "most": most, "right": error <= most}
        except Exception as problem:  # the other rows are still worth having
            rows[name] = {"right": False, "failed": repr(problem)[:500]}
    return {"rows": rows, "right": all(row["right"] for row in rows.values())}
