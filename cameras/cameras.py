"""Cameras: OpenGL camera-to-world poses, intrinsics, lenses and sizes.

A camera looks along its -Z, with +X right and +Y up. Pixel (column, row) covers the unit square whose centre
is (column + 0.5, row + 0.5); u grows to the right, v down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from polyfield.cameras import lenses
from polyfield.cameras.rays import Rays
from polyfield.errors import PolyfieldError

_EXPECTED = (
    "expected c2w, intrinsics, sizes, lens and distortion with one entry for each camera, and times with one entry for "
    "each camera or null; restore the file, or fit again"
)


@dataclass(frozen=True)
class Cameras:
    """V cameras. All tensors are float32 on one device except `sizes`, int64 on the CPU.

    >>> cameras = Cameras.perspective(torch.eye(4)[None, :3], focal=100.0, size=(64, 48))
    >>> cameras.image_rays(0).directions.shape
    torch.Size([3072, 3])
    """

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
        """Return cameras of poses c2w (V, 3, 4) with one focal length (pixels) and size (width, height).

        The principal point is the middle of the image.
        """
        views, (width, height) = len(c2w), size
        intrinsics = torch.tensor([focal, focal, width / 2, height / 2], device=c2w.device)
        return Cameras(
            c2w=c2w.float(),
            intrinsics=intrinsics.repeat(views, 1),
            sizes=torch.tensor([width, height]).repeat(views, 1),
            lens=("perspective",) * views,
            distortion=torch.zeros(views, 8, device=c2w.device),
            times=times,
        )

    def __len__(self) -> int:
        return self.c2w.shape[0]

    def __getitem__(self, indices: Tensor | slice | list[int]) -> Cameras:
        """Return the cameras of these indices, in that order, or those where a mask (V,) is true."""
        if not isinstance(indices, slice):
            indices = torch.as_tensor(indices, device="cpu")
            indices = indices if indices.dtype == torch.bool else indices.long()  # an empty list is float
        chosen = torch.arange(len(self))[indices].reshape(-1)
        there = chosen.to(self.c2w.device)
        return Cameras(
            c2w=self.c2w[there],
            intrinsics=self.intrinsics[there],
            sizes=self.sizes[chosen],
            lens=tuple(self.lens[i] for i in chosen.tolist()),
            distortion=self.distortion[there],
            times=None if self.times is None else self.times[there],
        )

    def to(self, device: torch.device | str) -> Cameras:
        """Return the same cameras on a device. The sizes stay on the CPU."""
        return replace(
            self,
            c2w=self.c2w.to(device),
            intrinsics=self.intrinsics.to(device),
            distortion=self.distortion.to(device),
            times=None if self.times is None else self.times.to(device),
        )

    def scaled(self, k: int) -> Cameras:
        """Return the cameras of images in which each k x k block became a pixel, cropped to whole blocks.

        Raises PolyfieldError if an image would have no pixels.
        """
        least = int(self.sizes.min()) if len(self) else k
        if not 1 <= k <= least:
            raise PolyfieldError(
                f"downscale is {k}; expected 1 to {least}, the shortest side of the views in pixels"
            )
        return replace(self, intrinsics=self.intrinsics / k, sizes=self.sizes // k)

    def rays(self, frames: Tensor, uv: Tensor) -> Rays:
        """Return rays (R,) of cameras frames (R,) int64 through image points uv (R, 2) in pixels."""
        focal, centre = self.intrinsics.index_select(0, frames).split(2, dim=1)
        points, used = (uv - centre) / focal, sorted(set(self.lens))
        bends = used != ["perspective"]
        distortion = self.distortion[frames] if bends else self.distortion[:0]
        seen = lenses.directions(points, used[0], distortion)
        for lens in used[1:]:
            # Each lens is applied to all points: selecting points would make the host wait for the device.
            has_lens = self._lenses[frames] == lenses.LENSES.index(lens)
            seen = torch.where(has_lens[:, None], lenses.directions(points, lens, distortion), seen)
        pose = self.c2w.index_select(0, frames)
        turned = (pose[:, :, :3] * seen[:, None]).sum(2)
        # Rotations from files are orthonormal only to a few digits.
        directions = normalize(turned, dim=1)
        return Rays(
            pose[:, :, 3].contiguous(), directions, None if self.times is None else self.times[frames]
        )

    @cached_property
    def _lenses(self) -> Tensor:
        """The index in LENSES of each camera's lens, (V,)."""
        return torch.tensor([lenses.LENSES.index(lens) for lens in self.lens], device=self.c2w.device)

    def image_rays(self, frame: int, start: int = 0, stop: int | None = None) -> Rays:
        """Return the rays of the pixels of one view in row-major order, from pixel start to stop."""
        width, height = self.sizes[frame].tolist()
        pixel = torch.arange(start, width * height if stop is None else stop, device=self.c2w.device)
        uv = torch.stack([pixel % width, pixel // width], 1) + 0.5
        return self.rays(torch.full_like(pixel, frame), uv)

    def project(self, frame: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return where one camera sees world points (N, 3): uv (N, 2) in pixels, and depth (N,).

        Depth is along the axis, positive in front. uv is infinite for points that the lens cannot see. These
        are behind it, or so far off the axis that its model folds back into the image.
        """
        pose, lens, distortion = self.c2w[frame], self.lens[frame], self.distortion[frame]
        local = (x - pose[:, 3]) @ pose[:, :3]
        focal, centre = self.intrinsics[frame].split(2)
        uv = lenses.image_points(local, lens, distortion.expand(len(x), 8)) * focal + centre
        seen = -normalize(local, dim=1)[:, 2] > math.cos(lenses.reach(lens, distortion))
        return torch.where(seen[:, None], uv, math.inf), -local[:, 2]

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads."""
        return {
            "c2w": self.c2w.tolist(),
            "intrinsics": self.intrinsics.tolist(),
            "sizes": self.sizes.tolist(),
            "lens": list(self.lens),
            "distortion": self.distortion.tolist(),
            "times": None if self.times is None else self.times.tolist(),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Cameras:
        """Return the cameras that `to_json` wrote. Raises PolyfieldError for other data."""
        try:
            count = len(data["c2w"])
            cameras = Cameras(
                c2w=torch.tensor(data["c2w"]).reshape(count, 3, 4),
                intrinsics=torch.tensor(data["intrinsics"]).reshape(count, 4),
                sizes=torch.tensor(data["sizes"]).reshape(count, 2),
                lens=tuple(data["lens"]),
                distortion=torch.tensor(data["distortion"]).reshape(count, 8),
                times=None if data["times"] is None else torch.tensor(data["times"]).reshape(count),
            )
        except KeyError as error:
            raise PolyfieldError(f"cameras: {error} is missing; {_EXPECTED}") from None
        except (TypeError, ValueError, RuntimeError) as error:
            raise PolyfieldError(f"cameras: the lists do not match ({error!s:.120}); {_EXPECTED}") from None
        tensors = (cameras.c2w, cameras.intrinsics, cameras.distortion)
        if not all(t.is_floating_point() and bool(t.isfinite().all()) for t in tensors):
            raise PolyfieldError(
                "cameras: c2w, intrinsics and distortion must be finite floats; restore the file, or fit again"
            )
        if cameras.sizes.dtype != torch.int64 or not bool(
            ((cameras.sizes > 0) & (cameras.sizes <= 1 << 16)).all()
        ):
            raise PolyfieldError(
                "cameras: sizes must be whole numbers from 1 to 65536; restore the file, or fit again"
            )
        if len(cameras.lens) != count or not all(lens in lenses.LENSES for lens in cameras.lens):
            raise PolyfieldError(
                f"cameras: lens is {cameras.lens!s:.80}; expected {count} names, each one of {', '.join(lenses.LENSES)}; "
                "restore the file, or fit again"
            )
        return cameras

    def focus(self) -> Tensor:
        """Return the point (3,) that all cameras look at: the nearest to their optical axes in least squares.

        Where there is no such point, it is the mean centre, moved along the mean view by the median distance
        between centres, or by 1 if that is zero.
        """
        if (point := self.crossing()) is not None:
            return point
        centres = self.c2w[:, :, 3].double()
        views = -normalize(self.c2w[:, :, 2].double(), dim=1)
        some = centres[:: len(self) // 500 + 1]
        apart = float(torch.pdist(some).median()) if len(some) > 1 else 0.0
        return (centres.mean(dim=0) + views.mean(dim=0) * (apart or 1.0)).to(self.c2w.dtype)

    def crossing(self) -> Tensor | None:
        """Return the point (3,) nearest to the optical axes in least squares, in front of most cameras.

        None if the axes are nearly parallel, or diverge in front of the cameras.
        """
        centres = self.c2w[:, :, 3].double()
        views = -normalize(self.c2w[:, :, 2].double(), dim=1)
        mean = centres.mean(dim=0)
        across = torch.eye(3, dtype=torch.float64, device=centres.device) - views[:, :, None] * views[:, None]
        total = across.mean(dim=0)
        # The least eigenvalue is the mean squared sine of the axes' angles: 1e-4 is about half a degree.
        if torch.linalg.eigvalsh(total)[0] > 1e-4:
            pull = (across @ (centres - mean)[:, :, None]).mean(dim=0)[:, 0]
            point = mean + torch.linalg.solve(total, pull)
            ahead = ((point - centres) * views).sum(dim=1).median()
            if ahead > 1e-6 * (
                1 + centres.abs().max()
            ):  # of cameras turned on the spot it is their own place
                return point.to(self.c2w.dtype)
        return None


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Return poses c2w (V, 3, 4) of cameras at eye (V, 3) that look at target (3,) with up (3,) upwards.

    Where up is parallel to the view, or zero, a world axis across the view replaces it: +Y, else +Z, else +X.
    Raises PolyfieldError if an eye is at the target.
    """
    backward = eye - target
    distance = backward.norm(dim=1, keepdim=True)
    if (distance == 0).any():
        place = ", ".join(f"{value:g}" for value in target.tolist())
        view = int((distance == 0).nonzero()[0, 0])
        raise PolyfieldError(f"camera {view} is at the point that it looks at, ({place}); move one of them")
    backward = backward / distance
    axes = torch.eye(3, dtype=eye.dtype, device=eye.device)[[1, 2, 0]]
    other = torch.linalg.cross(axes[(backward @ axes.T).abs().argmin(dim=1)], backward)
    right = torch.linalg.cross(normalize(up.to(eye), dim=0).expand_as(backward), backward)
    right = torch.where(right.norm(dim=1, keepdim=True) < 1e-4, other, right)
    right = normalize(right, dim=1)
    return torch.stack([right, torch.linalg.cross(backward, right), backward, eye], dim=2)
