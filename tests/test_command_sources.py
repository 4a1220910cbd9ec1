"""The command on pictures, meshes, clouds and volumes: detection, fit, eval, resume, render, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_files import film

from polyfield.apps.command import main
from polyfield.fitting.points import point_objective, shape_points
from polyfield.fitting.tasks import shape_task, volume_task

OPTIONS = ["--options", "levels", "2", "entries", "256", "finest", "16", "width", "16"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    """A working folder with a source of each kind, and as few points as tests have time for."""
    import trimesh

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(point_objective, "POINTS", (512, 512))
    monkeypatch.setattr(shape_points, "POOL", 4000)
    few = {"IOU_POINTS": 4000, "SURFACE_POINTS": 2000, "RESOLUTION": 24, "_PIXELS": 16}
    for name, value in few.items():
        monkeypatch.setattr(shape_task, name, value)
    monkeypatch.setattr(volume_task, "_SIDE", 16)
    y, x = np.mgrid[:20, :30]
    Image.fromarray(np.uint8(np.stack((x * 8, y * 12, x + y), -1))).save("waves.png")
    ball = trimesh.creation.icosphere(2)
    ball.export("ball.ply")
    trimesh.Trimesh(ball.vertices, ball.faces[1:]).export("open.obj")
    np.save("cloud.npy", np.asarray(ball.vertices))
    z, y, x = np.mgrid[:8, :10, :12]
    np.save("scan.npy", np.float32(np.exp(-((x - 6) ** 2 + (y - 5) ** 2 + (z - 4) ** 2) / 8)))
    return tmp_path


def run(capsys, *arguments: object) -> tuple[dict, str]:
    """What a command printed, and what it said."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    return json.loads(said.out), said.err


