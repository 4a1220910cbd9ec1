"""Volume rendering: from rays through a radiance field to colour, opacity and depth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.fields import Field, Points
from polyfield.fields.points import FieldOutput
from polyfield.kernels import RaySamples, composite, transmittance
from polyfield.rendering.fused import LEAST_SHARE, LEAST_TRANSMITTANCE
from polyfield.rendering.radiance.sampling import MarchingSampler, Sampler, refuse_culling

_BLOCK = 16  # samples of a ray whose density is evaluated at first; later blocks are larger
_DARK = 1e-3 - math.log(
    LEAST_TRANSMITTANCE
)  # the optical depth at which light has ended, whatever the rounding


@dataclass(frozen=True)
class Rendering:
    """Colours, opacities and depths of R rays, or of the pixels of an image (H, W)."""

    colour: Tensor  # (R, 3) or (H, W, 3), without background
    opacity: Tensor  # (R,) or (H, W)
    depth: Tensor  # (R,) or (H, W): expected distance along the unit ray, 0 for empty rays
    evaluated: int  # samples whose density was evaluated
    shaded: int  # samples that went through the whole field
    # With gradients, for losses: the samples that light reaches, and their shares in their ray's colour.
    samples: RaySamples | None = None
    weights: Tensor | None = None  # (C,)

    def over(self, background: Tensor) -> Tensor:
        """Return the colours on a background (3,), (R, 3) or (H, W, 3)."""
        return self.colour + (1 - self.opacity[..., None]) * background


def sample_points(rays: Rays, samples: RaySamples) -> Points:
    """Return the points (C, 3) of packed samples, with the directions, times and numbers of their rays."""
    directions = rays.directions[samples.ray]
    x = rays.origins[samples.ray] + samples.t[:, None] * directions
    times = None if rays.times is None else rays.times[samples.ray]
    return Points(x, directions, times, samples.ray)


def render_rays(field: Field, rays: Rays, sampler: Sampler, *, jitter: Tensor | None = None) -> Rendering:
    """Return what rays (R,) see of a field.

    jitter (R,) in [0, 1) shifts each ray's samples; by default it is 0.5. Differentiable in the field's
    parameters if gradients are enabled.
    """
    if isinstance(sampler, MarchingSampler):
        refuse_culling(field)
    if jitter is None:
        jitter = torch.full((len(rays),), 0.5, device=rays.origins.device)
    samples = sampler(rays, jitter)
    # Of a field that is not pointwise, the samples of a ray go through it together.
    return (_render_lit if field.traits.pointwise else _render_visible)(field, rays, samples)


@torch.no_grad()
def lit_density(evaluate: Callable[[Points], Tensor], rays: Rays, samples: RaySamples) -> tuple[Tensor, int]:
    """Return densities (C,) at samples, and how many of them were evaluated.

    evaluate returns the densities (N,) of a pointwise field at points without directions. A ray is evaluated in blocks of
    samples, from front to back, until its light has ended. The density of all later samples is 0.
    """
    density = torch.zeros_like(samples.t)
    depth = torch.zeros_like(rays.origins[:, 0])  # optical
    ray = samples.counts.nonzero()[:, 0]
    first, evaluated = 0, 0
    while len(ray):
        block = max(_BLOCK, first)
        counts = (samples.counts[ray] - first).clamp(max=block)
        starts = samples.offsets[ray] + first - (counts.cumsum(0) - counts)
        index = torch.repeat_interleave(starts, counts)
        index += torch.arange(len(index), device=index.device)
        along = samples.ray[index]
        x = rays.origins[along] + samples.t[index, None] * rays.directions[along]
        times = None if rays.times is None else rays.times[along]
        density[index] = evaluate(Points(x, times=times))
        depth.index_add_(0, along, density[index] * samples.dt[index])
        first, evaluated = first + block, evaluated + len(index)
        ray = ray[(samples.counts[ray] > first) & (depth[ray] < _DARK)]
    return density, evaluated


def _lit(rays: Rays, samples: RaySamples, density: Tensor) -> tuple[RaySamples, Tensor, Tensor]:
    """Return the samples that light reaches, and two masks.

    The first mask (C,) selects them from all samples. The second (L,) selects those of them that are not
    faint. Faint samples weigh less than a share of their ray's mean. They absorb light, but have no colour.
    """
    light = transmittance(samples, density)
    lit = light > LEAST_TRANSMITTANCE
    samples = samples.select(lit)
    weights = light[lit] * -torch.expm1(-density[lit] * samples.dt)
    sums = torch.zeros_like(rays.origins[:, 0]).index_add(0, samples.ray, weights)
    mean = sums / samples.counts.clamp(min=1)
    return samples, lit, weights > LEAST_SHARE * mean[samples.ray]


def _render_lit(field: Field, rays: Rays, samples: RaySamples) -> Rendering:
    """Return a rendering of a pointwise field, with gradients if they are enabled.

    Densities are evaluated without gradients, then the whole field at samples that can be seen.
    """
    with torch.no_grad():
        density, evaluated = lit_density(lambda points: field.density(field.raw(points)), rays, samples)
        samples, lit, kept = _lit(rays, samples, density)
    points = sample_points(rays, samples)[kept]
    output = field.head(field.features(points), points)
    return _shaded(samples, density[lit], kept, output, evaluated)


def _render_visible(field: Field, rays: Rays, samples: RaySamples) -> Rendering:
    """Return a rendering of any field, with gradients if they are enabled.

    The features of all samples are evaluated once, and colours only for samples that can be seen.
    """
    points = sample_points(rays, samples)
    features = field.features(points)
    assert features.raw is not None
    density = field.density(features.raw)
    lit_samples, lit, kept = _lit(rays, samples, density)
    seen = lit.nonzero()[:, 0][kept]
    return _shaded(lit_samples, density[lit], kept, field.head(features[seen], points[seen]), len(samples))


def _shaded(
    samples: RaySamples, density: Tensor, kept: Tensor, output: FieldOutput, evaluated: int
) -> Rendering:
    """Return the rendering of samples (L,) of density (L,), of which the kept ones have an output."""
    assert output.density is not None and output.colour is not None
    density = density.masked_scatter(kept, output.density)
    colour = density.new_zeros(len(samples), 3).masked_scatter(kept[:, None], output.colour)
    weights = composite(samples, density, colour).weights * kept
    columns = torch.cat((colour, torch.ones_like(weights)[:, None], samples.t[:, None]), 1)
    sums = columns.new_zeros(samples.rays, 5).index_add(0, samples.ray, columns * weights[:, None])
    opacity = sums[:, 3]
    depth = sums[:, 4] / opacity.clamp(min=1e-10)
    kept_for_loss = (samples, weights) if torch.is_grad_enabled() else (None, None)
    return Rendering(sums[:, :3], opacity, depth, evaluated, len(output.density), *kept_for_loss)
