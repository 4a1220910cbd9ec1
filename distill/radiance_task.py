"""RadianceConversion: a radiance field taught by another, from features to samples to rendered colours.

Progressive volume distillation (Fang et al. 2023, PVD) with active learning (Fang et al. 2024, PVD-AL).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.distill import teacher_points, teacher_rays
from polyfield.distill.edited import RadianceView
from polyfield.distill.effort import uses
from polyfield.distill.options import Conversion
from polyfield.distill.poses import Poses, around
from polyfield.distill.task import ConversionTask, Taught, copy_field, copy_head, fill
from polyfield.distill.teacher import Teacher
from polyfield.distill.teacher_points import TeacherPoints
from polyfield.distill.teacher_rays import TeacherRays
from polyfield.distill.together import Together
from polyfield.errors import PolyfieldError
from polyfield.fields import Field, FieldSpec, StoredField
from polyfield.fields.context import FieldContext
from polyfield.fitting.fit import Fit
from polyfield.fitting.losses import Term
from polyfield.fitting.metrics.images import mean, psnr, to_8_bits
from polyfield.fitting.objective import Objective, Stages
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.points.point_objective import PointObjective
from polyfield.fitting.rays.ray_objective import RayObjective
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.runs.devices import device_of
from polyfield.fitting.tasks.memory import Memory, is_fused, predict, predict_on_gpu
from polyfield.fitting.tasks.task import Evaluation, MakeObjective
from polyfield.kernels.dispatch import form
from polyfield.progress import Progress
from polyfield.rendering.radiance.sampling import Lattice
from polyfield.rendering.renderers import RadianceRenderer

# The teacher's and the student's pictures on the background, clipped and rounded to 8 bits, from random poses that neither
# was trained on; PSNR of each, then the mean.
PROTOCOL = "polyfield-conversion-1"

CLAMP = (-2.0, 7.0)  # of log densities that are compared: below all is empty, above all is opaque
_COLOUR, _RAW = 1.0, 0.01  # weights of the losses at samples
_POINTS = (1 << 11, 1 << 13)  # of a step, at first and at the end
# Ends of the first two stages. Measured for 30 s of lego at 1/4, hashgrid to mlp, by the end of the second: 27.7 dB with 0.8,
# 28.0 with 0.4, 28.1 with 0.1; an mlp with 8 layers of 128 has the same after 24 s with 0.8 and 0.5, and 0.4 dB less with 0.25.
_TABLES, _NETWORKS = (0.02, 0.1), (0.05, 0.5)
_VIEWS, _PIXELS = 8, 256  # that are compared; along their longest side at most
_SHEET = 4
_SEED_OF_VIEWS = 1 << 40


class RadianceConversion(ConversionTask):
    """Stages of one fit: features and densities; densities and colours at samples; rendered colours beside them."""

    counts: tuple[str, ...] = ()  # of the objective that was made last

    def __init__(self, taught: Taught, conversion: Conversion) -> None:
        super().__init__(taught)
        self.conversion = conversion
        self.teacher = Teacher(taught.field, taught.context)
        stored = taught.context.cameras
        cameras = Cameras.from_json(stored) if stored else around(self.meaning.domain)
        if self.meaning.moving and cameras.times is None:
            cameras = replace(cameras, times=torch.linspace(0, 1, len(cameras)))
        self.poses = Poses(cameras.to(taught.field.device), self.teacher.blocked)
        self.field_copied = self.head_copied = False

    # -- a fit

    def loss(self) -> Sequence[Term]:
        low, high = CLAMP
        return (
            Term("colour", "squares", _COLOUR),
            Term("raw", "clamped", _RAW, {"low": low, "high": high}),
        )

    def objective(self, config: FitConfig, device: str, progress: Progress) -> MakeObjective:
        def make(field: StoredField, optimiser: Optimiser, terms: Sequence[Term]) -> Objective:
            first, second = self.conversion.stages or _stages(field, self.taught.context.occupancy)
            self._start(field, optimiser)
            # An edited field has no latent vectors of its own.
            latent = self.head_copied and not isinstance(self.taught.field, RadianceView)
            if any(term.part == "features" for term in terms) and not latent:
                raise PolyfieldError(
                    "loss: the part 'features' cannot be compared, because the latent vectors of teacher and student have "
                    "different meanings; keep init_head, give the student a colour network of the teacher's shape, and use a "
                    "teacher that is neither edited nor cut by --box"
                )
            source = TeacherPoints(
                self.teacher,
                self.poses,
                uses=uses(self.taught.field, field, teacher_points.SAMPLES),
                important="points" in self.conversion.hard,
            )

            def points(*loss: Term) -> PointObjective:
                return PointObjective(
                    field,
                    optimiser,
                    source,
                    seed=config.seed,
                    loss=loss,
                    points=_POINTS,
                    deterministic=config.deterministic,
                )

            stages: list[tuple[float, Objective]] = []
            if first > 0 and latent:  # latent vectors then mean the same
                densities = [term for term in terms if term.part == "raw"]
                stages.append((first, points(*densities, Term("features", "squares"))))
            if second > 0:
                stages.append((second, points(*terms)))
            if second < 1:
                stages.append((1.0, Together(self._rays(field, optimiser, config), points(*terms))))
            made = Stages(stages)
            self.objective_ranges, self.counts = made.ranges, made.counts
            return made

        return make

    def _start(self, field: StoredField, optimiser: Optimiser) -> None:
        """Copy the teacher's tensors, or its colour network, or its values at nodes, as far as they fit the student."""
        teacher, init_head = self.taught.field, self.conversion.init_head
        first = teacher.stored[0] if isinstance(teacher, RadianceView) else teacher
        # An edited field may have content where its first field has no structure.
        fits = first is teacher or not (isinstance(first, StoredField) and [*first.buffers()])
        copied = fits and init_head and self.conversion.init_field and copy_field(first, field, optimiser)
        self.field_copied, self.head_copied = copied, copied or (init_head and copy_head(first, field))
        if not copied:
            fill(field, optimiser, self.teacher.values, self.taught.context.occupancy)

    def _rays(self, field: StoredField, optimiser: Optimiser, config: FitConfig) -> RayObjective:
        context, hard = self.taught.context, self.conversion.hard
        source = TeacherRays(
            self.teacher,
            self.poses,
            uses=uses(self.taught.field, field, teacher_rays.SAMPLES),
            hard_poses="poses" in hard,
            hard_rays="rays" in hard,
        )
        return RayObjective(
            field,
            optimiser,
            source,
            lattice=Lattice(context.step_size, context.cone, context.near),
            seed=config.seed,
            occupied=context.occupancy,
            deterministic=config.deterministic,
        )

    def context(self, fit: Fit) -> FieldContext:
        """Return the teacher's context, with the student's own occupancy where it has been found."""
        stages = fit.objective
        assert isinstance(stages, Stages)
        last = stages.last
        context = self.taught.context
        if isinstance(last, Together):
            context = replace(context, occupancy=last.rays.grid.occupied)
        taught = {
            "teacher": self.taught.sha256,
            "head_copied": self.head_copied,
            "field_copied": self.field_copied,
        }
        cameras = context.cameras or self.poses.cameras.to_json()  # those that it was taught from
        return replace(context, cameras=cameras, source={**context.source, **taught})

    def forecast(self, spec: FieldSpec, config: FitConfig) -> Memory:
        device = torch.device(device_of(config.device))
        fused = is_fused(spec, form(device))
        if device.type == "cpu":
            return predict(spec, pixels=0, fused=fused)
        return predict_on_gpu(spec, pixels=0, fused=fused, deterministic=config.deterministic)

    def figures(self, state: dict[str, Any]) -> dict[str, Any]:
        seconds, totals = max(state["seconds"], 1e-9), state["totals"]
        return {
            "points_per_second": totals.get("points", 0) / seconds,
            "rays_per_second": totals.get("rays", 0) / seconds,
            "teacher_share_of_time": _teacher_seconds(state["objective"]) / seconds,
        }

    # -- what is measured

    def compare(self, field: Field, context: FieldContext, progress: Progress) -> Evaluation:
        frame, c2w = self.poses.draw(_VIEWS, seed=_SEED_OF_VIEWS, step=0)
        cameras = self.poses.at(frame, c2w)
        cameras = cameras.scaled(max(-(-int(cameras.sizes.max()) // _PIXELS), 1))
        theirs = RadianceRenderer(self.taught.field, self.taught.context)
        own = RadianceRenderer(field, context)
        values, columns = [], []
        for view in range(_VIEWS):
            wanted = to_8_bits(theirs.picture(cameras, view).cpu())
            found = to_8_bits(own.picture(cameras, view).cpu())
            values.append(psnr(found, wanted))
            if view < _SHEET:
                columns.append([wanted, found, 1 - ((found - wanted).abs() * 8).clamp(max=1)])
            progress((view + 1) / _VIEWS)
        figures = {
            "protocol": PROTOCOL,
            "psnr_to_teacher": mean(values),
            "head_copied": context.source.get("head_copied"),
            "field_copied": context.source.get("field_copied"),
        }
        return Evaluation(
            figures,
            f"PSNR to the teacher {figures['psnr_to_teacher']:.2f} dB over {_VIEWS} random views ({PROTOCOL})",
            [list(row) for row in zip(*columns, strict=True)],
            "random views; the teacher, the student, and their difference times eight",
            "against-teacher.png",
        )


def _stages(field: StoredField, occupied: Tensor | None) -> tuple[float, float]:
    """Return where the first two stages end, as shares of a fit of this field by a teacher with this occupancy grid."""
    plan = field.plan()
    has_tables = bool(plan.groups) if plan else any(group.half for group in field.parameter_groups())
    if has_tables:
        return _TABLES
    # A grid that a fifth of a fit has found would have holes.
    return _NETWORKS if occupied is not None else (_NETWORKS[0], 1.0)


def _teacher_seconds(state: dict[str, Any]) -> float:
    """Return the time that a teacher took, from the state of an objective. Stages share a source, which each of them saves."""
    found = {"used": 0.0, "drawn": 0.0}  # keys that only the sources of points and of rays have

    def visit(part: dict[str, Any]) -> None:
        for key in found.keys() & part.keys():
            if not isinstance(part[key], dict):
                found[key] = max(found[key], part["seconds"])
        for value in part.values():
            if isinstance(value, dict):
                visit(value)

    visit(state)
    return sum(found.values())
