"""Samplers: from rays to packed samples, through an occupancy grid or without one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.errors import PolyfieldError
from polyfield.fields import Domain, Field
from polyfield.fields.context import FieldContext
from polyfield.kernels import RaySamples, march

# Cascades of an unbounded scene: rays end at 2^(UNBOUNDED_CASCADES - 1) half sizes from the centre.
UNBOUNDED_CASCADES = 5
_STRATIFIED_SAMPLES = 128
_MOST_STEPS = 4096  # along the domain's diagonal: four times as many as fits take
# Rays and jitter (R,) in [0, 1) to samples.
Sampler = Callable[[Rays, Tensor], RaySamples]


@dataclass(frozen=True)
class Lattice:
    """The distances at which rays are sampled, in steps of `step`, or of cone * t if that is larger."""

    step: float  # in units of the source
    cone: float  # 0: all steps are equal
    near: float  # distance from the camera before which nothing is sampled


def crossing(rays: Rays, domain: Domain, reach: float, near: float) -> tuple[Tensor, Tensor]:
    """Return the distances (R,), (R,) at which rays enter and leave the local cube [-reach, reach]^3.

    They are equal for rays that miss it.
    """
    origins = domain.to_local(rays.origins)
    # A tiny slope in place of 0 gives the same crossing, without infinity times zero.
    slopes = domain.turn(rays.directions)
    slopes = torch.where(slopes.abs() < 1e-12, torch.full_like(slopes, 1e-12), slopes)
    low, high = (-reach - origins) / slopes, (reach - origins) / slopes
    enter = torch.minimum(low, high).amax(-1).clamp(min=near)
    leave = torch.maximum(low, high).amin(-1)
    return enter, torch.maximum(leave, enter)


@dataclass(frozen=True)
class MarchingSampler:
    """Samples in occupied cells only. For pointwise fields."""

    domain: Domain
    occupied: Tensor  # (K, G, G, G) bool, as in OccupancyGrid
    lattice: Lattice

    def __call__(self, rays: Rays, jitter: Tensor) -> RaySamples:
        near, far = crossing(rays, self.domain, 2.0 ** (len(self.occupied) - 1), self.lattice.near)
        return march(
            self.domain.to_local(rays.origins),
            self.domain.turn(rays.directions),
            near,
            far,
            self.occupied,
            step=self.lattice.step,
            cone=self.lattice.cone,
            jitter=jitter,
        )


def in_box(occupied: Tensor, domain: Domain, centre: Tensor, half: Tensor) -> Tensor:
    """Return a mask (K, R, R, R) of the cells of an occupancy grid whose centres are in a world box."""
    cascades, cells = occupied.shape[0], occupied.shape[-1]
    middle = (torch.arange(cells, device=occupied.device) + 0.5) * (2 / cells) - 1
    z, y, x = torch.meshgrid(middle, middle, middle, indexing="ij")
    local = torch.stack((x, y, z), -1).view(-1, 3)
    found = [
        ((domain.to_world(local * 2.0**cascade) - centre).abs() <= half).all(-1).view(cells, cells, cells)
        for cascade in range(cascades)
    ]
    return torch.stack(found)


@dataclass(frozen=True)
class StratifiedSampler:
    """`count` samples on every ray, one in each of `count` parts.

    For fields whose empty space cannot be skipped. The parts have equal lengths in a box. In a contraction
    they grow with distance, with equal lengths in 1 / t.
    """

    domain: Domain
    count: int
    near: float
    far: float  # used by a contraction only

    def __call__(self, rays: Rays, jitter: Tensor) -> RaySamples:
        steps = torch.arange(self.count + 1, device=rays.origins.device) / self.count
        if self.domain.kind == "box":
            near, far = crossing(rays, self.domain, 1.0, self.near)
            edges = near[:, None] + (far - near)[:, None] * steps
        else:
            edges = 1 / (1 / self.near + (1 / self.far - 1 / self.near) * steps).expand(len(rays), -1)
        dt = edges.diff(dim=-1)
        t = edges[:, :-1] + dt * jitter[:, None]
        ray = torch.arange(len(rays), device=t.device)[:, None].expand_as(t)
        crossed = dt > 0
        return RaySamples.pack(t[crossed], dt[crossed], ray[crossed], len(rays))


def refuse_culling(field: Field) -> None:
    """Refuse to skip empty space of a field whose values depend on more than the point."""
    if not field.traits.pointwise:
        raise PolyfieldError(
            "rendering: the field's densities depend on the viewing direction or on the whole ray, so empty space "
            "cannot be skipped; use StratifiedSampler"
        )


def cascades(domain: Domain) -> int:
    """Return the occupancy cascades that a domain needs."""
    return 1 if domain.kind == "box" else UNBOUNDED_CASCADES


def sampler_for(field: Field, occupied: Tensor | None, lattice: Lattice) -> Sampler:
    """Return a marching sampler if there is an occupancy grid and it may be used, else a stratified sampler.

    The grid may be used for pointwise fields.
    """
    domain = field.meaning.domain
    if occupied is not None and field.traits.pointwise:
        return MarchingSampler(domain, occupied, lattice)
    far = 2.0 ** (cascades(domain) - 1) * max(domain.half_size)
    return StratifiedSampler(domain, _STRATIFIED_SAMPLES, max(lattice.near, 1e-3 * far), far)


def sampler_of(field: Field, context: FieldContext) -> Sampler:
    """Return the sampler of a field with its file's context.

    Raises PolyfieldError if its steps are too fine.
    """
    least = 2 * math.hypot(*field.meaning.domain.half_size) / _MOST_STEPS
    if context.step_size < least:
        raise PolyfieldError(
            f"context: step_size is {context.step_size:g}; expected at least {least:g}, 1/{_MOST_STEPS} of the domain's diagonal"
        )
    occupied = None if context.occupancy is None else context.occupancy.to(field.device)
    return sampler_for(field, occupied, Lattice(context.step_size, context.cone, context.near))
