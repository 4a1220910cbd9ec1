"""Fields with a plan as one kernel: the same training step and pictures as the general path, in a call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.fields import Field
from polyfield.fields.plan import Plan
from polyfield.kernels import FusedRadiance, QueuedRadiance, fused_radiance
from polyfield.render.radiance.sampling import MarchingSampler

# Samples that less light than this reaches are left out, in training and in pictures.
LEAST_TRANSMITTANCE = 1e-3
# And so are those that weigh less than this share of their ray's mean sample.
LEAST_SHARE = 0.1


class FusedField:
    """A field's fused kernel. It reads the field's tensors where they are, so it follows them while they are trained."""

    def __init__(self, plan: Plan, kernel: FusedRadiance) -> None:
        self._kernel = kernel
        tables = (factor.table for group in plan.groups for factor in group)
        self.tensors = (*tables, *plan.density_layers, *plan.colour_layers)

    @staticmethod
    def of(field: Field) -> FusedField | None:
        """The fused form of a field, or None if it has no plan or its device's kernels none that fits."""
        plan = field.plan()
        if plan is None:
            return None
        low, high = plan.transform.clamp
        kernel = fused_radiance(
            [[(factor.table, factor.levels, factor.axes) for factor in group] for group in plan.groups],
            plan.density_layers,
            plan.colour_layers,
            summed=plan.summed,
            frequencies=plan.frequencies,
            degree=plan.direction_degree,
            centre=plan.domain.centre,
            axes=plan.domain.turn(torch.eye(3)).T.tolist(),
            contraction=plan.domain.kind == "contraction",
            low=low,
            high=high,
            per_length=1 / plan.density_unit,
            least_transmittance=LEAST_TRANSMITTANCE,
            least_share=LEAST_SHARE,
        )
        return FusedField(plan, kernel) if kernel else None

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
        """Leaves one step's gradients on `tensors`, or moves them by steps; the rest is as in `FusedRadiance.train`."""
        figures, errors, gradients = self._kernel.train(
            _walk(rays, jitter, sampler),
            sampler.occupied,
            target=target,
            background=background,
            huber=huber,
            steps=steps,
        )
        for tensor, gradient in zip(self.tensors, gradients):
            tensor.grad = gradient
        return figures, errors

    @property
    def queues(self) -> bool:
        """Whether the kernel's steps can be queued."""
        return isinstance(self._kernel, QueuedRadiance)

    def queue(
        self, rays: Rays, jitter: Tensor, sampler: MarchingSampler, **options: Any
    ) -> tuple[dict[str, Tensor], Tensor]:
        """A step that the host does not wait for, with the options of `QueuedRadiance.queue`."""
        assert isinstance(self._kernel, QueuedRadiance)
        figures, errors, _ = self._kernel.queue(_walk(rays, jitter, sampler), sampler.occupied, **options)
        return figures, errors

    def queue_picture(
        self, rays: Rays, jitter: Tensor, sampler: MarchingSampler, **options: Any
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Part of a picture that the host does not wait for, with the options of `QueuedRadiance.queue_picture`."""
        assert isinstance(self._kernel, QueuedRadiance)
        return self._kernel.queue_picture(_walk(rays, jitter, sampler), sampler.occupied, **options)

    def density(self, local: Tensor) -> Tensor:
        """Densities (N,) at local points (N, 3)."""
        return self._kernel.density(local)

    def refresh(self) -> None:
        """Take note of tensors that were changed without their copies."""
        self._kernel.refresh()

    def render(
        self, rays: Rays, jitter: Tensor, sampler: MarchingSampler
    ) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        """Colour, opacity and depth of rays as `FusedRadiance.render` gives them."""
        return self._kernel.render(_walk(rays, jitter, sampler), sampler.occupied)


def _walk(rays: Rays, jitter: Tensor, sampler: MarchingSampler) -> dict[str, Any]:
    """Rays as the kernel takes them."""
    return {
        "origins": rays.origins,
        "directions": rays.directions,
        "jitter": jitter,
        "near": sampler.lattice.near,
        "step": sampler.lattice.step,
        "cone": sampler.lattice.cone,
    }
