"""FusedField: a field with a plan as one kernel. It computes what the general path computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.fields import Field, Meaning, Points, StoredField
from polyfield.fields.plan import ColourNetwork, Harmonics, RadialColours
from polyfield.kernels import FusedKernel, QueuedKernel, fused_field

if TYPE_CHECKING:
    from polyfield.rendering.radiance.sampling import MarchingSampler

# Samples with less transmittance than this are left out, in training and in pictures.
LEAST_TRANSMITTANCE = 1e-3
# Samples that weigh less than this share of their ray's mean sample are left out too.
LEAST_SHARE = 0.1


class FusedField:
    """A field's fused kernel. It reads the field's own tensors, so it follows them while they are trained."""

    def __init__(
        self,
        tensors: Sequence[Tensor],
        tables: int,
        colours: int,
        kernel: FusedKernel,
        *,
        timed: bool,
        time_as_axis: bool,
    ) -> None:
        """Take the kernel's tensors: tables first, those of the colours last.

        The times of a moving field are an argument of the kernel (`timed`), or one more axis of its points (`time_as_axis`).
        """
        self._kernel, self._timed, self._time_as_axis = kernel, timed, time_as_axis
        self.tensors = tuple(tensors)
        self._colours = colours
        self.halves = {id(table): half for table, half in zip(self.tensors[:tables], kernel.halves)}

    @staticmethod
    def of(field: Field) -> FusedField | None:
        """Return the fused form of a field, or None if there is no kernel for its plan on its device.

        To the kernel, the time of a moving field of values is one more axis of its box.
        """
        plan = field.plan() if isinstance(field, StoredField) else None
        if plan is None or not may_fuse(plan.meaning):
            return None
        colour: tuple[Tensor, ...] = ()
        radial = plan.functions
        match plan.head:
            case RadialColours(colour, degree, radial):
                pass
            case ColourNetwork(colour, degree):
                pass
            case Harmonics(degree):
                pass
            case None if not plan.meaning.kind.directional:
                degree = 0
            case _:
                return None
        tables = [[(factor.table, factor.levels, factor.axes) for factor in group] for group in plan.groups]
        domain, (low, high) = plan.meaning.domain, plan.meaning.transform.clamp
        timed = plan.meaning.moving and plan.meaning.kind.directional
        time_as_axis = plan.meaning.moving and not timed
        axes = torch.block_diag(
            domain.turn(torch.eye(domain.dimensions)).T, *[torch.tensor(2.0)] * time_as_axis
        )
        trunk, table = plan.trunk, plan.trunk.modulation
        modulation = None if table is None else (table.table, table.levels, table.axes)
        kernel = fused_field(
            tables,
            trunk.weights,
            colour,
            biases=trunk.biases,
            modulation=modulation,
            normed=trunk.normed,
            radial=radial,
            timed=timed,
            summed=plan.summed,
            frequencies=plan.frequencies,
            degree=degree,
            centre=(*domain.centre, *[0.5] * time_as_axis),
            axes=axes.tolist(),
            contraction=domain.kind == "contraction",
            low=low,
            high=high,
            per_length=1 / domain.density_unit,
            least_transmittance=LEAST_TRANSMITTANCE,
            least_share=LEAST_SHARE,
        )
        flat = [table for group in tables for table, _, _ in group]
        flat += [] if modulation is None else [modulation[0]]
        functions = [radial.weights] if radial else []
        tensors = [*flat, *trunk.weights, *trunk.biases, *functions, *colour]
        if kernel is None:
            return None
        colours = len(functions) + len(colour) if colour else 0
        return FusedField(tensors, len(flat), colours, kernel, timed=timed, time_as_axis=time_as_axis)

    def train(
        self,
        rays: Rays,
        jitter: Tensor,
        sampler: MarchingSampler,
        target: Tensor,
        background: Tensor,
        huber: float,
        steps: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[dict[str, Any], Tensor]:
        """Return a step's figures and squared errors, as in `FusedKernel.train`.

        The gradients are left on `tensors`; with `steps`, the tensors are moved instead.
        """
        figures, errors, gradients = self._kernel.train(
            self._walk(rays, jitter, sampler),
            sampler.occupied,
            target=target,
            background=background,
            huber=huber,
            steps=steps,
        )
        for tensor, gradient in zip(self.tensors, gradients):
            tensor.grad = gradient
        return figures, errors

    def train_points(
        self,
        points: Points,
        targets: Mapping[str, Tensor],
        terms: Sequence[tuple[str, str, float, Mapping[str, float]]],
        steps: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[dict[str, Any], Tensor]:
        """Return a step's figures and squared errors, as in `FusedKernel.train_points`.

        The gradients are left on `tensors`; with `steps`, the tensors are moved instead. Without a term of colours, the
        colour network rests.
        """
        compared = {part for part, *_ in terms}
        coloured = "colour" in compared
        resting = 0 if coloured else self._colours
        moves: list[Mapping[str, Any] | None] = [*steps]
        if steps and resting:
            moves[-resting:] = [None] * resting
        figures, errors, gradients = self._kernel.train_points(
            self._placed(points),
            points.directions if coloured else None,
            self._times(points.times),
            targets={part: targets[part] for part in compared},
            terms=terms,
            steps=moves,
        )
        for index, (tensor, gradient) in enumerate(zip(self.tensors, gradients)):
            tensor.grad = gradient if index < len(self.tensors) - resting else None
        return figures, errors

    def evaluate(self, points: Points) -> tuple[Tensor, Tensor | None]:
        """Return latent vectors (N, F) and, where there are directions, colours (N, 3)."""
        return self._kernel.evaluate(self._placed(points), points.directions, self._times(points.times))

    def _times(self, times: Tensor | None) -> Tensor | None:
        return times.float() if times is not None and self._timed else None

    def _placed(self, points: Points) -> Tensor:
        """Return points (N, D), of a moving field of values with time behind the axes of space."""
        if not self._time_as_axis:
            return points.x
        assert points.times is not None
        return torch.cat((points.x, points.times[:, None]), 1)

    @property
    def queues(self) -> bool:
        """Whether the kernel's steps can be queued."""
        return isinstance(self._kernel, QueuedKernel)

    def queue(
        self, rays: Rays, jitter: Tensor, sampler: MarchingSampler, **options: Any
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Queue a step without waiting, with the options of `QueuedKernel.queue`.

        Return figures and errors.
        """
        assert isinstance(self._kernel, QueuedKernel)
        figures, errors, _ = self._kernel.queue(
            self._walk(rays, jitter, sampler), sampler.occupied, **options
        )
        return figures, errors

    def queue_picture(
        self, rays: Rays, jitter: Tensor, sampler: MarchingSampler, **options: Any
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Queue part of a picture without waiting, and return what `QueuedKernel.queue_picture` returns."""
        assert isinstance(self._kernel, QueuedKernel)
        return self._kernel.queue_picture(self._walk(rays, jitter, sampler), sampler.occupied, **options)

    def density(self, local: Tensor, times: Tensor | None = None) -> Tensor:
        """Return densities (N,) at local points (N, 3), of a moving field at times (N,)."""
        return self._kernel.density(local, times)

    def refresh(self) -> None:
        """Update the copies in half precision after other code changed the tensors."""
        self._kernel.refresh()

    def render(
        self, rays: Rays, jitter: Tensor, sampler: MarchingSampler
    ) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        """Return what `FusedKernel.render` returns for these rays."""
        return self._kernel.render(self._walk(rays, jitter, sampler), sampler.occupied)

    def _walk(self, rays: Rays, jitter: Tensor, sampler: MarchingSampler) -> dict[str, Any]:
        """Return rays in the form that the kernel takes."""
        return {
            "origins": rays.origins,
            "directions": rays.directions,
            "jitter": jitter,
            "times": self._times(rays.times),
            "near": sampler.lattice.near,
            "step": sampler.lattice.step,
            "cone": sampler.lattice.cone,
        }


def may_fuse(meaning: Meaning) -> bool:
    """Return whether fields of a meaning may have a kernel: all but moving values in all of space."""
    return not meaning.moving or meaning.kind.directional or meaning.domain.kind == "box"
