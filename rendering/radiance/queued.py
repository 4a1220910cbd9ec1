"""Queued pictures: the host queues a view in parts, and waits only to learn whether it is complete."""

from __future__ import annotations

import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.errors import PolyfieldError
from polyfield.kernels.graphs import Graphs
from polyfield.progress import Progress
from polyfield.rendering.finite import not_finite
from polyfield.rendering.fused import FusedField
from polyfield.rendering.radiance.sampling import MarchingSampler

RAYS_AT_ONCE = 1 << 17
# Capacity in samples per ray, evaluated and shaded. A part with more samples takes fewer rays.
CAPACITY = (24, 8)


class QueuedPictures:
    """Views of a field whose kernel can be queued."""

    def __init__(self, fused: FusedField, sampler: MarchingSampler, cameras: Cameras) -> None:
        self._fused, self._sampler, self._cameras = fused, sampler, cameras
        self._device = fused.tensors[0].device
        self._graphs = Graphs(self._device)
        self._frame, self._done, self._evaluated, self._shaded, self._bad = (
            torch.zeros(1, dtype=torch.int64, device=self._device) for _ in range(5)
        )
        self._pictures: dict[tuple[int, int], Tensor] = {}

    @torch.no_grad()
    def render(self, frame: int, progress: Progress) -> tuple[Tensor, int, int]:
        """Return red, green, blue, opacity and weighted depth (H * W, 5) of a camera.

        The other results are the numbers of samples evaluated and shaded.
        """
        width, height = self._cameras.sizes[frame].tolist()
        total, size = width * height, (width, height)
        if size not in self._pictures:  # one more row, for rays that do not fit and are repeated
            self._pictures[size] = torch.zeros(total + 1, 5, device=self._device)
        self._frame.fill_(frame)
        for count in (self._done, self._evaluated, self._shaded, self._bad):
            count.zero_()
        done, at_once = 0, min(RAYS_AT_ONCE, total)
        while done < total:
            for _ in range(-(-(total - done) // at_once)):
                self._graphs.run(size, lambda: self._part(size, at_once))
            before = done
            counts = torch.cat((self._done, self._evaluated, self._shaded, self._bad))
            done, evaluated, shaded, bad = counts.tolist()
            if bad:
                raise not_finite()
            if done == before:
                raise PolyfieldError(
                    f"rendering: a ray has more than {CAPACITY[0] * at_once:,} samples; in Python, field.context = "
                    "dataclasses.replace(field.context, step_size=S) sets a larger sample spacing S; then save the field"
                )
            progress(done / total)
        return self._pictures[size][:total].clone(), evaluated, shaded

    def close(self) -> None:
        """Free the memory of captured graphs."""
        self._graphs.clear()

    def _part(self, size: tuple[int, int], at_once: int) -> None:
        """Render the next rays of a picture, as many as the capacity holds."""
        total, picture = size[0] * size[1], self._pictures[size]
        lane = torch.arange(at_once, device=self._device)
        pixel = (self._done + lane).clamp(max=total - 1)
        uv = torch.stack((pixel % size[0], pixel // size[0]), 1) + 0.5
        rays = self._cameras.rays(self._frame.expand(at_once), uv)
        figures, colour, opacity, depth = self._fused.queue_picture(
            rays,
            torch.full((at_once,), 0.5, device=self._device),
            self._sampler,
            live=(total - self._done).clamp(min=0, max=at_once),
            capacity=(CAPACITY[0] * at_once, CAPACITY[1] * at_once),
        )
        place = torch.where(lane < figures["rays"], self._done + lane, total)
        picture[place] = torch.cat((colour, opacity[:, None], depth[:, None]), 1)
        self._done += figures["rays"]
        self._evaluated += figures["evaluated"]
        self._shaded += figures["shaded"]
        self._bad += ~figures["finite"]
