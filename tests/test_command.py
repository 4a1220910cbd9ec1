"""The command from outside: fit, eval, render, doctor, resume, signals, and kills at any moment."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polyfield.demo.scenes import make_scene
from polyfield.fit.runs import checkpoints

SMALL = ["--options", "levels", "3", "log2_size", "10", "finest", "48", "width", "16"]
STEPS = 120


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "tiny"
    make_scene(folder, views=10, test_views=3, size=24)
    return folder


def start(*arguments: str | Path, cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "polyfield.apps", *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(*arguments: str | Path, cwd: Path, status: int = 0) -> tuple[str, str]:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return out, err


@pytest.fixture(scope="module")
def fitted(scene, tmp_path_factory) -> Path:
    """A finished run, and what it printed beside it."""
    cwd = tmp_path_factory.mktemp("work")
    out, err = run("fit", scene, "--steps", STEPS, *SMALL, "--out", "run", "--save-seconds", "0.05", cwd=cwd)
    (cwd / "out.json").write_text(out)
    (cwd / "err.txt").write_text(err)
    return cwd


@pytest.fixture
def copy(fitted, tmp_path, monkeypatch) -> Path:
    """A copy of the finished run, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(fitted / "run", tmp_path / "run"))


def inside(capsys, *arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command in this process."""
    from polyfield.apps.command import main

    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return ended.value.code, said.out, said.err


def mistake(capsys, *arguments: str | Path) -> str:
    """The one line with which a command is refused."""
    status, _, err = inside(capsys, *arguments)
    assert status == 1 and err.count("error: ") == 1
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    return last.removeprefix("error: ")


def edit(path: Path, change) -> None:
    """Change a JSON file as a person would."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def final_tensors(folder: Path) -> str:
    """A hash of the last checkpoint's tensors."""
    [newest] = checkpoints.generations(folder)[-1:]
    assert newest == STEPS
    tensors = checkpoints.load(folder).tensors
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].contiguous().view(-1).numpy().tobytes())
    return total.hexdigest()


class TestFit:
    def test_it_prints_and_keeps_its_figures(self, fitted):
        printed = json.loads((fitted / "out.json").read_text())
        assert printed == json.loads((fitted / "run" / "eval.json").read_text())
        wanted = {
            "protocol", "psnr", "ssim", "views", "train_seconds", "prepare_seconds", "steps", "rays_per_second",
            "evaluated_samples_per_second", "trained_samples_per_second", "parameters", "bytes", "deterministic",
            "occupancy_share_of_time",
        }  # fmt: skip
        assert wanted <= printed.keys()
        assert printed["steps"] == STEPS and printed["views"] == 3 and printed["deterministic"] is True
        assert printed["psnr"] > 10

    def test_it_says_what_it_found_and_made(self, fitted):
        said = (fitted / "err.txt").read_text()
        assert "is a blender scene" in said and "10 training and 3 test views, 24x24" in said
        assert "test PSNR" in said and "polyfield-views-1" in said

    def test_the_run_folder_is_whole(self, fitted):
        names = {path.name for path in (fitted / "run").iterdir()}
        assert {
            "config.json",
            "scene.json",
            "metrics.jsonl",
            "eval.json",
            "field.field",
            "checkpoints",
        } <= names
        assert (fitted / "run" / "renders" / "test-views.png").stat().st_size > 1000
        config = json.loads((fitted / "run" / "config.json").read_text())
        assert config["schema"] == 1 and config["steps"] == STEPS and config["field"] == "hashgrid"
        steps = [
            json.loads(line)["step"] for line in (fitted / "run" / "metrics.jsonl").read_text().splitlines()
        ]
        assert steps == list(range(10, STEPS + 1, 10))
        assert not (fitted / "run" / "lock.json").exists()

    def test_a_run_is_never_overwritten(self, fitted, scene):
        _, err = run("fit", scene, "--steps", "5", "--out", "run", cwd=fitted, status=1)
        assert err.startswith("error: run: ") or "\nerror: run: " in err

    def test_default_folders_are_numbered(self, scene, tmp_path):
        for _ in range(2):
            run("fit", scene, "--steps", "2", *SMALL, cwd=tmp_path)
        assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
            "tiny-hashgrid-1",
            "tiny-hashgrid-2",
        ]

    def test_the_mlp_fits_too(self, scene, tmp_path):
        out, _ = run("fit", scene, "--field", "mlp", "--steps", "3", "--options", "width", "16", cwd=tmp_path)
        assert json.loads(out)["steps"] == 3

    def test_seconds_are_training_time_and_not_deterministic(self, scene, tmp_path):
        begun = time.monotonic()
        out, _ = run("fit", scene, "--seconds", "1", *SMALL, cwd=tmp_path)
        printed = json.loads(out)
        assert 1 <= printed["train_seconds"] < time.monotonic() - begun and printed["deterministic"] is False


