"""Test PSNR against training time: fits by `polyfield.fit`, and the time to render the fitted field."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import polyfield
from benchmarks.turns import Budget, Figures, in_turns
from polyfield.data.scene import Scene
from polyfield.fitting.metrics.images import psnr
from polyfield.fitting.metrics.views import evaluate
from polyfield.rendering import fused
from polyfield.rendering.radiance import rendering as volume
from polyfield.rendering.radiance.rendering import Rendering
from polyfield.rendering.renderers import RadianceRenderer

_VIEWS = 4  # of the test views, for the time of a frame


def measure(source: str, scene: Scene, seconds: float, budget: Budget) -> dict[str, object]:
    """The cell: one row for a fit of so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        result = polyfield.fit(source, seconds=seconds, out=Path(folder) / "run")
        fitted, pictures = result.figures, _pictures(result.run, scene, budget)
    row = {
        "seconds": seconds,
        "test dB": fitted["psnr"],
        "ssim": fitted["ssim"],
        "steps": fitted["steps"],
        "rays/s": fitted["rays_per_second"],
        "evaluated samples/s": fitted["evaluated_samples_per_second"],
        "trained samples/s": fitted["trained_samples_per_second"],
    }
    return {
        "rows": [row | pictures],
        "notes": [f"{fitted['views']} test views, protocol {fitted['protocol']}"],
    }


def _pictures(run: Path, scene: Scene, budget: Budget) -> dict[str, Any]:
    """Return seconds of a frame that stops rays whose light is spent, of one that does not, and how far they are apart.

    A turn makes its renderer first, which is not timed: a renderer is kept over frames.
    """
    field = polyfield.load(run)
    chosen = sorted({round(i * (len(scene.test) - 1) / max(_VIEWS - 1, 1)) for i in range(_VIEWS)})
    views = [scene.test[i] for i in chosen]
    cameras = scene.cameras[views]
    background = torch.tensor(field.context.background)
    shown: dict[str, list[Rendering]] = {}

    def draw(way: str) -> Figures:
        renderer = RadianceRenderer(field, field.context)
        start = time.perf_counter()
        shown[way] = [renderer.render(cameras, view) for view in range(len(views))]
        return {"seconds": (time.perf_counter() - start) / len(views)}

    def to_truth() -> float:
        images, masks = [scene.images[i] for i in views], [scene.masks[i] for i in views]
        return evaluate(RadianceRenderer(field, field.context), cameras, images, masks)["psnr"]

    ways: dict[str, Callable[[], Figures]] = {
        "stopping": lambda: draw("stopping"),
        "to the end": lambda: _to_the_end(lambda: draw("to the end")),
    }
    found = in_turns(ways, budget.rounds)
    pairs = zip(shown["stopping"], shown["to the end"], strict=True)
    apart = [psnr(a.over(background), b.over(background)) for a, b in pairs]
    return {
        "frame, s": found["stopping"]["seconds"],
        "without stopping, s": found["to the end"]["seconds"],
        "between them dB": sum(apart) / len(apart),
        "lost by stopping dB": _to_the_end(to_truth) - to_truth(),
    }


def _to_the_end(work: Callable[[], Any]) -> Any:
    """The work, with every sample of every ray in its pictures, however little light reaches it."""
    with (
        mock.patch.object(fused, "LEAST_TRANSMITTANCE", 0.0),
        mock.patch.object(volume, "LEAST_TRANSMITTANCE", 0.0),
    ):
        return work()
