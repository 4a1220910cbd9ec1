"""The command from outside: fit, eval, render, doctor, resume, signals, and kills at any moment."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from polyfield.data.demo import make_scene
from polyfield.fit import checkpoints

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
    out, err = run("fit", scene, "--steps", STEPS, *SMALL, "--out", "run", "--save-seconds", "0.2", cwd=cwd)
    (cwd / "out.json").write_text(out)
    (cwd / "err.txt").write_text(err)
    return cwd


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
            assert process.poll() is None, process.communicate()[1]
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
        import shutil

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
        import shutil

        shutil.copytree(fitted / "run", tmp_path / "run")
        config = tmp_path / "run" / "config.json"
        shutil.copytree(scene, tmp_path / "tiny")
        config.write_text(config.read_text().replace(str(scene), str(tmp_path / "tiny")))
        picture = tmp_path / "tiny" / "train" / "r_003.png"
        picture.write_bytes((tmp_path / "tiny" / "train" / "r_004.png").read_bytes())
        _, err = run("fit", "--resume", "run", cwd=tmp_path, status=1)
        assert "are not what the run was fitted to" in err


class TestOtherVerbs:
    def test_eval_gives_the_same_figures(self, fitted):
        out, _ = run("eval", "run", cwd=fitted)
        before = json.loads((fitted / "out.json").read_text())
        assert json.loads(out) == before

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
        assert names == ["0000.png", "0001.png", "0002.png"]

    def test_a_field_file_is_enough_for_a_camera_path(self, fitted, tmp_path):
        pose = [1, 0, 0, 0, 0, 0, -1, -4, 0, 1, 0, 0, 0, 0, 0, 1]
        path = {
            "camera_type": "perspective", "render_height": 20, "render_width": 30, "fps": 24,
            "camera_path": [{"camera_to_world": pose, "fov": 40, "aspect": 1.5}] * 2,
        }  # fmt: skip
        (tmp_path / "path.json").write_text(json.dumps(path))
        field = fitted / "run" / "field.field"
        run("render", field, "--path", "path.json", "--out", "frames", cwd=tmp_path)
        assert len(list((tmp_path / "frames").iterdir())) == 2
        assert "belong to a run" in run("render", field, "--path", "test", cwd=tmp_path, status=1)[1]

    def test_doctor(self, scene, tmp_path):
        printed = json.loads(run("doctor", scene, cwd=tmp_path)[0])
        assert printed["kernels"]["cpu"] == "reference" and printed["scene"]["views"] == {
            "training": 10,
            "test": 3,
        }


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["fit", "nowhere"], "nowhere: no such file or folder"),
        (["fit", "--steps", "5", "--seconds", "5"], "give --steps or --seconds, not both"),
        (["fit", "--steps", "0"], "--steps is 0; expected 1 to"),
        (["fit", "--seconds", "nan"], "--seconds is nan"),
        (["fit", "--downscale", "0"], "--downscale is 0"),
        (["fit", "--field", "octree"], "architecture 'octree' is unknown; expected one of hashgrid, mlp"),
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
