"""The command's pictures: turntables, test views, camera paths, and files that were edited."""

import json
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from command_line import edit, inside, mistake, run
from PIL import Image

from polyfield.fields import Domain, FieldSpec, create
from polyfield.fields.context import FieldContext
from polyfield.fields.field_file import load_field, save_field
from polyfield.rendering.renderers import renderer_of

pytestmark = pytest.mark.slow


def test_a_turntable_is_a_video(fitted):
    out, _ = run("render", "run", "--frames", "5", cwd=fitted)
    path = fitted / json.loads(out)["out"]
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 5 and frames[0].shape == (24, 24, 3) and frames[0].std() > 5


def test_test_views_are_pictures(fitted):
    run("render", "run", "--path", "test", "--out", "pictures", cwd=fitted)
    names = sorted(path.name for path in (fitted / "pictures").iterdir())
    assert names == ["0000.png", "0001.png", "0002.png", "render.json"]


def test_a_rendering_replaces_an_earlier_one_and_nothing_else(fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    field, size = fitted / "run" / "field.field", ["--size", "8", "8"]
    for frames in (4, 2):
        inside(capsys, "render", field, "--out", "frames", "--frames", frames, *size)
        (tmp_path / "frames" / "notes.txt").touch()
    names = sorted(path.name for path in (tmp_path / "frames").iterdir())
    assert names == ["0000.png", "0001.png", "notes.txt", "render.json"]
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "0001.png").touch()
    (tmp_path / "file").touch()
    for name in ("photographs", "file"):
        message = mistake(capsys, "render", field, "--out", name, *size)
        assert (
            message
            == f"{name} already exists and does not hold rendered frames; choose another name with --out"
        )
    assert [path.name for path in (tmp_path / "photographs").iterdir()] == ["0001.png"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"c2w": [[0.0] * 4] * 3}, "c2w is not a rotation"),
        ({"c2w": [[0.0] * 4] * 4}, "c2w is missing or has another shape"),
        ({"c2w": "I"}, "c2w is 'I'; expected a list of rows"),
        ({"size": [0, 24]}, "size is 0 x 24; expected whole numbers from 1 to"),
        ({"size": [24]}, "size is a list of length 1; expected a list of 2 numbers"),
        ({"intrinsics": [1e12, 1e12, 12, 12]}, "intrinsics gives a focal length of 1e+12"),
        ({"intrinsics": None}, "intrinsics is missing; expected 4 numbers"),
        ({"lens": "monocle"}, "lens is 'monocle'; expected one of perspective"),
        ({"distortion": [0, "x", 0, 0, 0, 0, 0, 0]}, "distortion[1] is 'x'; expected a number"),
        ({"time": 2}, "time is "),
    ],
)
def test_cameras_of_a_run_that_were_edited_are_refused(copy, capsys, change, words):
    edit(copy / "scene.json", lambda scene: scene["frames"][10].update(change))
    message = mistake(capsys, "render", "run", "--path", "test", "--out", "frames")
    assert message.startswith("run/scene.json: frames[1") and words in message