class TestResume:
    def test_ten_kills_leave_no_trace(self, fitted, scene, tmp_path):
        """kill -9 at ten random moments, resumed each time: the final tensors are those of the run never killed."""
        moments = random.Random(4)
        folder = tmp_path / "run"
        process = start(
            "fit", scene, "--steps", STEPS, *SMALL, "--out", folder, "--save-seconds", "0.05", cwd=tmp_path
        )
        for _ in range(10):
            wait_for(lambda: lock_of(process.pid, folder) or process.poll() is not None)  # noqa: B023
            time.sleep(moments.random() * 0.5)
            assert process.poll() in (None, 0), process.communicate()[1]  # a fast machine may have finished
            process.kill()
            process.communicate()
            process = start("fit", "--resume", folder, cwd=tmp_path)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert final_tensors(tmp_path / "run") == final_tensors(fitted / "run")
        field, expected = ((folder / "run" / "field.field").read_bytes() for folder in (tmp_path, fitted))
        assert field == expected
        metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in metrics] == list(range(10, STEPS + 1, 10))

    @pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_saves_and_ends(self, scene, tmp_path, number, status):
        process = start("fit", scene, "--seconds", "100", *SMALL, "--out", "run", cwd=tmp_path)
        wait_for((tmp_path / "run" / "metrics.jsonl").exists)
        process.send_signal(number)
        begun = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert process.returncode == status and time.monotonic() - begun < 20
        printed = json.loads(out)
        assert checkpoints.generations(tmp_path / "run") == [printed["steps"]]
        assert "go on with: polyfield fit --resume run" in err
        assert not (tmp_path / "run" / "lock.json").exists()

    def test_a_finished_run_is_evaluated_again(self, fitted):
        before = json.loads((fitted / "run" / "eval.json").read_text())
        out, err = run("fit", "--resume", "run", cwd=fitted)
        assert json.loads(out)["psnr"] == before["psnr"] and f"going on from step {STEPS}" in err

    def test_a_damaged_checkpoint_stops_with_the_way_out(self, fitted, tmp_path):
        shutil.copytree(fitted / "run", tmp_path / "run")
        *_, older, newest = checkpoints.generations(tmp_path / "run")
        tensors = tmp_path / "run" / "checkpoints" / f"step-{newest:09d}" / "tensors.safetensors"
        data = bytearray(tensors.read_bytes())
        data[len(data) // 2] ^= 1
        tensors.write_bytes(data)
        _, err = run("fit", "--resume", "run", cwd=tmp_path, status=1)
        assert err.count("error:") == 1 and f"--generation {older}" in err
        run("fit", "--resume", "run", "--generation", older, cwd=tmp_path)
        assert final_tensors(tmp_path / "run") == final_tensors(fitted / "run")

    def test_a_changed_scene_is_refused(self, fitted, scene, tmp_path):
        shutil.copytree(fitted / "run", tmp_path / "run")
        config = tmp_path / "run" / "config.json"
        shutil.copytree(scene, tmp_path / "tiny")
        config.write_text(config.read_text().replace(str(scene), str(tmp_path / "tiny")))
        picture = tmp_path / "tiny" / "train" / "r_003.png"
        picture.write_bytes((tmp_path / "tiny" / "train" / "r_004.png").read_bytes())
        _, err = run("fit", "--resume", "run", cwd=tmp_path, status=1)
        assert "are not what the run was fitted to" in err

    def test_checkpoints_that_lost_their_manifests_are_not_started_over(self, copy, capsys):
        for manifest in copy.rglob("manifest.json"):
            manifest.unlink()
        field = (copy / "field.field").read_bytes()
        message = mistake(capsys, "fit", "--resume", "run")
        assert message.startswith(f"run/checkpoints/step-{STEPS:09d}: holds no manifest.json")
        shutil.rmtree(copy / "checkpoints")
        assert "holds a field but no checkpoint" in mistake(capsys, "fit", "--resume", "run")
        assert (copy / "field.field").read_bytes() == field

    @pytest.mark.parametrize(
        "key, value, words",
        [
            ("rays", -5, "rays is -5; expected a number from 1 to"),
            ("rays", True, "rays is True"),
            ("seconds", "1", "seconds is '1'"),
            ("totals", None, "totals.rays is None"),
            ("steps", 7, f"steps is 7; the folder's name says {STEPS}"),
            ("adam_steps", 1.5, "adam_steps is 1.5; expected int"),
        ],
    )
    def test_a_state_that_no_fit_could_have_is_refused(self, copy, capsys, key, value, words):
        folder = copy / "checkpoints" / f"step-{STEPS:09d}"
        edit(folder / "state.json", lambda state: state.update({key: value}))
        data = (folder / "state.json").read_bytes()
        sealed = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        edit(folder / "manifest.json", lambda manifest: manifest["files"].update({"state.json": sealed}))
        message = mistake(capsys, "fit", "--resume", "run")
        assert message.startswith(f"run/checkpoints/step-{STEPS:09d}") and words in message

    def test_another_machine_gets_a_warning(self, copy, capsys):
        config = json.loads((copy / "config.json").read_text())
        assert config["machine"].keys() == {"device", "kernels", "threads", "torch"}
        edit(copy / "config.json", lambda config: config["machine"].update({"threads": 77, "torch": "1.0\n"}))
        _, _, err = inside(capsys, "fit", "--resume", "run")
        [line] = [line for line in err.splitlines() if "begun with" in line]
        assert line.startswith("warning: run/config.json: begun with threads 77 (now ") and "'1.0\\n'" in line

    def test_a_bad_line_of_the_log_does_not_stop_it(self, copy, capsys):
        lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
        (copy / "metrics.jsonl").write_text("".join([*lines[:3], "what?\n", *lines[3:], '{"st']))
        status, _, err = inside(capsys, "fit", "--resume", "run")
        assert status == 0 and err.count("warning: run/metrics.jsonl: record 4: ") == 1
        assert (copy / "metrics.jsonl").read_text() == "".join(lines)


class TestRefusedFits:
    """None of them leaves a run folder."""

    @pytest.mark.parametrize(
        "options, words",
        [
            (["finest", "1"], "option finest is 1; expected a whole number from 2"),
            (["log2_size", "26", "finest", "60000", "levels", "32", "features", "8"], "parameters; at most"),
        ],
    )
    def test_options(self, scene, tmp_path, capsys, monkeypatch, options, words):
        monkeypatch.chdir(tmp_path)
        assert words in mistake(capsys, "fit", scene, "--steps", "3", "--options", *options)
        assert not list(tmp_path.iterdir())

    def test_masks_that_leave_nothing(self, scene, tmp_path, capsys, monkeypatch):
        from PIL import Image

        monkeypatch.chdir(tmp_path)
        shutil.copytree(scene, tmp_path / "dark")
        Image.new("L", (24, 24)).save(tmp_path / "dark" / "mask.png")
        edit(
            tmp_path / "dark" / "transforms_train.json",
            lambda data: [frame.update(mask_path="mask.png") for frame in data["frames"]],
        )
        assert "masks leave no pixel" in mistake(capsys, "fit", "dark", "--steps", "3", "--out", "run")
        assert [path.name for path in tmp_path.iterdir()] == ["dark"]


class TestOtherVerbs:
    def test_eval_gives_the_same_figures(self, fitted):
        out, _ = run("eval", "run", cwd=fitted)
        before = json.loads((fitted / "out.json").read_text())
        assert json.loads(out) == before

    @pytest.mark.parametrize("text", ['{"exit_status": 7, "steps": "many"}', "{", "[]", None])
    def test_eval_does_not_read_what_it_writes(self, copy, capsys, text):
        before = json.loads((copy / "eval.json").read_text())
        (copy / "eval.json").unlink() if text is None else (copy / "eval.json").write_text(text)
        status, out, _ = inside(capsys, "eval", "run")
        assert status == 0 and json.loads(out) == before == json.loads((copy / "eval.json").read_text())

    def test_eval_needs_no_checkpoint(self, copy, capsys):
        shutil.rmtree(copy / "checkpoints")
        status, out, err = inside(capsys, "eval", "run")
        assert status == 0 and json.loads(out)["psnr"] > 10 and "steps" not in json.loads(out)
        assert "warning: run: holds no whole checkpoint" in err

    def test_a_turntable_is_a_video(self, fitted):
        import av

        out, _ = run("render", "run", "--frames", "5", cwd=fitted)
        path = fitted / json.loads(out)["out"]
        with av.open(str(path)) as video:
            frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert len(frames) == 5 and frames[0].shape == (24, 24, 3) and frames[0].std() > 5

    def test_test_views_are_pictures(self, fitted):
        run("render", "run", "--path", "test", "--out", "pictures", cwd=fitted)
        names = sorted(path.name for path in (fitted / "pictures").iterdir())
        assert names == ["0000.png", "0001.png", "0002.png", "render.json"]

    def test_a_rendering_replaces_an_earlier_one_and_nothing_else(
        self, fitted, tmp_path, capsys, monkeypatch
    ):
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
            assert message == f"{name}: is there already and no rendering made it; choose another name"
        assert [path.name for path in (tmp_path / "photographs").iterdir()] == ["0001.png"]

    @pytest.mark.parametrize(
        "change, words",
        [
            ({"c2w": [[0.0] * 4] * 3}, "c2w is no rotation"),
            ({"c2w": [[0.0] * 4] * 4}, "c2w is missing or has another shape"),
            ({"c2w": "I"}, "c2w is 'I'; expected a list of rows"),
            ({"size": [0, 24]}, "size is 0 x 24; expected whole numbers from 1 to"),
            ({"size": [24]}, "size is a list of 1; expected a list of 2 numbers"),
            ({"intrinsics": [1e12, 1e12, 12, 12]}, "intrinsics gives a focal length of 1e+12"),
            ({"intrinsics": None}, "intrinsics is missing; expected 4 numbers"),
            ({"lens": "monocle"}, "lens is 'monocle'; expected one of perspective"),
            ({"distortion": [0, "x", 0, 0, 0, 0, 0, 0]}, "distortion[1] is 'x'; expected a number"),
            ({"time": 2}, "time is "),
        ],
    )
    def test_cameras_of_a_run_that_were_edited_are_refused(self, copy, capsys, change, words):
        edit(copy / "scene.json", lambda scene: scene["frames"][10].update(change))
        message = mistake(capsys, "render", "run", "--path", "test", "--out", "frames")
        assert message.startswith("run/scene.json: frames[1") and words in message

    def test_errors_about_a_field_file_name_it(self, fitted, tmp_path, capsys, monkeypatch):
        from dataclasses import replace

        from polyfield.fields.field_file import load_field, save_field

        monkeypatch.chdir(tmp_path)
        field, context = load_field(fitted / "run" / "field.field")
        save_field("a.field", field, replace(context, cameras={**context.cameras, "sizes": []}))
        assert mistake(capsys, "render", "a.field").startswith("a.field: cameras: ")
        save_field("b.field", field, replace(context, step_size=1e-12))
        message = mistake(capsys, "render", "b.field")
        assert message.startswith("b.field: ") and "is too fine for its domain" in message

    def test_a_field_file_is_enough_for_a_camera_path(self, fitted, tmp_path):
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

    def test_doctor(self, scene, tmp_path):
        printed = json.loads(run("doctor", scene, cwd=tmp_path)[0])
        assert printed["kernels"]["cpu"] in ("native", "reference")
        assert printed["scene"]["views"] == {"training": 10, "test": 3}

    def test_doctor_warms_a_gpu_only(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        err = run("doctor", "--warm", cwd=tmp_path, status=1)[1]
        assert err == "error: --warm: there is no GPU here, and other kernels are compiled at installation\n"


class TestSignals:
    """Outside the loop too they get one line, and leave no lock and nothing unfinished."""

    @pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_while_evaluating(self, copy, capsys, monkeypatch, number, status):
        from polyfield.fit.tasks.scene_task import SceneTask

        monkeypatch.setattr(SceneTask, "evaluate", lambda *_, **__: signal.raise_signal(number))
        before = (copy / "eval.json").read_bytes()
        ended, out, err = inside(capsys, "eval", "run")
        assert (ended, out) == (status, "")
        assert err.splitlines()[-1] == f"stopped by {number.name}"
        assert not (copy / "lock.json").exists() and (copy / "eval.json").read_bytes() == before

    def test_while_rendering(self, fitted, tmp_path):
        process = start(*("render", fitted / "run", "--frames", "100000", "--out", "video.mp4"), cwd=tmp_path)
        wait_for(lambda: list(tmp_path.iterdir()))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 143 and err.splitlines()[-1] == "stopped by SIGTERM"
        assert "Traceback" not in err and not list(tmp_path.iterdir())

    def test_while_the_demo_scene_is_made(self, tmp_path, monkeypatch):
        monkeypatch.setenv("POLYFIELD_CACHE", str(tmp_path / "cache"))
        process = start("fit", "--steps", "3", cwd=tmp_path)
        wait_for(lambda: list(tmp_path.glob("cache/*")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130 and err.splitlines()[-1] == "stopped by SIGINT"
        assert "Traceback" not in err and not list(tmp_path.glob("cache/*"))

    def test_while_it_starts(self, tmp_path, monkeypatch):
        """The first thing that takes time is the import of the parser: here a signal comes in it."""
        (tmp_path / "tyro.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        out, err = run("doctor", cwd=tmp_path, status=130)
        assert (out, err) == ("", "stopped by SIGINT\n")


class TestOutput:
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    @pytest.mark.parametrize("arguments", [["doctor"], ["--help"]])
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_a_stdout_that_is_full_gets_one_line(self, arguments, unbuffered):
        with open("/dev/full", "w") as full:
            done = into(full, arguments, unbuffered)
        assert done.returncode == 1
        assert done.stderr == "error: stdout: No space left on device\n"

    @pytest.mark.parametrize("arguments", [["doctor"], ["--help"]])
    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_a_reader_that_has_gone_gets_none(self, arguments, unbuffered):
        reader, writer = os.pipe()
        os.close(reader)
        with open(writer, "w") as pipe:
            done = into(pipe, arguments, unbuffered)
        assert (done.returncode, done.stderr) == (141, "")


def into(stdout, arguments: list[str], unbuffered: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "polyfield.apps", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(
        command, check=False, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_waiting_threads_of_torch_sleep(monkeypatch, capsys):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    inside(capsys, "--help")
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    inside(capsys, "--help")
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["fit", "nowhere"], "nowhere: no such file or folder"),
        (["fit", "--steps", "5", "--seconds", "5"], "give --steps or --seconds, not both"),
        (["fit", "--steps", "0"], "--steps is 0; expected 1 to"),
        (["fit", "--seconds", "nan"], "--seconds is nan"),
        (["fit", "--downscale", "0"], "--downscale is 0"),
        (
            ["fit", "--field", "octree"],
            "architecture 'octree' is unknown; expected one of hashgrid, densegrid",
        ),
        (["fit", "--options", "size", "3"], "option 'size' is unknown"),
        (["fit", "--resume", "nowhere"], "nowhere: holds no config.json"),
        (["fit", "--generation", "3"], "--generation goes with --resume"),
        (["fit", "--resume", "x", "--steps", "9"], "--resume takes the options"),
        (["eval", "nowhere"], "nowhere: holds no config.json"),
        (["render", "nowhere.field"], "nowhere.field"),
        (["fit", "--device", "toaster"], "--device toaster: there is no such device"),
    ],
)
def test_mistakes_get_one_line(arguments, words, tmp_path, capsys, monkeypatch):
    from polyfield.apps.command import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.splitlines()[-1].startswith("error: ") and words in said.splitlines()[-1]
    assert "Traceback" not in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", [[], ["fit"], ["eval"], ["render"], ["doctor"]])
def test_help_answers_at_once(verb, tmp_path):
    """Without torch, and (which is not asserted here, machines differ) in well under a second."""
    code = (
        "import sys\nfrom polyfield.apps.command import main\n"
        f"try: main({[*verb, '--help']})\nexcept SystemExit as e: assert not e.code\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "polyfield" in done.stdout


def lock_of(pid: int, folder: Path) -> bool:
    """Whether a process has begun to work on a run."""
    lock = folder / "lock.json"
    return lock.exists() and f'"pid": {pid}' in lock.read_text()


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)
