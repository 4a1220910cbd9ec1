"""Photographs: pixels drawn by contrast, each with its own ray."""

import numpy as np
import torch
from ball_scene import RED, photographs, views

from polyfield.cameras.cameras import Cameras
from polyfield.fitting.rays.contrast import contrast
from polyfield.fitting.rays.photographs import Photographs


def test_a_pixel_comes_with_its_own_ray():
    """Every drawn colour is the one that its ray, computed from scratch, should have."""
    cameras = views()
    drawn = photographs(cameras).draw(500, seed=1, step=2)
    rays = drawn.rays
    along = -(rays.origins * rays.directions).sum(1)
    hit = (rays.origins + along[:, None] * rays.directions).norm(dim=1) < 0.6
    assert 20 < hit.sum() < 480
    expected = torch.where(hit[:, None], torch.tensor(RED), torch.zeros(4))
    torch.testing.assert_close(drawn.target, expected, atol=1e-4, rtol=0)


def test_views_may_have_different_sizes_and_masks():
    small, large = views(1, (4, 3)), views(1, (6, 5))
    cameras = Cameras(
        *(torch.cat((getattr(small, n), getattr(large, n))) for n in ("c2w", "intrinsics", "sizes")),
        lens=small.lens + large.lens,
        distortion=torch.zeros(2, 8),
    )
    images = [np.full((3, 4, 4), 100, np.uint16), np.full((5, 6, 4), 60000, np.uint16)]
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    images[1][2, 3] = 7
    source = Photographs(cameras, images, [None, mask])
    assert len(source) == 13
    colour = source.draw(400, seed=0, step=0).target
    found = set((colour[:, 0] * 65535).round().int().tolist())
    assert found == {100, 7}


def test_draws_depend_on_seed_and_step_alone():
    cameras = views()
    source = photographs(cameras)
    one, again = source.draw(50, seed=1, step=5), source.draw(50, seed=1, step=5)
    other = source.draw(50, seed=1, step=6)
    assert torch.equal(one.rays.directions, again.rays.directions)
    assert torch.equal(one.jitter, again.jitter) and torch.equal(one.background, again.background)
    assert not torch.equal(one.rays.directions, other.rays.directions)


def test_every_pixel_is_drawn():
    cameras = views(1, (5, 4))
    rays = photographs(cameras).draw(2000, seed=0, step=0).rays
    assert len(torch.unique(rays.directions, dim=0)) == 20


def test_pixels_are_drawn_by_contrast_and_their_odds_say_so():
    """Half of the picture is flat, half a checkerboard; weighed by the odds, every pixel counts the same."""
    image = np.zeros((32, 32, 4), np.uint16)
    image[:16][np.indices((16, 32)).sum(0) % 2 == 0] = 65535
    cameras = views(1, (32, 32))
    weights = contrast(image)
    assert weights[:16].min() == 255 and weights[20:].max() == weights[20:].min() == 42
    batch = Photographs(cameras, [image], [None]).draw(20_000, seed=0, step=0)
    of_pixel = torch.from_numpy(weights.reshape(-1) / weights.mean()).float()
    drawn = (batch.rays.directions[:, None] - cameras.image_rays(0).directions).abs().sum(2).argmin(1)
    torch.testing.assert_close(batch.odds, of_pixel[drawn])
    count = torch.bincount(drawn, minlength=1024) * 1024 / 20_000
    assert (count - of_pixel).abs().mean() < 0.25 and abs(float((1 / batch.odds).mean()) - 1) < 0.02


def test_contrast_is_the_largest_difference_nearby():
    image = np.random.default_rng(0).integers(0, 65536, (9, 7, 4), dtype=np.uint16) // 2
    bytes_ = (image >> 8).astype(int)
    for y, x in ((0, 0), (4, 3), (8, 6), (1, 5)):
        near = bytes_[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
        spread = (near.max((0, 1)) - near.min((0, 1))).max()
        assert contrast(image)[y, x] == (spread + 51) * 255 // 306