def refused(capsys, *arguments: object) -> str:
    """The line with which a command was refused."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert ended.value.code == 1 and "Traceback" not in said.err
    return said.err.splitlines()[-1].removeprefix("error: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "source, signal, protocol, figures",
    [
        ("waves.png", "image", "polyfield-picture-1", {"psnr", "ssim", "ms_ssim"}),
        (
            "ball.ply",
            "sdf",
            "polyfield-shape-1",
            {"iou", "chamfer", "normal_error_degrees", "distance_error"},
        ),
        ("open.obj", "udf", "polyfield-shape-1", {"chamfer", "f_score", "distance_error"}),
        ("cloud.npy", "udf", "polyfield-shape-1", {"chamfer", "f_score", "distance_error"}),
        ("scan.npy", "volume", "polyfield-volume-1", {"psnr"}),
    ],
)
def test_each_kind_is_found_fitted_measured_and_drawn(source, signal, protocol, figures, capsys):
    printed, said = run(capsys, "fit", source, "--steps", 30, *OPTIONS, "--out", "run")
    assert f"fitting {signal}" in said and f"({protocol})" in said
    common = {
        "protocol",
        "steps",
        "train_seconds",
        "prepare_seconds",
        "points_per_second",
        "parameters",
        "bytes",
    }
    assert figures | common <= printed.keys() and printed["protocol"] == protocol
    # Tables take two bytes a number, networks four.
    assert printed["deterministic"] and 2 < printed["bytes"] / printed["parameters"] < 4
    assert printed == json.loads(Path("run/eval.json").read_text())
    config, scene = (json.loads(Path("run", name).read_text()) for name in ("config.json", "scene.json"))
    assert config["signal"] == signal and len(scene["sha256"]) == 64
    again, _ = run(capsys, "eval", "run")
    assert {key: again[key] for key in figures} == {key: printed[key] for key in figures}
    still = {"image": "picture"}.get(signal, "slices")
    drawn, _ = run(capsys, "render", "run", "--path", still, "--size", 32, 24)
    with Image.open(drawn["out"]) as image:
        assert image.size[0] >= 32
    if signal != "image":
        run(capsys, "render", "run/field.field", "--frames", 2, "--size", 16, 12, "--out", "frames")
        assert len(list(Path("frames").glob("*.png"))) == 2


def test_a_picture_is_drawn_as_large_as_it_was(capsys):
    run(capsys, "fit", "waves.png", "--downscale", 2, "--steps", 3, *OPTIONS, "--out", "run")
    drawn, _ = run(capsys, "render", "run")
    with Image.open(drawn["out"]) as image:
        assert drawn["out"] == "run/renders/picture.png" and image.size == (15, 10)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_a_resumed_fit_too(capsys, monkeypatch):
    from polyfield.fitting.runs import checkpoints

    given = ("fit", "scan.npy", "--field", "vm", "--steps", 20, "--options", "resolution", 16)
    for out in ("one", "two"):
        run(capsys, *given, "--out", out)
    assert Path("one/field.field").read_bytes() == Path("two/field.field").read_bytes()
    before = Path("one/field.field").read_bytes()
    # As if it had been stopped on its way, when it had grown once: it does at 7, 13 and 20 %.
    monkeypatch.setattr(checkpoints, "KEPT", 100)
    run(capsys, *given, "--save-seconds", "0.001", "--out", "three")
    assert 2 in checkpoints.generations(Path("three"))
    run(capsys, "resume", "three", "--generation", 2)
    assert Path("three/field.field").read_bytes() == before


def test_sizes_are_asked_in_bytes(capsys):
    printed, said = run(capsys, "fit", "waves.png", "--bytes", 20_000, "--steps", 2, "--out", "run")
    assert printed["bytes"] <= 20_000 and f"{printed['bytes']:,} bytes stored" in said


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["open.obj", "--signal", "sdf"], "--signal sdf: open.obj has no inside ("),
        (["open.obj", "--signal", "occupancy"], "use --signal udf"),
        (["waves.png", "--signal", "sdf"], "waves.png is a picture; expected image"),
        (["cloud.npy", "--signal", "sdf"], "cloud.npy is a cloud; expected udf"),
        (["waves.png", "--field", "vm"], "image fields: it needs three axes, but the field has 2; use cp"),
        (
            ["scan.npy", "--downscale", "2"],
            "--downscale 2: scan.npy is a volume; only scenes, pictures and videos",
        ),
        (["waves.png", "--bytes", "10"], "--bytes 10: the smallest hashgrid needs"),
        (["notes.txt"], "no such file or folder"),
        (
            ["waves.png", "--options", "activation", "tanh"],
            "option activation is 'tanh'; expected one of relu, sine",
        ),
    ],
)
def test_what_makes_no_sense_gets_one_line(arguments, words, capsys, place):
    line = refused(capsys, "fit", *arguments, "--steps", 2)
    assert words in line
    assert not (place / "runs").exists()


def test_a_source_that_changed_is_not_resumed(capsys):
    run(capsys, "fit", "scan.npy", "--steps", 2, *OPTIONS, "--out", "run")
    np.save("scan.npy", np.zeros((8, 10, 12), np.float32) + np.arange(12, dtype=np.float32))
    assert "(sha256 has another value)" in refused(capsys, "eval", "run")
    assert "--path orbit: expected 'picture' for a field with the signal 'image'" in refused_of_picture(
        capsys
    )


def refused_of_picture(capsys) -> str:
    run(capsys, "fit", "waves.png", "--steps", 2, *OPTIONS, "--out", "flat")
    return refused(capsys, "render", "flat", "--path", "orbit")


def test_a_source_is_read_as_asked(capsys):
    def fit(*options):
        return refused(capsys, "fit", "open.obj", "--steps", "1", *options)

    assert "a volume is read from .npy" in fit("--as", "volume")
    assert "--as movie: expected one of scene, picture, video, mesh, cloud, volume" in fit("--as", "movie")
    assert "--box: open.obj is a mesh; --box is for scenes only; omit it" in fit("--box", 0, 0, 0, 1)
    assert "--box [0.0, 0.0, 0.0, -1.0]: expected x, y, z from -1e9 to 1e9 and a half size from 1e-9" in fit(
        "--box", 0, 0, 0, -1
    )
    result, said = run(capsys, "fit", "ball.ply", "--as", "cloud", "--steps", "2", *OPTIONS, "--out", "run")
    assert "ball.ply is read as a cloud: --as cloud" in said and "faces are left out" in said
    assert json.loads(Path("run/config.json").read_text())["kind"] == "cloud"
    again, _ = run(capsys, "eval", "run")  # as it was fitted
    assert again["chamfer"] == result["chamfer"]


def test_a_video_begins_with_kplanes_and_is_measured_again(capsys):
    Path("film.mp4").write_bytes(film(np.zeros((4, 12, 16, 3), np.uint8)))
    result, said = run(capsys, "fit", "film.mp4", "--downscale", "2", "--steps", "2", "--out", "run")
    assert "film.mp4 is a video: 4 frames, 25 a second, 16 x 12, downscaled to 8 x 6." in said
    config = json.loads(Path("run/config.json").read_text())
    assert (config["field"], config["signal"]) == ("kplanes", "video")
    assert Path("run/renders/frames.png").is_file() and result["frames"] == 4
    assert run(capsys, "eval", "run")[0]["psnr"] == result["psnr"]


def test_a_source_that_was_moved_is_given_again(capsys):
    run(capsys, "fit", "waves.png", "--steps", "2", *OPTIONS, "--out", "run")
    before = json.loads(Path("run/eval.json").read_text())
    Path("elsewhere").mkdir()
    Path("waves.png").rename("elsewhere/w.png")
    for verb in ("eval", "resume"):
        assert "no such file or folder; if the source was moved, give its path with --source" in refused(
            capsys, verb, "run"
        )
        result, _ = run(capsys, verb, "run", "--source", "elsewhere/w.png")
        assert result["psnr"] == before["psnr"]
    _, said = run(capsys, "convert", "run", "--to", "mlp", "--steps", "2", "--out", "student")
    assert "waves.png: no such file or folder; for the comparison, move it back to this path" in said
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save("waves.png")
    assert "has changed since the run began" in refused(capsys, "eval", "run")


@pytest.mark.parametrize("name", ["huge.npy", "far.nii"])
def test_numbers_of_any_size_are_fitted_or_leave_no_run(capsys, name):
    import nibabel

    grid = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    np.save("huge.npy", np.uint64(2**63) + grid.astype(np.uint64) * np.uint64(2**50))
    affine = np.eye(4)
    affine[:3, 3] = 1e9, -1e12, 3.0
    nibabel.save(nibabel.Nifti1Image(grid.astype(np.int16), affine), "far.nii")
    result, _ = run(capsys, "fit", name, "--steps", "3", *OPTIONS, "--out", "run")
    assert result["psnr"] > 0
    run(capsys, "render", "run", "--size", "16", "16", "--frames", "2")


def test_an_oblique_volume_is_fitted_and_drawn(capsys):
    import nibabel

    z, y, x = np.mgrid[:8, :10, :12]
    c, s = np.cos(0.5), np.sin(0.5)
    affine = np.array([[c, -s, 0, 5], [s, c, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])
    values = np.float32(np.exp(-((x - 6) ** 2 + (y - 5) ** 2 + (z - 4) ** 2) / 8))
    nibabel.save(nibabel.Nifti1Image(values, affine), "turned.nii")
    result, _ = run(capsys, "fit", "turned.nii", "--steps", "60", *OPTIONS, "--out", "run")
    np.save("straight.npy", values.transpose(2, 1, 0))
    straight, _ = run(capsys, "fit", "straight.npy", "--steps", "60", *OPTIONS, "--out", "run2")
    assert abs(result["psnr"] - straight["psnr"]) < 3
    for path in ("orbit", "slices"):
        run(capsys, "render", "run", "--path", path, "--size", "16", "16", "--frames", "2")
