"""Volume rendering: rays through a radiance field to colour, opacity and depth; whole images in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.cameras.rays import Rays
from polyfield.fields import Field, Points
from polyfield.fields.points import FieldOutput
from polyfield.kernels import RaySamples, composite, transmittance
from polyfield.render.radiance.fused import LEAST_SHARE, LEAST_TRANSMITTANCE, FusedField
from polyfield.render.radiance.queued import QueuedPictures
from polyfield.render.radiance.sampling import MarchingSampler, Sampler, refuse_culling

_RAYS_AT_ONCE = 4096
_FUSED_RAYS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class Rendering:
    """What was seen along R rays, or in an image (H, W)."""

    colour: Tensor  # (R, 3) or (H, W, 3), without background
    opacity: Tensor  # (R,) or (H, W)
    depth: Tensor  # (R,) or (H, W): expected distance along the unit ray, 0 where nothing is
    evaluated: int  # samples whose density was asked
    shaded: int  # samples that went through the whole field

    def over(self, background: Tensor) -> Tensor:
        """The colours on a background (3,), (R, 3) or (H, W, 3)."""
        return self.colour + (1 - self.opacity[..., None]) * background


def sample_points(rays: Rays, samples: RaySamples) -> Points:
    """The points (C, 3) of packed samples, with what the field may ask of their rays."""
    directions = rays.directions[samples.ray]
    x = rays.origins[samples.ray] + samples.t[:, None] * directions
    return Points(x, directions, None if rays.times is None else rays.times[samples.ray], samples.ray)


def render_rays(field: Field, rays: Rays, sampler: Sampler, *, jitter: Tensor | None = None) -> Rendering:
    """Render rays. jitter (R,) in [0, 1) shifts each ray's samples; without it they stand in the middle.

    Differentiable in the field's parameters where gradients are on.
    """
    if isinstance(sampler, MarchingSampler):
        refuse_culling(field)
    if jitter is None:
        jitter = torch.full((len(rays),), 0.5, device=rays.origins.device)
    samples = sampler(rays, jitter)
    return (_render_lit if torch.is_grad_enabled() else _render_visible)(field, rays, samples)


def _lit(rays: Rays, samples: RaySamples, density: Tensor) -> tuple[RaySamples, Tensor, Tensor]:
    """The samples that light reaches, which of all samples (C,) they are, and which of them (L,) are not faint.

    Faint ones weigh less than a share of their ray's mean: they take light away, but have no colour.
    """
    light = transmittance(samples, density)
    lit = light > LEAST_TRANSMITTANCE
    samples = samples.select(lit)
    weights = light[lit] * -torch.expm1(-density[lit] * samples.dt)
    sums = torch.zeros_like(rays.origins[:, 0]).index_add(0, samples.ray, weights)
    mean = sums / samples.counts.clamp(min=1)
    return samples, lit, weights > LEAST_SHARE * mean[samples.ray]


def _render_lit(field: Field, rays: Rays, samples: RaySamples) -> Rendering:
    """With gradients: density of all samples without them, then the whole field where it can be seen."""
    evaluated = len(samples)
    with torch.no_grad():
        density = field.density(field.raw(sample_points(rays, samples)))
        samples, lit, kept = _lit(rays, samples, density)
    points = sample_points(rays, samples)[kept]
    output = field.head(field.features(points), points)
    return _shaded(samples, density[lit], kept, output, evaluated)


def _render_visible(field: Field, rays: Rays, samples: RaySamples) -> Rendering:
    """Without gradients: the features of all samples once, and colours only for those that can be seen."""
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
    """What is seen of samples (L,) of density (L,), of which the kept ones have an output."""
    assert output.density is not None and output.colour is not None
    density = density.masked_scatter(kept, output.density)
    colour = density.new_zeros(len(samples), 3).masked_scatter(kept[:, None], output.colour)
    weights = composite(samples, density, colour).weights * kept
    columns = torch.cat((colour, torch.ones_like(weights)[:, None], samples.t[:, None]), 1)
    sums = columns.new_zeros(samples.rays, 5).index_add(0, samples.ray, columns * weights[:, None])
    opacity = sums[:, 3]
    return Rendering(
        sums[:, :3], opacity, sums[:, 4] / opacity.clamp(min=1e-10), evaluated, len(output.density)
    )


def _render_fused(fused: FusedField, rays: Rays, sampler: MarchingSampler) -> Rendering:
    middle = torch.full((len(rays),), 0.5)
    figures, colour, opacity, depth = fused.render(rays, middle, sampler)
    return Rendering(
        colour, opacity, depth / opacity.clamp(min=1e-10), figures["evaluated"], figures["shaded"]
    )


Progress = Callable[[int, int], None]


def render_image(
    field: Field, cameras: Cameras, frame: int, sampler: Sampler, progress: Progress | None = None
) -> Rendering:
    """One view (H, W), some thousand rays at a time. progress is called with (rays done, rays in all)."""
    [rendering] = render_images(field, cameras, [frame], sampler, progress)
    return rendering


@torch.no_grad()
def render_images(
    field: Field,
    cameras: Cameras,
    frames: Iterable[int],
    sampler: Sampler,
    progress: Progress | None = None,
) -> Iterator[Rendering]:
    """Views (H, W) of a field that stays as it is, one after the other, as `render_image` has them."""
    fused = FusedField.of(field) if isinstance(sampler, MarchingSampler) else None
    queue = None
    if fused and fused.queues:
        assert isinstance(sampler, MarchingSampler)
        queue = QueuedPictures(fused, sampler, cameras)
    try:
        for frame in frames:
            width, height = (int(n) for n in cameras.sizes[frame])
            if queue:
                sums, evaluated, shaded = queue.render(frame, progress)
                opacity = sums[:, 3]
                depth = sums[:, 4] / opacity.clamp(min=1e-10)
                yield _image([Rendering(sums[:, :3], opacity, depth, evaluated, shaded)], width, height)
            else:
                yield _image(_parts(field, fused, cameras, frame, sampler, progress), width, height)
    finally:
        if queue:
            queue.close()


def _parts(
    field: Field,
    fused: FusedField | None,
    cameras: Cameras,
    frame: int,
    sampler: Sampler,
    progress: Progress | None,
) -> list[Rendering]:
    """A view some thousand rays at a time."""
    total, parts = int(cameras.sizes[frame].prod()), []
    at_once = _FUSED_RAYS_AT_ONCE if fused else _RAYS_AT_ONCE
    for start in range(0, total, at_once):
        stop = min(start + at_once, total)
        rays = cameras.image_rays(frame, start, stop)
        if fused:
            assert isinstance(sampler, MarchingSampler)
            parts.append(_render_fused(fused, rays, sampler))
        else:
            parts.append(render_rays(field, rays, sampler))
        if progress:
            progress(stop, total)
    return parts


def _image(parts: list[Rendering], width: int, height: int) -> Rendering:
    """Parts of a view, in order, as one."""
    return Rendering(
        torch.cat([part.colour for part in parts]).view(height, width, 3),
        torch.cat([part.opacity for part in parts]).view(height, width),
        torch.cat([part.depth for part in parts]).view(height, width),
        sum(part.evaluated for part in parts),
        sum(part.shaded for part in parts),
    )
