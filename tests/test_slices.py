"""Sections and pictures, pixel by pixel."""

from __future__ import annotations

import pytest
import torch
from surface_shapes import (
    HIGH,
    LOW,
    ball,
    of_kind,
)
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import SIGNALS
from polyfield.rendering.pictures.slices import picture, slice_picture, slice_points


class TestSlices:
    def test_points_are_the_pixels_centres(self):
        low, high = (0.0, 10.0, -2.0), (4.0, 12.0, 6.0)
        for axis, shape, first, last in (
            (0, (8, 2), (1.5, 10.5, 5.5), (1.5, 11.5, -1.5)),
            (1, (8, 4), (0.5, 1.5, 5.5), (3.5, 1.5, -1.5)),
            (2, (4, 8), (0.25, 11.75, 1.5), (3.75, 10.25, 1.5)),
        ):
            position = 1.5 if axis != 1 else 11.0
            points = slice_points(low, high, axis, position, 8)
            wanted = [torch.tensor(corner) for corner in (first, last)]
            for corner in wanted:
                corner[axis] = position
            assert points.shape == (*shape, 3)
            assert torch.equal(points[0, 0], wanted[0]) and torch.equal(points[-1, -1], wanted[1])

    @pytest.mark.parametrize(
        ("axis", "position", "says"), [(3, 0.0, "axis is 3"), (1, 1.8, "position is 1.8 along y")]
    )
    def test_no_section_is_outside_the_box(self, axis, position, says):
        with pytest.raises(PolyfieldError, match=says):
            slice_points(LOW, HIGH, axis, position, 8)

    def test_a_signed_distance_is_blue_outside_orange_inside_and_dark_between(self):
        points = slice_points(LOW, HIGH, 2, 0.0, 150)
        pixel = 3.0 / 150
        shown = slice_picture(SIGNALS["sdf"], ball, points)
        distance = ball(points.reshape(-1, 3)).view(150, 150)
        line = distance.abs() < pixel
        assert shown[line].max() < 0.1
        red, blue = shown[..., 0], shown[..., 2]
        assert (blue > red)[distance > 2 * pixel].all() and (red > blue)[distance < -2 * pixel].all()
        assert shown[distance.abs() > 2 * pixel].amax(1).min() > 0.3 and shown.min() >= 0 and shown.max() <= 1

    def test_bands_are_level_lines_and_stand_even(self):
        """A plane's distance, falling to the right: dark lines where it is a whole number of sixteenths of the width."""
        shown = slice_picture(
            SIGNALS["sdf"], lambda x: x[:, 0] + 1.6, slice_points((-1.0,) * 3, (1.0,) * 3, 2, 0.0, 320)
        )
        row = shown.sum(2)[7]
        darker = (row[1:-1] < row[:-2]) & (row[1:-1] <= row[2:])
        assert torch.equal(shown[7], shown[300])
        between = darker.nonzero()[:, 0].diff()
        assert len(between) == 15 and ((between - 20).abs() <= 1).all()

    def test_a_picture_does_not_hang_on_the_unit(self):
        points = slice_points(LOW, HIGH, 0, 0.25, 40)
        large = slice_points(tuple(256 * x for x in LOW), tuple(256 * x for x in HIGH), 0, 64.0, 40)
        torch.testing.assert_close(
            slice_picture(SIGNALS["sdf"], ball, points),
            slice_picture(SIGNALS["sdf"], lambda x: 256 * ball(x / 256), large),
        )

    def test_an_unsigned_distance_shows_its_surface_and_no_inside(self):
        points = slice_points(LOW, HIGH, 2, 0.0, 100)
        shown = slice_picture(SIGNALS["udf"], of_kind("udf", ball), points)
        distance = ball(points.reshape(-1, 3)).view(100, 100).abs()
        assert shown[distance < 0.03].max() < 0.1
        assert (shown[..., 2] > shown[..., 0]).all()

    def test_occupancies_and_volumes_are_shown_as_they_are(self):
        points = slice_points(LOW, HIGH, 2, 0.0, 30)
        flat = points.reshape(-1, 3)
        grey = slice_picture(SIGNALS["occupancy"], ball, points)
        torch.testing.assert_close(grey, (1 / (1 + torch.exp(-ball(flat)))).view(30, 30, 1).expand(-1, -1, 3))
        grey = slice_picture(SIGNALS["volume"], lambda x: x[:, :1], points, window=(-0.5, 1.5))
        torch.testing.assert_close(grey, ((points[..., :1] + 0.5) / 2).clamp(0, 1).expand(-1, -1, 3))
        colour = slice_picture(SIGNALS["volume"], lambda x: x, points)
        torch.testing.assert_close(colour, points.clamp(0, 1))
        faded = slice_picture(
            SIGNALS["volume"], lambda x: torch.cat((x, torch.full_like(x[:, :1], 0.25)), 1), points
        )
        torch.testing.assert_close(faded, colour / 4 + 0.75)  # on white

    def test_slices_are_asked_in_parts(self, monkeypatch):
        points, whole = slice_points(LOW, HIGH, 1, 0.0, 30), []
        whole = slice_picture(SIGNALS["sdf"], ball, points)
        monkeypatch.setattr("polyfield.rendering.pictures.slices._AT_ONCE", 70)

        def part(x: Tensor) -> Tensor:
            assert len(x) <= 70
            return ball(x)

        torch.testing.assert_close(slice_picture(SIGNALS["sdf"], part, points), whole)


class TestPicture:
    @pytest.mark.parametrize("tile", [1, 7, 1 << 18])
    def test_pixels_are_asked_at_their_centres(self, tile):
        asked: list[int] = []

        def where(x: Tensor) -> Tensor:
            asked.append(len(x))
            return torch.cat((x, x[:, :1] * x[:, 1:]), 1)

        shown = picture(where, 5, 3, tile)
        assert shown.shape == (3, 5, 3) and max(asked) <= tile and sum(asked) == 15
        for row in range(3):
            for column in range(5):
                x, y = (column + 0.5) / 5, (row + 0.5) / 3
                torch.testing.assert_close(shown[row, column], torch.tensor([x, y, x * y]))

    def test_pixels_keep_apart_at_16384_columns(self):
        shown = picture(lambda x: x[:, :1] * 16384, 16384, 1)
        assert torch.equal(shown[0, :, 0], torch.arange(16384) + 0.5)
