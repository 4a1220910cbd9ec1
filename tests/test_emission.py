"""Volumes that glow and absorb, against closed forms and slow references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from surface_shapes import (
    DIAGONAL,
    HIGH,
    LOW,
    along_x,
    random_rays,
    slow_clip,
)
from torch import Tensor

from polyfield.cameras.rays import Rays
from polyfield.errors import PolyfieldError
from polyfield.rendering.pictures.emission import TransferFunction, ramp, render_emission


class TestEmission:
    white = TransferFunction(extinction=3.0)
    black = torch.zeros(3)

    def render(self, values, rays, transfer=white, step=0.01, background=black):
        return render_emission(values, LOW, HIGH, rays, transfer, step=step, background=background)

    @pytest.mark.parametrize("step", [0.013, 0.3, 100.0])
    def test_an_even_cube_follows_beer_and_lambert_at_any_step(self, step):
        rays, background = random_rays(300), torch.tensor([0.2, 0.9, 0.4])
        transfer = TransferFunction(window=(-1.0, 3.0), exponent=2.0, extinction=5.0)
        seen = self.render(lambda x: torch.full((len(x), 1), 1.0), rays, transfer, step, background)
        near, far = slow_clip(rays, LOW, HIGH)
        light = torch.exp(-5.0 * 0.5**2 / DIAGONAL * (far - near)).float()
        assert 50 < (far > near).sum() < 300
        torch.testing.assert_close(seen.opacity, 1 - light, atol=2e-6, rtol=0)
        glow = ramp(torch.tensor([0.5]))
        wanted = (1 - light)[:, None] * glow + light[:, None] * background
        torch.testing.assert_close(seen.colour, wanted, atol=2e-6, rtol=0)

    def test_depth_is_the_mean_distance_of_what_is_seen(self):
        seen = self.render(lambda x: torch.ones(len(x), 1), along_x(0.0))
        extinction = 3.0 / DIAGONAL
        gone = math.exp(-extinction * 3.0)
        wanted = 3.5 + 1 / extinction - 3.0 * gone / (1 - gone)
        torch.testing.assert_close(seen.depth, torch.tensor([wanted]), atol=1e-4, rtol=0)

    def test_of_two_slabs_the_front_one_hides_the_other(self):
        first, second = torch.tensor([1.0, 0.0, 0.25, 0.3]), torch.tensor([0.0, 0.5, 1.0, 0.8])
        seen = self.render(lambda x: torch.where(x[:, :1] < 0, first, second), along_x(0.3), step=0.125)
        through = [math.exp(-3.0 / DIAGONAL * dense * 1.5) for dense in (0.3, 0.8)]
        wanted = (1 - through[0]) * first[:3] + through[0] * (1 - through[1]) * second[:3]
        torch.testing.assert_close(seen.colour[0], wanted, atol=1e-6, rtol=0)
        torch.testing.assert_close(seen.opacity[0], torch.tensor(1 - through[0] * through[1]))

    def test_halving_the_step_quarters_the_error(self):
        def blob(x: Tensor) -> Tensor:
            return torch.cat((x.abs() / 2, torch.exp(-4 * (x * x).sum(1, keepdim=True))), 1)

        x = np.linspace(-1.5, 1.5, 400_001)
        optical = 3.0 / DIAGONAL * np.exp(-4 * x * x)
        light = np.exp(-np.concatenate(([0.0], np.cumsum((optical[1:] + optical[:-1]) / 2) * (x[1] - x[0]))))
        exact = np.trapezoid(light * optical * np.abs(x) / 2, x)
        errors = [
            abs(float(self.render(blob, along_x(0.0), step=step).colour[0, 0]) - exact)
            for step in (0.1, 0.05, 0.025)
        ]
        assert 3.3 < errors[0] / errors[1] < 4.7 and 3.3 < errors[1] / errors[2] < 4.7
        assert errors[2] < 1e-4

    def test_no_more_is_asked_once_no_light_is_left(self):
        asked: list[Tensor] = []

        def solid(x: Tensor) -> Tensor:
            asked.append(x)
            return torch.ones(len(x), 1)

        seen = self.render(solid, along_x(0.0, 9.0), TransferFunction(extinction=400.0))
        assert torch.cat(asked)[:, 0].max() < -1.0  # of -1.5 .. 1.5
        torch.testing.assert_close(seen.opacity, torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)

    def test_a_miss_shows_the_background_and_no_depth(self):
        backgrounds = torch.rand(3, 3)
        seen = self.render(lambda x: torch.ones(len(x), 1), along_x(0.0, 1.5, -7.0), background=backgrounds)
        assert torch.equal(seen.colour[1:], backgrounds[1:]) and not torch.equal(
            seen.colour[0], backgrounds[0]
        )
        assert not seen.depth[1:].any() and not seen.opacity[1:].any()

    def test_a_ray_from_inside_sees_what_is_ahead_only(self):
        rays = Rays(torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
        seen = self.render(lambda x: torch.ones(len(x), 1), rays)
        torch.testing.assert_close(seen.opacity[0], torch.tensor(1 - math.exp(-3.0 / DIAGONAL)))

    def test_no_rays(self):
        assert self.render(lambda x: torch.ones(len(x), 1), along_x()).colour.shape == (0, 3)

    def test_channels_become_density_and_colour(self):
        transfer = TransferFunction(window=(0.0, 10.0), extinction=2.0)
        dense, colour = transfer(torch.tensor([[10.0, 0.0, 5.0, 2.5], [20.0, -1.0, 0.0, 20.0]]))
        torch.testing.assert_close(colour, torch.tensor([[1.0, 0.0, 0.5], [1.0, 0.0, 0.0]]))
        torch.testing.assert_close(dense, torch.tensor([0.5, 2.0]))
        dense, colour = transfer(torch.tensor([[10.0, 10.0, 10.0], [0.0, 10.0, 0.0]]))
        torch.testing.assert_close(dense, torch.tensor([2.0, 2 * 0.7152]))

    def test_the_ramp_is_even_in_lightness(self):
        from skimage.color import rgb2lab

        lightness = rgb2lab(ramp(torch.linspace(0, 1, 25))[None].numpy())[0, :, 0]
        steps = np.diff(lightness)
        assert lightness[0] < 8 and lightness[-1] > 95
        assert steps.min() > 0.8 * steps.mean() and steps.max() < 1.25 * steps.mean()

    @pytest.mark.parametrize(
        ("bad", "says"),
        [
            (
                lambda render: render(TransferFunction(), torch.ones(1, 2), 0.1),
                "2 channels; only fields with 1, 3 or 4 can be shown",
            ),
            (
                lambda render: render(TransferFunction((1.0, 1.0)), torch.ones(1, 1), 0.1),
                "window is 1 to 1",
            ),
            (lambda render: render(TransferFunction(), torch.ones(1, 1), 0.0), "step is 0.0"),
            (lambda render: TransferFunction(exponent=0.0), "exponent is 0.0"),
            (lambda render: TransferFunction(extinction=math.inf), "extinction is inf"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, bad, says):
        def render(transfer: TransferFunction, value: Tensor, step: float) -> None:
            self.render(lambda x: value.expand(len(x), -1), along_x(0.0), transfer, step)

        with pytest.raises(PolyfieldError, match=says):
            bad(render)
