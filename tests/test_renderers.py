"""Renderers: kept over frames, stopped by their progress, refreshed after a change."""

import pytest
import torch

from polyfield.cameras.cameras import Cameras, look_at
from polyfield.errors import PolyfieldError
from polyfield.fields import SIGNALS, Domain, FieldSpec, Meaning, create
from polyfield.fields.context import FieldContext
from polyfield.rendering.fused import FusedField
from polyfield.rendering.pictures.slices import pixel_centres
from polyfield.rendering.radiance import pictures as radiance_pictures
from polyfield.rendering.renderers import RENDERERS, RadianceRenderer, renderer_of
from polyfield.rendering.turntable import turntable

BOX = Domain("box", (0.0,) * 3, (1.0,) * 3)
FLAT = Domain("box", (0.5, 0.5), (0.5, 0.5))
SMALL = {"levels": 2, "entries": 1 << 8, "finest": 12, "width": 16}


def field_of(signal: str):
    domain = FLAT if SIGNALS[signal].dimensions == 2 else BOX
    field = create(FieldSpec("hashgrid", Meaning.of(signal, domain), SMALL))
    for table in field.encoding.tables:
        table.data *= 1e3
    return field


def cameras(count: int = 3) -> Cameras:
    eyes = torch.tensor([[3.0, 0.0, 0.5], [0.0, 3.0, 0.5], [-3.0, 0.5, 1.0]])[:count]
    poses = look_at(eyes, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return Cameras.perspective(poses, focal=24.0, size=(20, 16))


def radiance(field=None) -> RadianceRenderer:
    occupied = torch.ones(1, 8, 8, 8, dtype=torch.bool)
    context = FieldContext(background=(0.2, 0.4, 0.6), step_size=0.05, near=0.1, occupancy=occupied)
    return RadianceRenderer(field or field_of("radiance"), context)


class Stop(Exception):
    pass


def stopping(after: int):
    calls = []

    def progress(share: float, doing: str = "") -> None:
        calls.append(share)
        if len(calls) >= after:
            raise Stop

    return progress


def test_every_signal_has_a_renderer():
    assert {signal.drawn for signal in SIGNALS.values()} == RENDERERS.keys()
    for signal in SIGNALS:
        renderer = renderer_of(field_of(signal), FieldContext(step_size=0.05))
        assert renderer.paths


@pytest.mark.parametrize("signal", [name for name in SIGNALS if SIGNALS[name].dimensions == 3])
def test_a_picture_that_was_stopped_leaves_the_renderer_as_it_was(signal, monkeypatch):
    renderer = radiance() if signal == "radiance" else renderer_of(field_of(signal), FieldContext())
    views = cameras() if signal == "radiance" else turntable(BOX, 3, (20, 16))
    monkeypatch.setattr(radiance_pictures, "_FUSED_RAYS_AT_ONCE", 100)
    monkeypatch.setattr("polyfield.rendering.turntable._AT_ONCE", 100)
    whole = renderer.picture(views, 1)
    with pytest.raises(Stop):
        renderer.picture(views, 0, stopping(2))
    assert torch.equal(renderer.picture(views, 1), whole) and whole.shape == (16, 20, 3)


def test_the_kernel_is_made_once_for_all_frames(monkeypatch):
    made = []
    of = FusedField.of
    monkeypatch.setattr(FusedField, "of", staticmethod(lambda field: made.append(field) or of(field)))
    renderer, views = radiance(), cameras()
    for view in range(3):
        renderer.picture(views, view)
    assert len(made) == 1


def test_a_changed_field_is_seen_after_a_refresh():
    field = field_of("radiance")
    renderer, views = radiance(field), cameras()
    before = renderer.picture(views, 0)
    with torch.no_grad():
        field.encoding.tables[0].mul_(-3)
    renderer.refresh()
    after = renderer.picture(views, 0)
    assert not torch.equal(before, after) and torch.equal(after, radiance(field).picture(views, 0))


def test_radiance_stands_on_the_background():
    renderer, views = radiance(), cameras()
    rendering = renderer.render(views, 0)
    expected = rendering.colour + (1 - rendering.opacity[..., None]) * torch.tensor([0.2, 0.4, 0.6])
    torch.testing.assert_close(renderer.picture(views, 0), expected)


def test_views_and_flat_pictures_go_with_the_signal():
    with pytest.raises(PolyfieldError, match="a field with the signal 'radiance' has no flat image; call"):
        radiance().flat(None)
    for signal, count in (("image", 1), ("video", 1), ("sdf", 3), ("volume", 3)):
        assert len(renderer_of(field_of(signal), FieldContext()).flat((12, 12))) == count


def test_frames_of_a_video_are_its_values_at_a_time():
    """Flat, and hung in space at the camera's time; a context that makes no sense gives defaults."""
    field = field_of("video")
    renderer = renderer_of(field, FieldContext(source={"shape": [5, 12, 16, 3], "fps": 12.5}))
    [frame] = renderer.flat(None, time=0.25)
    x = pixel_centres(torch.arange(12 * 16), 16, 12)
    expected = field.colour_at(x, torch.full((len(x),), 0.25)).clamp(0, 1).view(12, 16, 3)
    torch.testing.assert_close(frame, expected)
    assert (renderer.frames, renderer.fps) == (5, 12.5)
    eye = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    views = Cameras.perspective(
        eye.expand(2, 3, 4), focal=8.0, size=(16, 12), times=torch.tensor([0.25, 0.75])
    )
    early, late = (renderer.picture(views, view) for view in range(2))
    assert not torch.allclose(early, late)
    for source in ({"shape": [4, 4, 3], "fps": "x"}, {"shape": "x", "fps": -1}, {}):
        other = renderer_of(field, FieldContext(source=source))
        assert (other.frames, other.fps) == (60, 30.0) and other.flat((4, 2))[0].shape == (2, 4, 3)
