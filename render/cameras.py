"""Cameras: OpenGL camera-to-world poses, intrinsics and lenses, a size for each.

A camera looks along its -Z, with +X right and +Y up. Pixel (column, row) covers the unit square whose centre is
(column + 0.5, row + 0.5); u grows to the right, v down.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from polyfield.render import lenses
from polyfield.render.rays import Rays

LENSES = ("perspective", "opencv", "fisheye")


@dataclass(frozen=True)
class Cameras:
    """V cameras. All tensors are float32 on one device except `sizes`, int64 on the CPU."""

    c2w: Tensor  # (V, 3, 4) camera to world, OpenGL axes
    intrinsics: Tensor  # (V, 4) fx, fy, cx, cy in pixels
    sizes: Tensor  # (V, 2) width, height in pixels
    lens: tuple[str, ...]  # (V,) of LENSES
    distortion: Tensor  # (V, 8) k1 k2 p1 p2 k3 k4 k5 k6 (opencv), k1 k2 k3 k4 (fisheye), rest 0
    times: Tensor | None = None  # (V,) in [0, 1]

    def __len__(self) -> int:
        return self.c2w.shape[0]

    def focus(self) -> Tensor:
        """The point (3,) all cameras look at: the nearest to their optical axes in least squares.

        Axes that are nearly parallel or part before the cameras have no such point: then the mean centre, moved
        along the mean viewing direction by the median distance between centres (by 1 where there is none).
        """
        centres = self.c2w[:, :, 3].double()
        forward = -torch.nn.functional.normalize(self.c2w[:, :, 2].double(), dim=1)
        mean = centres.mean(dim=0)
        across = torch.eye(3, dtype=torch.float64, device=centres.device) - forward[:, :, None] * forward[:, None]
        normal = across.mean(dim=0)
        # The least eigenvalue is the mean squared sine of the axes' angles: 1e-4 is about half a degree.
        if torch.linalg.eigvalsh(normal)[0] > 1e-4:
            pull = (across @ (centres - mean)[:, :, None]).mean(dim=0)[:, 0]
            point = mean + torch.linalg.solve(normal, pull)
            if ((point - centres) * forward).sum(dim=1).median() > 0:
                return point.to(self.c2w.dtype)
        few = centres[:: len(self) // 500 + 1]
        distance = torch.pdist(few).median() if len(few) > 1 else torch.tensor(0.0)
        ahead = forward.mean(dim=0)
        return (mean + ahead * (distance if distance > 0 else 1.0)).to(self.c2w.dtype)
