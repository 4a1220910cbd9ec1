"""Layers: pictures of a radiance field that show something else than its colours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from polyfield.cameras.cameras import Cameras
from polyfield.fields import Field, Points
from polyfield.progress import Progress, silent
from polyfield.rendering.colour_maps import coloured
from polyfield.rendering.radiance.rendering import Rendering
from polyfield.rendering.radiance.sampling import Sampler

LAYERS = ("colour", "depth", "opacity", "normals", "features", "samples")
_RAYS_AT_ONCE = 1 << 14
_SOLID = 0.5  # least opacity of pixels that decide a range


@dataclass(frozen=True)
class Scale:
    """How numbers become colours: a colour map, and the numbers at its ends. If None, the picture's own."""

    colours: str = "turbo"
    range: tuple[float, float] | None = None

    def __call__(self, values: Tensor, counts: Tensor) -> Tensor:
        """Return colours (H, W, 3) of values (H, W). The range is that of pixels that count, (H, W) bool."""
        low, high = self.range or _range(values[counts])
        return coloured((values - low) / max(high - low, 1e-12), self.colours)


OWN_SCALE = Scale()


def depth(drawn: Rendering, scale: Scale) -> Tensor:
    """Return colours (H, W, 3) of expected distances along the rays."""
    return scale(drawn.depth, drawn.opacity > _SOLID)


def opacity(drawn: Rendering, scale: Scale) -> Tensor:
    """Return opacities in [0, 1], in grey or the scale's colours where it has a range."""
    if scale.range is None:
        scale = Scale("grey", (0.0, 1.0))
    return scale(drawn.opacity, drawn.opacity >= 0)


def normals(drawn: Rendering, cameras: Cameras, view: int) -> Tensor:
    """Return world normals (H, W, 3) of the expected surface, as colours: (n + 1) / 2.

    They are from differences of neighbouring pixels' surface points, and point to the camera.
    """
    points, directions = _surface(drawn, cameras, view)
    across = torch.gradient(points, dim=1)[0] if points.shape[1] > 1 else torch.zeros_like(points)
    down = torch.gradient(points, dim=0)[0] if points.shape[0] > 1 else torch.zeros_like(points)
    found = normalize(torch.linalg.cross(across, down), dim=-1)
    towards = (found * directions).sum(-1, keepdim=True)
    return (torch.where(towards > 0, -found, found) + 1) / 2


class FeatureColours:
    """Latent vectors at the expected surface as colours: their first three principal components.

    The axes are those of the first picture, so that colours stay the same from view to view.
    """

    def __init__(self, field: Field) -> None:
        self._field = field
        self._axes: tuple[Tensor, Tensor, Tensor, Tensor] | None = None  # mean, axes, low, high

    @torch.no_grad()
    def __call__(self, drawn: Rendering, cameras: Cameras, view: int) -> Tensor:
        """Return colours (H, W, 3)."""
        points, directions = _surface(drawn, cameras, view)
        flat = Points(points.view(-1, 3), directions.reshape(-1, 3), _times(cameras, view, drawn.depth))
        parts = [self._field.features(part).vector.float() for part in flat.split(self._field.points_at_once)]
        vectors = torch.cat(parts)
        vectors = pad(vectors, (0, max(3 - vectors.shape[1], 0)))
        if self._axes is None:
            solid = vectors[(drawn.opacity > _SOLID).view(-1)]
            if len(solid) < 3:
                return torch.zeros_like(drawn.colour)
            self._axes = _principal(solid)
        mean, axes, low, high = self._axes
        shown = ((vectors - mean) @ axes - low) / (high - low).clamp(min=1e-12)
        return shown.clamp(0, 1).view(*drawn.opacity.shape, 3)


def depth_scale(drawn: Rendering) -> Scale:
    """Return a scale with the range of a view's depths, for other views of the same path."""
    return Scale(range=_range(drawn.depth[drawn.opacity > _SOLID]))


def samples(
    sampler: Sampler, cameras: Cameras, view: int, scale: Scale, progress: Progress = silent
) -> Tensor:
    """Return how many samples each ray has, as colours (H, W, 3)."""
    width, height = cameras.sizes[view].tolist()
    parts = []
    for start in range(0, width * height, _RAYS_AT_ONCE):
        stop = min(start + _RAYS_AT_ONCE, width * height)
        rays = cameras.image_rays(view, start, stop)
        drawn = sampler(rays, torch.full((len(rays),), 0.5, device=rays.origins.device))
        parts.append(torch.bincount(drawn.ray, minlength=len(rays)))
        progress(stop / (width * height))
    counts = torch.cat(parts).view(height, width).float()
    if scale.range is None:
        scale = Scale(scale.colours, (0.0, max(float(counts.max()), 1.0)))
    return scale(counts, counts >= 0)


def _surface(drawn: Rendering, cameras: Cameras, view: int) -> tuple[Tensor, Tensor]:
    """Return points at the expected depths and unit directions, (H, W, 3) each."""
    rays = cameras.image_rays(view)
    shape = (*drawn.depth.shape, 3)
    directions = rays.directions.view(shape)
    return rays.origins.view(shape) + drawn.depth[..., None] * directions, directions


def _times(cameras: Cameras, view: int, like: Tensor) -> Tensor | None:
    return None if cameras.times is None else cameras.times[view].expand(like.numel())


def _range(values: Tensor) -> tuple[float, float]:
    """Return the 1st and the 99th percentile, or (0, 1) without values."""
    if not len(values):
        return 0.0, 1.0
    ordered = values.sort().values
    return float(ordered[len(values) // 100]), float(ordered[len(values) - 1 - len(values) // 100])


def _principal(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the mean (F,), three principal axes (F, 3), and the 2nd and 98th percentiles (3,) along them."""
    mean = vectors.mean(0)
    centred = (vectors - mean).double()
    _, axes = torch.linalg.eigh(centred.T @ centred)
    axes = axes[:, -3:].flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    axes = (axes * largest.sign()).to(vectors)
    ordered = (centred.to(vectors) @ axes).sort(0).values
    edge = len(ordered) // 50
    return mean, axes, ordered[edge], ordered[len(ordered) - 1 - edge]
