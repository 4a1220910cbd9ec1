"""The command itself: its mistakes, its help, its output, the doctor, and signals outside the loop."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import edit, inside, mistake, run, start, wait_for
from PIL import Image

from polyfield.fitting.tasks.scene_task import SceneTask


class TestRefusedFits:
    """None of them leaves a run folder."""

    @pytest.mark.parametrize(
        "options, words",
        [
            (["finest", "1"], "option finest is 1; expected a whole number from 2"),
            (
                ["entries", "67108864", "finest", "60000", "levels", "32", "features", "8"],
                "parameters; at most",
            ),
        ],
    )
    def test_options(self, scene, tmp_path, capsys, monkeypatch, options, words):
        monkeypatch.chdir(tmp_path)
        assert words in mistake(capsys, "fit", scene, "--steps", "3", "--options", *options)
        assert not list(tmp_path.iterdir())

    def test_masks_that_leave_nothing(self, scene, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        shutil.copytree(scene, tmp_path / "dark")
        Image.new("L", (24, 24)).save(tmp_path / "dark" / "mask.png")
        edit(
            tmp_path / "dark" / "transforms_train.json",
            lambda data: [frame.update(mask_path="mask.png") for frame in data["frames"]],
        )
        assert "masks exclude every pixel" in mistake(capsys, "fit", "dark", "--steps", "3", "--out", "run")
        assert [path.name for path in tmp_path.iterdir()] == ["dark"]


@pytest.mark.slow
class TestDoctor:
    def test_doctor(self, scene, tmp_path):
        printed = json.loads(run("doctor", scene, cwd=tmp_path)[0])
        assert printed["kernels"]["cpu"] in ("native", "reference")
        assert printed["scene"]["views"] == {"training": 10, "test": 3}

    def test_doctor_warms_a_gpu_only(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        err = run("doctor", "--warm", cwd=tmp_path, status=1)[1]
        assert (
            err
            == "error: --warm: no GPU was found, and kernels for the CPU need no compilation; omit --warm\n"
        )


@pytest.mark.slow
class TestSignals:
    """Outside the loop too they get one line, and leave no lock and nothing unfinished."""

    @pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_while_evaluating(self, copy, capsys, monkeypatch, number, status):
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


@pytest.mark.slow
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
        (["fit", "--steps", "5", "--seconds", "5"], "give exactly one of --steps and --seconds"),
        (["fit", "--steps", "0"], "--steps is 0; expected 1 to"),
        (["fit", "--seconds", "nan"], "--seconds is nan"),
        (["fit", "--downscale", "0"], "--downscale is 0"),
        (
            ["fit", "--field", "octree"],
            "architecture 'octree' is unknown; expected one of hashgrid, densegrid",
        ),
        (["fit", "--options", "size", "3"], "option 'size' is unknown"),
        (["resume", "nowhere"], "nowhere holds no config.json"),
        (["resume", "nowhere", "--generation", "3"], "nowhere holds no config.json"),
        (["eval", "nowhere"], "nowhere holds no config.json"),
        (["render", "nowhere.field"], "nowhere.field"),
        (["fit", "--device", "toaster"], "--device toaster: no such device on this machine"),
    ],
)
def test_mistakes_get_one_line(arguments, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in mistake(capsys, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "verb, option, value",
    [
        *(("resume", option, "9") for option in ("--steps", "--seconds", "--seed", "--field", "--out")),
        ("fit", "--resume", "run"),
        ("fit", "--generation", "9"),
    ],
)
def test_a_verb_refuses_the_options_of_others(verb, option, value, tmp_path, capsys, monkeypatch):
    """A resumed fit keeps the options that it was begun with."""
    monkeypatch.chdir(tmp_path)
    status, out, err = inside(capsys, verb, "run", option, value)
    assert (status, out) == (2, "") and option in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", [[], ["fit"], ["resume"], ["eval"], ["render"], ["doctor"]])
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
