"""Cameras: OpenGL camera-to-world poses, intrinsics and lenses, a size for each.

A camera looks along its -Z, with +X right and +Y up. Pixel (column, row) covers the unit square whose centre is
(column + 0.5, row + 0.5); u grows to the right, v down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.render import lenses
from polyfield.render.rays import Rays


@dataclass(frozen=True)
class Cameras:
    """V cameras. All tensors are float32 on one device except `sizes`, int64 on the CPU."""

    c2w: Tensor  # (V, 3, 4) camera to world, OpenGL axes
    intrinsics: Tensor  # (V, 4) fx, fy, cx, cy in pixels
    sizes: Tensor  # (V, 2) width, height in pixels
    lens: tuple[str, ...]  # (V,) of lenses.LENSES
    distortion: Tensor  # (V, 8) k1 k2 p1 p2 k3 k4 k5 k6 (opencv), k1 k2 k3 k4 (fisheye), rest 0
    times: Tensor | None = None  # (V,) in [0, 1]

    @staticmethod
    def perspective(
        c2w: Tensor, *, focal: float, size: tuple[int, int], times: Tensor | None = None
    ) -> Cameras:
        """Cameras (V, 3, 4) of one focal length (pixels) and size (width, height), looking through the middle."""
        count, (width, height) = len(c2w), size
        return Cameras(
            c2w=c2w,
            intrinsics=torch.tensor([focal, focal, width / 2, height / 2]).expand(count, 4),
            sizes=torch.tensor([width, height]).expand(count, 2),
            lens=("perspective",) * count,
            distortion=torch.zeros(count, 8),
            times=times,
        )

    def __len__(self) -> int:
        return self.c2w.shape[0]

    def __getitem__(self, index: list[int] | Tensor | slice) -> Cameras:
        chosen = torch.arange(len(self))[index]
        times = None if self.times is None else self.times[chosen]
        lens = tuple(self.lens[i] for i in chosen.tolist())
        return Cameras(
            self.c2w[chosen],
            self.intrinsics[chosen],
            self.sizes[chosen],
            lens,
            self.distortion[chosen],
            times,
        )

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras with their tensors on a device."""
        times = None if self.times is None else self.times.to(device)
        return replace(
            self,
            c2w=self.c2w.to(device),
            intrinsics=self.intrinsics.to(device),
            distortion=self.distortion.to(device),
            times=times,
        )

    def scaled(self, k: int) -> Cameras:
        """The cameras of images of which each k x k block became a pixel, cropped to whole blocks."""
        return replace(self, intrinsics=self.intrinsics / k, sizes=self.sizes // k)

    def rays(self, frames: Tensor, uv: Tensor) -> Rays:
        """Rays (R,) through image points uv (R, 2) in pixels of the cameras frames (R,) int64."""
        intrinsics = self.intrinsics[frames]
        points = (uv - intrinsics[:, 2:]) / intrinsics[:, :2]
        pose = self.c2w[frames]
        seen = self._through(points, frames)
        world = normalize((pose[:, :, :3] @ seen[:, :, None])[:, :, 0], dim=-1)
        return Rays(pose[:, :, 3], world, None if self.times is None else self.times[frames])

    def _through(self, points: Tensor, frames: Tensor) -> Tensor:
        """Directions (R, 3) in camera axes of image points (R, 2); every lens serves its own."""
        kinds = sorted(set(self.lens))
        if len(kinds) == 1:
            return lenses.directions(points, kinds[0], self.distortion[frames])
        seen = points.new_empty(len(points), 3)
        of_camera = torch.tensor([kinds.index(lens) for lens in self.lens], device=frames.device)
        for number, kind in enumerate(kinds):
            mine = of_camera[frames] == number
            seen[mine] = lenses.directions(points[mine], kind, self.distortion[frames[mine]])
        return seen

    def image_rays(self, frame: int, start: int = 0, stop: int | None = None) -> Rays:
        """Rays of the pixels of one view in row-major order, from pixel start to stop."""
        width, height = (int(n) for n in self.sizes[frame])
        stop = width * height if stop is None else stop
        pixel = torch.arange(start, stop, device=self.c2w.device)
        uv = torch.stack((pixel % width, pixel // width), -1) + 0.5
        return self.rays(torch.full_like(pixel, frame), uv)

    def project(self, frame: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Where one camera sees world points (N, 3): uv (N, 2) in pixels and the depth (N,) along its axis.

        Points with a depth of 0 or less are behind the camera and have no meaningful uv.
        """
        pose = self.c2w[frame]
        local = (x - pose[:, 3]) @ pose[:, :3]
        points = lenses.image_points(local, self.lens[frame], self.distortion[frame].expand(len(x), 8))
        return points * self.intrinsics[frame, :2] + self.intrinsics[frame, 2:], -local[:, 2]

    def focus(self) -> Tensor:
        """The point (3,) nearest to all optical axes in least squares: what the cameras look at.

        Nearly parallel axes have no such point; then it is the mean camera moved along the mean view by the median
        distance of the cameras from each other.
        """
        centres = self.c2w[:, :, 3].double()
        views = normalize(-self.c2w[:, :, 2].double(), dim=-1)
        across = (
            torch.eye(3, dtype=torch.float64, device=views.device) - views[:, :, None] * views[:, None, :]
        )
        total = across.mean(0)
        if torch.linalg.eigvalsh(total)[0] < 1e-3:
            spread = torch.cdist(centres, centres).median().clamp(min=1e-3)
            return (centres.mean(0) + normalize(views.mean(0), dim=0) * spread).float()
        return torch.linalg.solve(total, (across @ centres[:, :, None]).mean(0)[:, 0]).float()


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Poses c2w (V, 3, 4) of cameras at eye (V, 3) that look at target (3,) with up (3,) upwards."""
    backward = normalize(eye - target, dim=-1)
    right = torch.linalg.cross(up.expand_as(backward), backward)
    # Looking straight along `up`, any horizontal axis will do.
    straight = right.norm(dim=-1, keepdim=True) < 1e-6
    other = torch.linalg.cross(up.roll(1).expand_as(backward), backward)
    right = normalize(torch.where(straight, other, right), dim=-1)
    return torch.stack((right, torch.linalg.cross(backward, right), backward, eye), -1)
