"""Conversions between all architectures, the gain of active learning and of the stages, edits, and round trips."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import polyfield
from benchmarks.turns import Budget
from polyfield.data.scene import Scene
from polyfield.rendering.radiance.rendering import Rendering
from polyfield.rendering.renderers import RadianceRenderer

DOWNSCALE = 4  # of scenes
SECONDS = 30.0  # T, of a conversion; fits to photographs have T and 5 T
# Students whose levels of active learning are measured, and the levels; a network has few rendered colours, for poses and rays.
LEARNING = {
    "vm": ((), ("poses",), ("rays",), ("points",), ("poses", "rays", "points")),
    "mlp": ((), ("points",)),
}
STAGES = ("mlp", "hashgrid")
_VIEWS = 5  # test views of a figure that `eval` does not give
_ERASED = (0.0, 0.0, 0.75, 0.6, 0.9, 0.35)  # a box of lego: blade, arm and cab
_EMPTY = 0.005  # opacity of the edited field on rays through nothing
_kept = tempfile.TemporaryDirectory(prefix="polyfield-conversions-")


@dataclass(frozen=True)
class Photographs:
    """A scene and how to open it: its test views are the truth."""

    source: str
    scene: Scene  # at 1 / DOWNSCALE

    def views(self) -> list[int]:
        chosen = {round(i * (len(self.scene.test) - 1) / max(_VIEWS - 1, 1)) for i in range(_VIEWS)}
        return [self.scene.test[i] for i in sorted(chosen)]

    def draw(self, run: Path) -> list[Rendering]:
        """Return a field's renderings of the chosen test views."""
        field = polyfield.load(run)
        renderer = RadianceRenderer(field, field.context)
        return [renderer.render(self.scene.cameras, view) for view in self.views()]

    def opacity_of_nothing(self, run: Path) -> float | None:
        """Return the mean opacity over pixels of alpha 0."""
        found = []
        for view, drawn in zip(self.views(), self.draw(run), strict=True):
            empty = torch.from_numpy(self.scene.images[view][..., 3] == 0)
            found.append(drawn.opacity[empty])
        opacities = torch.cat(found)
        return float(opacities.mean()) if len(opacities) else None


@functools.cache
def _fitted(source: str, architecture: str, seconds: float) -> tuple[Path, dict[str, Any]]:
    """Return a run that was fitted to photographs, and its figures."""
    run = _new()
    result = polyfield.fit(source, field=architecture, seconds=seconds, downscale=DOWNSCALE, out=run)
    return run, result.figures


def _new() -> Path:
    return Path(tempfile.mkdtemp(dir=_kept.name)) / "run"


def _convert(teacher: Path, to: str, seconds: float, **options: Any) -> tuple[Path, dict[str, Any]]:
    run = _new()
    return run, polyfield.convert(teacher, to=to, seconds=seconds, out=run, **options).figures


def photographs(architecture: str, opened: Photographs, budget: Budget) -> dict[str, Any]:
    """The cell of an architecture that is fitted to photographs, for T and for 5 T."""
    row: dict[str, Any] = {"architecture": architecture}
    for times in (1, 5):
        seconds = times * SECONDS * budget.share
        run, figures = _fitted(opened.source, architecture, seconds)
        row[f"{seconds:g} s, dB"] = figures["psnr"]
        row[f"opacity of nothing, {seconds:g} s"] = _digits(opened.opacity_of_nothing(run))
    return {"rows": [row], "notes": [f"photographs at 1/{DOWNSCALE}"]}


def conversion(teacher: str, to: str, opened: Photographs, budget: Budget) -> dict[str, Any]:
    """The cell of a teacher and a student. The cells of photographs have what it is compared with."""
    seconds = SECONDS * budget.share
    run, taught = _fitted(opened.source, teacher, 5 * seconds)
    student, figures = _convert(run, to, seconds)
    row = {
        "teacher": teacher,
        "student": to,
        "teacher dB": taught["psnr"],
        "student dB": figures["psnr"],
        "to the teacher dB": figures["psnr_to_teacher"],
        "prepared in": f"{figures['prepare_seconds']:.1f} s",
        "opacity of nothing": _digits(opened.opacity_of_nothing(student)),
        "teacher's share": figures["teacher_share_of_time"],
    }
    note = f"{seconds:g} s; photographs at 1/{DOWNSCALE}; teachers fitted for {5 * seconds:g} s"
    return {"rows": [row], "notes": [note]}