def test_errors_about_a_field_file_name_it(fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    field, context = load_field(fitted / "run" / "field.field")
    save_field("a.field", field, replace(context, cameras={**context.cameras, "sizes": []}))
    assert mistake(capsys, "render", "a.field").startswith("a.field: cameras: ")
    save_field("b.field", field, replace(context, step_size=1e-12))
    message = mistake(capsys, "render", "b.field")
    assert message.startswith("b.field: ") and "step_size is 1e-12; expected at least" in message


def test_a_field_file_is_enough_for_a_camera_path(fitted, tmp_path):
    pose = [1, 0, 0, 0, 0, 0, -1, -4, 0, 1, 0, 0, 0, 0, 0, 1]
    path = {
        "camera_type": "perspective", "render_height": 20, "render_width": 30, "fps": 24,
        "camera_path": [{"camera_to_world": pose, "fov": 40, "aspect": 1.5}] * 2,
    }  # fmt: skip
    (tmp_path / "path.json").write_text(json.dumps(path))
    field = fitted / "run" / "field.field"
    run("render", field, "--path", "path.json", "--out", "frames", cwd=tmp_path)
    assert len(list((tmp_path / "frames").glob("*.png"))) == 2
    assert "belong to a run" in run("render", field, "--path", "test", cwd=tmp_path, status=1)[1]


def test_sizes_that_a_field_file_claims_take_no_memory(tmp_path, capsys, monkeypatch):
    """A file of some kilobytes asks for pictures of 2^128 pixels, or none: it is drawn small, or refused in one line."""
    monkeypatch.chdir(tmp_path)
    field = create(FieldSpec.of("densegrid", "image", Domain("box", (0.5, 0.5), (0.5, 0.5))), seed=0)
    for number, shape in enumerate(
        [[2**31, 2**31, 3], [2**128, 9, 3], [True, 9, 3], [0, 9, 3], "x", [9, 7, 3]]
    ):
        save_field(f"{number}.field", field, FieldContext(source={"shape": shape}))
        status, _, _ = inside(capsys, "render", f"{number}.field", "--out", "a.png")
        assert status == 0
        width, height = Image.open("a.png").size
        assert (width, height) == ((7, 9) if number == 5 else (512, 512))
    assert renderer_of(field, FieldContext(source={"shape": [2**15, 2**15, 3]}))._size() == (2**13, 2**13)
    assert "expected at most 67,108,864 pixels in all" in mistake(
        capsys, "render", "5.field", "--size", 32768, 32768
    )


def test_cameras_and_steps_without_sense_are_refused(fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    field, context = load_field(fitted / "run" / "field.field")
    huge = {**context.cameras, "sizes": [[65536, 65536]] * len(context.cameras["sizes"])}
    save_field("a.field", field, replace(context, cameras=huge))
    assert "its largest camera has 65536 x 65536 pixels; expected at most" in mistake(
        capsys, "render", "a.field"
    )
    save_field(
        "b.field", field, replace(context, step_size=1e-6, occupancy=torch.ones(1, 8, 8, 8, dtype=torch.bool))
    )
    assert "b.field: context: step_size is 1e-06; expected at least" in mistake(capsys, "render", "b.field")


def test_values_beyond_float32_are_an_error_in_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for signal in ("image", "volume", "udf"):
        axes = 2 if signal == "image" else 3
        field = create(FieldSpec.of("densegrid", signal, Domain("box", (0.5,) * axes, (0.5,) * axes)), seed=0)
        with torch.no_grad():
            for parameter in field.parameters():
                parameter.fill_(1)
            for weights in field.trunk.layers.weights:
                weights.fill_(3e38)
        save_field("a.field", field, FieldContext())
        message = mistake(capsys, "render", "a.field", "--size", 16, 16, "--frames", 1)
        assert message.endswith(
            "the field has values that are NaN or infinite; continue the fit from an earlier checkpoint with "
            "`polyfield resume RUN --generation STEP`"
        )


def test_a_video_is_rendered_at_its_own_rate_and_a_time_is_one_frame(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    field = create(FieldSpec.of("densegrid", "video", Domain("box", (0.5, 0.5), (0.5, 0.5))), seed=0)
    for table in field.encoding.tables:
        table.data *= 1e4
    source = {"shape": [5, 12, 16, 3], "fps": 12.5}
    save_field("a.field", field, FieldContext(source=source))
    out = json.loads(inside(capsys, "render", "a.field")[1])
    with av.open(out["out"]) as video:
        rate = video.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert (out["out"], len(frames), frames[0].shape, rate) == ("renders/video.mp4", 5, (12, 16, 3), 12.5)
    inside(capsys, "render", "a.field", "--time", 0.3, "--out", "a.png")
    [expected] = renderer_of(load_field("a.field")[0], FieldContext(source=source)).flat(None, time=0.3)
    shown = torch.from_numpy(np.asarray(Image.open("a.png")).copy()).float()
    assert torch.equal(shown, (expected * 255).round()) and shown.std() > 5
    out = json.loads(inside(capsys, "render", "a.field", "--frames", 3, "--fps", 5, "--out", "frames")[1])
    assert out["frames"] == 3 and len(list((tmp_path / "frames").glob("*.png"))) == 3
    for arguments, words in (
        (["--time", 2], "--time is 2; expected 0 to 1"),
        (["--time", 0.5, "--path", "video"], "--time 0.5: a video shows all times; use --path picture"),
        (
            ["--path", "orbit"],
            "--path orbit: expected 'video' or 'picture' for a field with the signal 'video'",
        ),
    ):
        assert words in mistake(capsys, "render", "a.field", *arguments)


def test_a_field_at_rest_has_no_time(fitted, capsys, monkeypatch):
    monkeypatch.chdir(fitted)
    message = mistake(capsys, "render", "run", "--time", 0.5)
    assert message == "--time 0.5: the field does not move; omit --time"
