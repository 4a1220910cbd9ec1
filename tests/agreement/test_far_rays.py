"""Rays with numbers of any size: the same samples in every form, and an end."""

import pytest
import torch

from polyfield.kernels import march

INF, NAN = float("inf"), float("nan")
FULL = {cascades: torch.ones(cascades, 8, 8, 8, dtype=torch.bool) for cascades in (1, 3)}


def samples(origin, direction, near, far, *, cascades, cone=0.0):
    return march(
        torch.tensor([origin]),
        torch.tensor([direction]),
        torch.tensor([near]),
        torch.tensor([far]),
        FULL[cascades],
        step=0.1,
        cone=cone,
        jitter=torch.tensor([0.25]),
    )


@pytest.mark.parametrize("cascades", [1, 3])
@pytest.mark.parametrize("cone", [0.0, 0.02])
@pytest.mark.parametrize("far", [1e9, 3e38, INF])
def test_a_far_end_beyond_the_last_cascade_changes_nothing(form, cascades, cone, far):
    near_by = samples([-9.0, 0.1, 0.2], [1.0, 0.0, 0.0], 0.0, 40.0, cascades=cascades, cone=cone)
    far_off = samples([-9.0, 0.1, 0.2], [1.0, 0.0, 0.0], 0.0, far, cascades=cascades, cone=cone)
    assert len(near_by) > 10 and torch.equal(near_by.t, far_off.t) and torch.equal(near_by.dt, far_off.dt)


@pytest.mark.parametrize("cascades", [1, 3])
@pytest.mark.parametrize(
    ("origin", "direction", "near", "far"),
    [
        ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], INF, INF),
        ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], 1e30, 1e31),
        ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], NAN, 1.0),
        ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], 0.0, NAN),
        ([0.0, NAN, 0.0], [1.0, 0.0, 0.0], 0.0, 1.0),
        ([0.0, INF, 0.0], [1.0, 0.0, 0.0], 0.0, 1.0),
        ([0.0, 0.0, 0.0], [NAN, 0.0, 0.0], 0.0, 1.0),
        ([0.0, 0.0, 0.0], [INF, 0.0, 0.0], 0.0, 1.0),
        ([0.0, 1e30, 0.0], [1.0, 0.0, 0.0], 0.0, 1e30),
        ([-1e30, 0.0, 0.0], [1.0, 0.0, 0.0], 0.0, INF),
    ],
)
def test_rays_that_are_not_finite_or_miss_have_no_samples(form, cascades, origin, direction, near, far):
    found = samples(origin, direction, near, far, cascades=cascades)
    assert found.counts.tolist() == [0] and len(found) == 0