def learning(to: str, levels: tuple[str, ...], opened: Photographs, budget: Budget) -> dict[str, Any]:
    """The cell of a student that was taught with some levels of active learning: three seeds."""
    seconds = SECONDS / 2 * budget.share
    run, _ = _fitted(opened.source, "hashgrid", 5 * SECONDS * budget.share)
    wanted = opened.draw(run)
    rows = []
    for seed in range(3):
        student, figures = _convert(run, to, seconds, hard=levels, seed=seed)
        errors = torch.cat(
            [
                (found.colour - truth.colour).square().mean(-1).flatten()
                for found, truth in zip(opened.draw(student), wanted, strict=True)
            ]
        )
        worst = errors.topk(max(len(errors) // 10, 1)).values
        rows.append(
            {
                "student": to,
                "levels": " ".join(levels) or "none",
                "seed": str(seed),
                "test dB": figures["psnr"],
                "to the teacher dB": float(-10 * errors.mean().log10()),
                "worst tenth of rays dB": float(-10 * worst.mean().log10()),
            }
        )
    return {"rows": rows, "notes": [f"hashgrid to {to}, {seconds:g} s, on {_VIEWS} test views"]}


def stages(to: str, opened: Photographs, budget: Budget) -> dict[str, Any]:
    """The cell of a student's stages, at two budgets."""
    run, _ = _fitted(opened.source, "hashgrid", 5 * SECONDS * budget.share)
    rows = []
    ways: dict[str, tuple[float, float] | None] = {
        "default": None,
        "rendered colours alone": (0.0, 0.0),
        "samples alone": (0.0, 1.0),
    }
    for way, shares in ways.items():
        row: dict[str, Any] = {"student": to, "stages": way}
        for share in (0.2, 1.0):
            seconds = share * SECONDS * budget.share
            row[f"{seconds:g} s, dB"] = _convert(run, to, seconds, stages=shares, init_field=False)[1]["psnr"]
        rows.append(row)
    return {"rows": rows, "notes": [f"hashgrid to {to}"]}


def round_trip(over: str, opened: Photographs, budget: Budget) -> dict[str, Any]:
    """The cell of a hash grid that is converted to another architecture and back."""
    seconds = 4 * SECONDS * budget.share
    run, taught = _fitted(opened.source, "hashgrid", 5 * SECONDS * budget.share)
    between, there = _convert(run, over, seconds)
    _, back = _convert(between, "hashgrid", seconds)
    row = {
        "path": f"hashgrid, {over}, hashgrid",
        "first dB": taught["psnr"],
        "between dB": there["psnr"],
        "last dB": back["psnr"],
    }
    return {"rows": [row], "notes": [f"{seconds:g} s each"]}


def erased(to: str, opened: Photographs, budget: Budget) -> dict[str, Any]:
    """The cell of an erased box: the student's opacity on rays that cross the box and nothing else."""
    seconds = SECONDS * budget.share
    run, _ = _fitted(opened.source, "hashgrid", 5 * seconds)
    edited = polyfield.edit(run, erase=_ERASED, out=_new())
    student, figures = _convert(edited, to, seconds)
    pairs = zip(opened.draw(run), opened.draw(edited), opened.draw(student), strict=True)
    # What was there before and is not now was in the box.
    through = torch.cat(
        [found.opacity[(before.opacity > 0.5) & (after.opacity < _EMPTY)] for before, after, found in pairs]
    )
    row = {
        "student": to,
        "to the edited field dB": figures["psnr_to_teacher"],
        "rays": len(through),
        "mean opacity": _digits(float(through.mean()) if len(through) else None),
        "rays above 0.02, share": float((through > 0.02).float().mean()) if len(through) else None,
    }
    return {"rows": [row], "notes": [f"{seconds:g} s; box {_ERASED} erased"]}


def fused(to: str, opened: Photographs, budget: Budget) -> dict[str, Any]:
    """The cell of two half scenes that become one field, beside the whole scene."""
    seconds = 4 * SECONDS * budget.share
    run, _ = _fitted(opened.source, "hashgrid", 5 * SECONDS * budget.share)
    domain = polyfield.load(run).meaning.domain
    x, y, z = domain.centre
    # Fields of unbounded scenes go on outside of their domain's box.
    half = 1e3 * max(domain.half_size)
    left, right = (x - half, y, z, half, half, half), (x + half, y, z, half, half, half)
    one = polyfield.edit(run, erase=right, out=_new())
    other = polyfield.edit(run, erase=left, out=_new())
    both = polyfield.edit(one, paste=(other, right), out=_new())
    row = {
        "student": to,
        "of the whole dB": _convert(run, to, seconds, init_field=False)[1]["psnr"],
        "of two halves dB": _psnr(_convert(both, to, seconds, init_field=False)[0], opened),
    }
    return {"rows": [row], "notes": [f"{seconds:g} s"]}


def _psnr(run: Path, opened: Photographs) -> float:
    """Return the PSNR over all test views, of a student whose teacher has no source of its own."""
    from polyfield.fitting.metrics.views import evaluate

    scene, field = opened.scene, polyfield.load(run)
    images, masks = [scene.images[i] for i in scene.test], [scene.masks[i] for i in scene.test]
    renderer = RadianceRenderer(field, field.context)
    return float(evaluate(renderer, scene.cameras[list(scene.test)], images, masks)["psnr"])


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
