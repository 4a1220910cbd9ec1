"""RadiancePictures: views of a radiance field in bounded memory. The kernel is kept from view to view."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.cameras.rays import Rays
from polyfield.fields import Field
from polyfield.progress import Progress, silent
from polyfield.rendering.finite import not_finite
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.queued import QueuedPictures
from polyfield.rendering.radiance.rendering import Rendering, render_rays
from polyfield.rendering.radiance.sampling import MarchingSampler, Sampler

_RAYS_AT_ONCE = 4096
_FUSED_RAYS_AT_ONCE = 1 << 17


class RadiancePictures:
    """Views of a field. The fused kernel and its copies in half precision are made once.

    >>> from polyfield.cameras.cameras import look_at
    >>> from polyfield.fields import Domain, FieldSpec, create
    >>> from polyfield.rendering.radiance.sampling import Lattice, sampler_for
    >>> field = create(FieldSpec.of("hashgrid", "radiance", Domain("box", (0.0,) * 3, (1.0,) * 3)))
    >>> eye = torch.tensor([[0.0, 0.0, 4.0]])
    >>> poses = look_at(eye, torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    >>> cameras = Cameras.perspective(poses, focal=20.0, size=(16, 12))
    >>> pictures = RadiancePictures(field, sampler_for(field, None, Lattice(0.1, 0.0, 0.0)))
    >>> pictures.render(cameras, 0).colour.shape
    torch.Size([12, 16, 3])
    """

    def __init__(self, field: Field, sampler: Sampler) -> None:
        self._field, self._sampler = field, sampler
        self._fused = FusedField.of(field) if isinstance(sampler, MarchingSampler) else None
        self._queue: tuple[Cameras, int, QueuedPictures] | None = None

    def refresh(self, sampler: Sampler | None = None) -> None:
        """Follow a field whose tensors other code changed. Take another sampler if one is given."""
        self.close()
        if sampler is not None:
            self._sampler = sampler
        self._fused = FusedField.of(self._field) if isinstance(self._sampler, MarchingSampler) else None

    @torch.no_grad()
    def render(
        self, cameras: Cameras, view: int, progress: Progress = silent, *, stride: int = 1
    ) -> Rendering:
        """Return a view (H, W). progress may raise to stop; the object is then unchanged.

        A stride multiplies the step between a ray's samples, for coarse pictures. Fields that are sampled without an
        occupancy grid ignore it. Raises PolyfieldError where the field has values that are not finite.
        """
        width, height = cameras.sizes[view].tolist()
        if self._fused and self._fused.queues:
            parts = [self._queued(self._fused, cameras, view, progress, stride)]
        else:
            parts = self._parts(cameras, view, progress, _strided(self._sampler, stride))
        if not all(torch.isfinite(part.colour.sum() + part.opacity.sum()) for part in parts):
            raise not_finite()
        return Rendering(
            torch.cat([part.colour for part in parts]).view(height, width, 3),
            torch.cat([part.opacity for part in parts]).view(height, width),
            torch.cat([part.depth for part in parts]).view(height, width),
            sum(part.evaluated for part in parts),
            sum(part.shaded for part in parts),
        )

    def close(self) -> None:
        """Free the memory of captured graphs."""
        if self._queue:
            self._queue[2].close()
            self._queue = None

    def _queued(
        self, fused: FusedField, cameras: Cameras, view: int, progress: Progress, stride: int
    ) -> Rendering:
        if self._queue is None or self._queue[0] is not cameras or self._queue[1] != stride:
            self.close()
            sampler = _strided(self._sampler, stride)
            assert isinstance(sampler, MarchingSampler)
            self._queue = cameras, stride, QueuedPictures(fused, sampler, cameras)
        sums, evaluated, shaded = self._queue[2].render(view, progress)
        opacity = sums[:, 3]
        return Rendering(sums[:, :3], opacity, sums[:, 4] / opacity.clamp(min=1e-10), evaluated, shaded)

    def _parts(self, cameras: Cameras, view: int, progress: Progress, sampler: Sampler) -> list[Rendering]:
        """Return a view in parts of some thousand rays."""
        total, parts = int(cameras.sizes[view].prod()), []
        at_once = _FUSED_RAYS_AT_ONCE if self._fused else _RAYS_AT_ONCE
        for start in range(0, total, at_once):
            stop = min(start + at_once, total)
            rays = cameras.image_rays(view, start, stop)
            parts.append(
                _fused_rays(self._fused, rays, sampler)
                if self._fused and isinstance(sampler, MarchingSampler)
                else render_rays(self._field, rays, sampler)
            )
            progress(stop / total)
        return parts


def _strided(sampler: Sampler, stride: int) -> Sampler:
    """Return a sampler whose steps are stride times as long."""
    if stride == 1 or not isinstance(sampler, MarchingSampler):
        return sampler
    lattice = sampler.lattice
    return replace(sampler, lattice=replace(lattice, step=lattice.step * stride, cone=lattice.cone * stride))


def _fused_rays(fused: FusedField, rays: Rays, sampler: MarchingSampler) -> Rendering:
    middle: Tensor = torch.full((len(rays),), 0.5)
    figures, colour, opacity, depth = fused.render(rays, middle, sampler)
    if not figures.get("finite", True):  # the kernel shows NaN as empty space
        raise not_finite()
    return Rendering(
        colour, opacity, depth / opacity.clamp(min=1e-10), figures["evaluated"], figures["shaded"]
    )
