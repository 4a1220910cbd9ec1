"""Placement: the domain of a scene of photographs, from its cameras alone.

All axes have the same length, and nothing is turned or moved: world coordinates stay the source's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from polyfield.cameras.cameras import Cameras
from polyfield.fields.domain import Domain

NEAR = 0.05  # of the median distance from the cameras to the centre
_SEEN = 0.8  # of the points are in the cube of a scene that is seen from inside
_OUTWARD = 4.0  # half size of the cube of cameras that look outwards, in the cameras' reach

Box = tuple[float, float, float, float]  # centre and half size of the region of detail, in the source's world

# Of the cameras' distance from the middle of standard Blender scenes, and the half size of their box.
_STANDARD_DISTANCES, _STANDARD_HALF = (3.0, 5.5), 1.5
_FEWEST = 4  # cameras that tell what they look at
_HALF = 0.375  # half size of other boxes, of the median distance from the cameras to the middle


@dataclass(frozen=True)
class Placement:
    """Where a scene is, and from which distance on rays are sampled."""

    domain: Domain
    near: float
    notes: tuple[str, ...] = ()  # warnings, a line each

    def within(self, box: Box) -> Placement:
        """Return the placement with the centre and half size of `box`. In a smaller one rays begin nearer to the camera."""
        *centre, half = box
        near = self.near * min(half / self.domain.half_size[0], 1.0)
        x, y, z = (float(number) for number in centre)
        domain = replace(self.domain, centre=(x, y, z), half_size=(float(half),) * 3)
        return Placement(
            domain, near, tuple(note for note in self.notes if "the box has half size" not in note)
        )


def of_capture(cameras: Cameras, points: np.ndarray | None = None) -> Placement:
    """Return the placement of photographs of a place, with a background: all of space.

    The cameras give its centre and size. Where they stand inside of what they see, that is larger: where most of the
    scene's points (P, 3) lie beyond the cameras, its cube reaches to 80 % of them; without points, cameras that look away
    from their centre get a cube of 4 times their reach.
    """
    domain = from_cameras(cameras)
    remarks = notes(cameras, domain)
    reach = domain.half_size[0]
    away = np.abs(points - domain.centre).max(1) if points is not None else None
    if away is not None and np.median(away) > reach:
        half = float(np.quantile(away, _SEEN))
        remarks.append(
            f"most points of the scene's point cloud lie beyond the cameras, so the box has half size {half:.3g} instead of "
            f"{reach:.3g}"
        )
    elif away is None and _look_away(cameras, domain):
        half = _OUTWARD * reach
        remarks.append(
            f"the cameras look outwards, so the box has half size {half:.3g} instead of {reach:.3g}"
        )
    else:
        half = reach
    domain = replace(domain, half_size=(half,) * 3)
    return Placement(domain, near(cameras, domain), tuple(remarks))


def of_object(cameras: Cameras) -> Placement:
    """Return the placement of photographs of an object: a box at what the cameras look at.

    Cameras at the distance of the standard Blender scenes have the standard box, of half size 1.5 around zero, and so have
    cameras that do not look at one point. Other exporters have other scales; their box is as large relative to the
    cameras' distance.
    """
    standard = Placement(Domain("box", (0.0,) * 3, (_STANDARD_HALF,) * 3), 0.0)
    crossing = cameras.crossing()
    if crossing is None or len(cameras) < _FEWEST:
        return standard
    middle = crossing.double().cpu()
    away = (_positions(cameras) - middle).norm(dim=-1).median().item()
    low, high = _STANDARD_DISTANCES
    centred = bool(middle.norm() < 0.1 * away)
    if centred and low <= away <= high:
        return standard
    x, y, z = (0.0, 0.0, 0.0) if centred else middle.tolist()
    half = _HALF * away
    why = (
        f"the cameras look at ({x:.3g}, {y:.3g}, {z:.3g})"
        if not centred
        else f"the cameras are {away:.3g} from the middle, not {low:g} to {high:g} as in standard Blender scenes"
    )
    note = f"{why}, so the box has half size {half:.3g} around ({x:.3g}, {y:.3g}, {z:.3g})"
    return Placement(Domain("box", (x, y, z), (half,) * 3), 0.0, (note,))


def from_cameras(cameras: Cameras) -> Domain:
    """Return the contraction domain around `Cameras.focus`.

    The inner cube reaches from there to the farthest camera. So space between the cameras is not contracted, and
    space behind them is contracted towards the shell.

    half_size is the largest camera distance in the maximum norm. It is 1 if all cameras are at the focus,
    that is, if one camera was turned on the spot.
    """
    centre = cameras.focus().double().cpu()
    reach = (_positions(cameras) - centre).abs().max().item()
    half_size = reach if reach > 1e-6 * (1 + centre.abs().max().item()) else 1.0
    x, y, z = centre.tolist()
    return Domain("contraction", (x, y, z), (half_size,) * 3)


def near(cameras: Cameras, domain: Domain) -> float:
    """Return the distance in front of cameras that is taken to be empty: 0.05 of the median to the centre."""
    positions = _positions(cameras)
    distance = (positions - positions.new_tensor(domain.centre)).norm(dim=-1).median().item()
    return NEAR * (distance if distance > 1e-3 * domain.half_size[0] else domain.half_size[0])


def notes(cameras: Cameras, domain: Domain) -> list[str]:
    """Return warnings about poses that look wrong, a line each. The poses may still be right."""
    centre = torch.tensor(domain.centre, dtype=torch.float64)
    found = []
    if _look_away(cameras, domain):
        found.append(
            "most cameras look away from their common centre; if they were not turned outwards, the poses may be"
            " world-to-camera or have OpenCV axes; expected camera-to-world in OpenGL axes"
        )
    if centre.abs().max() > 1e4 * domain.half_size[0]:
        found.append(
            "the scene is far from the origin for its size, so rounding to float32 loses detail; move the camera positions"
            " closer to the origin"
        )
    if len(cameras) > 1 and (cameras.c2w == cameras.c2w[0]).all():
        found.append("all cameras have the same pose; nothing can be learnt about depth")
    return found


def _look_away(cameras: Cameras, domain: Domain) -> bool:
    """Return whether most cameras look away from the domain's centre."""
    positions = _positions(cameras)
    views = -cameras.c2w[:, :, 2].double().cpu()
    return bool(((positions.new_tensor(domain.centre) - positions) * views).sum(-1).median() < 0)


def _positions(cameras: Cameras) -> Tensor:
    """Return the cameras' positions, (V, 3) float64."""
    return cameras.c2w[:, :, 3].double().cpu()
