"""Teacher: a fitted radiance field that returns samples along rays, and pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.errors import PolyfieldError
from polyfield.fields import Field, Points
from polyfield.fields.context import FieldContext
from polyfield.fields.occupied import occupied_at
from polyfield.kernels import transmittance
from polyfield.rendering.fused import LEAST_TRANSMITTANCE, FusedField
from polyfield.rendering.radiance.rendering import lit_density, render_rays, sample_points
from polyfield.rendering.radiance.sampling import MarchingSampler, sampler_of

_FIRST_RAYS, _MOST_RAYS = 1 << 12, 1 << 15  # rendered at once, of a teacher without a fused kernel


@dataclass(frozen=True)
class Answers:
    """What a teacher says at the C samples on R rays that light reaches."""

    points: Points  # with directions
    ray: Tensor  # (C,) int64 index of the sample's ray
    raw: Tensor  # (C, 1)
    colour: Tensor  # (C, 3)
    features: Tensor  # (C, F)
    weight: Tensor  # (C,) in the ray's colour


class Teacher:
    """A radiance field, evaluated by its fused kernel where it has one. `seconds` is the time that all answers took."""

    def __init__(self, field: Field, context: FieldContext) -> None:
        if not field.traits.pointwise:
            raise PolyfieldError(
                "convert: the teacher's densities depend on the viewing direction or on all samples of a ray, so they cannot "
                "be compared at points; use a teacher whose densities depend on the point alone (cam: index 'position', norm "
                "'point')"
            )
        self.field, self.context = field, context
        self.sampler = sampler_of(field, context)
        self.seconds = 0.0
        self._fused = FusedField.of(field)

    def blocked(self, x: Tensor) -> Tensor:
        """Return whether world points (N, 3) are in occupied cells, (N,) bool."""
        occupied = self.context.occupancy
        if occupied is None:
            return torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return occupied_at(occupied, self.field.meaning.domain.to_local(x))

    @torch.no_grad()
    def picture(self, rays: Rays, jitter: Tensor) -> Tensor:
        """Return premultiplied colours and opacities (R, 4) of rays."""
        start = time.perf_counter()
        if self._fused and isinstance(self.sampler, MarchingSampler):
            _, colour, opacity, _ = self._fused.render(rays, jitter, self.sampler)
            parts = [torch.cat((colour, opacity[:, None]), 1)]
        else:
            parts, first, count = [], 0, _FIRST_RAYS
            while first < len(rays):
                some = slice(first, first + count)
                seen = render_rays(self.field, rays[some], self.sampler, jitter=jitter[some])
                parts.append(torch.cat((seen.colour, seen.opacity[:, None]), 1))
                first += count
                # As many rays as have `points_at_once` samples, if they have as many as these.
                wanted = count * self.field.points_at_once // max(seen.evaluated, 1)
                count = min(max(wanted, 1), _MOST_RAYS)
        self.seconds += time.perf_counter() - start
        return torch.cat(parts)

    @torch.no_grad()
    def answers(self, rays: Rays, jitter: Tensor) -> Answers:
        """Return what the field says at the samples that light reaches."""
        start = time.perf_counter()
        samples = self.sampler(rays, jitter)
        density, _ = lit_density(lambda points: self.field.density(self._raw(points)), rays, samples)
        light = transmittance(samples, density)
        lit = light > LEAST_TRANSMITTANCE
        samples = samples.select(lit)
        weight = light[lit] * -torch.expm1(-density[lit] * samples.dt)
        points = sample_points(rays, samples)
        vector, colour = self._values(points)
        self.seconds += time.perf_counter() - start
        return Answers(points, samples.ray, vector[:, :1], colour, vector, weight)

    @torch.no_grad()
    def values(self, points: Points) -> tuple[Tensor, Tensor | None]:
        """Return raw densities (N, 1), the lowest ones in empty cells, and colours (N, 3) if points have directions."""
        start, colour = time.perf_counter(), None
        if points.directions is None:
            raw = self._raw(points)[:, None]
        else:
            vector, colour = self._values(points)
            raw = vector[:, :1]
        if self.context.occupancy is not None:
            raw = torch.where(self.blocked(points.x)[:, None], raw, self.field.meaning.transform.clamp[0])
        self.seconds += time.perf_counter() - start
        return raw, colour

    def _raw(self, points: Points) -> Tensor:
        if self._fused:
            return self._fused.evaluate(Points(points.x, times=points.times))[0][:, 0]
        return self.field.raw_in_chunks(points)

    def _values(self, points: Points) -> tuple[Tensor, Tensor]:
        """Return latent vectors (C, F), of which the first numbers are raw densities, and colours (C, 3)."""
        if self._fused:
            vector, colour = self._fused.evaluate(points)
            assert colour is not None
            return vector, colour
        vectors, colours = [], []
        for part in points.split(self.field.points_at_once) or [points]:
            features = self.field.features(part)
            output = self.field.head(features, part)
            assert features.raw is not None and output.colour is not None
            vectors.append(torch.cat((features.raw[:, None], features.vector[:, 1:]), 1))
            colours.append(output.colour)
        return torch.cat(vectors), torch.cat(colours)
