"""The native walk over grids of cells, bricks and blocks: exactly the samples of the reference, whatever it skips."""

import functools
import math

import numpy as np
import pytest
import torch
from agreement import cases

from polyfield.kernels import march
from polyfield.kernels import reference as definition

STEP = 0.013


@functools.cache
def expected(name: str):
    """The rays, their options, the grid, and the samples of the reference."""
    cascades, cells, cone, kind = cases.GRIDS[name]
    reach = 2.0 ** (cascades - 1)
    origins, directions = cases.grid_rays(reach)
    count = len(origins)
    rays = {
        "origins": origins,
        "directions": directions,
        "near": torch.rand(count, generator=cases.generator(2)) * 0.1,
        "far": torch.full((count,), 5.0 * reach),
        "occupancy": cases.grid(cascades, cells, cone, kind),
        "jitter": torch.rand(count, generator=cases.generator(3)),
        "step": STEP * (1 if cone else reach),
        "cone": cone,
    }
    return rays, definition.march(**rays)


def lattice(t: np.ndarray, step: float, cone: float) -> np.ndarray:
    """Lattice coordinate of distance t, in double precision."""
    if not cone:
        return t / step
    return np.where(t * cone < step, t / step, (np.log(np.maximum(t * cone / step, 1e-30)) + 1) / cone)


def numbered(samples, rays) -> dict[tuple[int, int], tuple[float, float]]:
    """(ray, index on its lattice) of every sample, to its t and dt."""
    ray = samples.ray.numpy()
    u = lattice(samples.t.double().numpy(), rays["step"], rays["cone"])
    index = np.round(u - rays["jitter"].double().numpy()[ray]).astype(int)
    found = dict(zip(zip(ray.tolist(), index.tolist()), zip(samples.t.tolist(), samples.dt.tolist())))
    assert len(found) == len(samples)
    return found


def on_a_border(ray: int, t: float, rays) -> bool:
    """Whether a sample stands within rounding of a cell's face, of a cascade's, or of its ray's end."""
    if any(abs(t - float(rays[end][ray])) < 1e-5 * max(t, 1) for end in ("near", "far")):
        return True
    point = (rays["origins"][ray].double() + t * rays["directions"][ray].double()).numpy()
    power = math.log2(max(np.abs(point).max(), 1.0))
    cells = rays["occupancy"].shape[-1]
    places = (point / 2 ** math.ceil(power) + 1) * cells / 2
    return bool(np.abs(places - places.round()).min() < 2e-4) or abs(power - round(power)) < 1e-5


@pytest.mark.parametrize("name", cases.GRIDS)
def test_exactly_the_samples_of_the_reference(native_form, name):
    rays, wanted = expected(name)
    samples = march(**rays)
    ours, theirs = numbered(samples, rays), numbered(wanted, rays)
    for key in ours.keys() ^ theirs.keys():
        assert on_a_border(key[0], (ours.get(key) or theirs[key])[0], rays), key
    both = sorted(ours.keys() & theirs.keys())
    assert len(both) >= 0.999 * len(theirs)
    assert bool(theirs) == bool(rays["occupancy"].any())
    t, dt = (np.array([[side[key][k] for key in both] for side in (ours, theirs)]) for k in (0, 1))
    np.testing.assert_allclose(t[0], t[1], rtol=1e-6)
    np.testing.assert_allclose(dt[0], dt[1], rtol=1e-4, atol=4e-6)
    assert torch.equal(samples.counts.cumsum(0) - samples.counts, samples.offsets)
    assert torch.equal(samples.ray, torch.repeat_interleave(torch.arange(samples.rays), samples.counts))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("cascades", [1, 3])
def test_rays_that_are_no_numbers_end(native_form, bad, cascades):
    """They read no cell outside the grid and come to an end; what they find means nothing."""
    occupancy = torch.ones(cascades, 20, 20, 20, dtype=torch.bool)
    for name in ("origins", "directions", "near"):
        rays = {"origins": torch.zeros(7, 3), "directions": torch.ones(7, 3), "near": torch.zeros(7)}
        rays[name] = torch.full_like(rays[name], bad)
        march(
            **rays, far=torch.full((7,), 9.0), jitter=torch.zeros(7), occupancy=occupancy, step=0.1, cone=0.01
        )
