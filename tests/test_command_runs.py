"""The command on runs: fit, resume and eval, through kills, signals and damage."""

import hashlib
import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from command_line import SMALL, STEPS, edit, final_tensors, inside, lock_of, mistake, run, start, wait_for

from polyfield.fitting.runs import checkpoints

pytestmark = pytest.mark.slow


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
        assert config["schema"] == 4 and config["steps"] == STEPS and config["field"] == "hashgrid"
        steps = [
            json.loads(line)["step"] for line in (fitted / "run" / "metrics.jsonl").read_text().splitlines()
        ]
        assert steps == list(range(10, STEPS + 1, 10))
        assert not (fitted / "run" / "lock.json").exists()

    def test_a_run_is_never_overwritten(self, fitted, scene):
        _, err = run("fit", scene, "--steps", "5", "--out", "run", cwd=fitted, status=1)
        assert "error: run already exists and is not an empty folder" in err

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
            process = start("resume", folder, cwd=tmp_path)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert final_tensors(tmp_path / "run") == final_tensors(fitted / "run")
        field, expected = ((folder / "run" / "field.field").read_bytes() for folder in (tmp_path, fitted))
        assert field == expected
        metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in metrics] == list(range(10, STEPS + 1, 10))

    def test_a_conversion_that_is_killed_in_each_stage_leaves_no_trace(self, fitted, tmp_path):
        """kill -9 in the stages of features, samples and rendered colours: the tensors are those of the run never killed."""
        arguments = (
            "convert",
            fitted / "run",
            "--to",
            "hashgrid",
            "--steps",
            600,
            *SMALL,
            "--stages",
            0.3,
            0.6,
        )
        run(*arguments, "--out", "whole", cwd=tmp_path)
        folder = tmp_path / "killed"
        process = start(*arguments, "--out", folder, "--save-seconds", "0.05", cwd=tmp_path)
        killed = []
        for least in (60, 240, 420):
            wait_for(lambda: _last_step(folder) >= least or process.poll() is not None)  # noqa: B023
            assert process.poll() is None, process.communicate()[1]
            process.kill()
            process.communicate()
            killed.append(checkpoints.generations(folder)[-1] / 600)
            process = start("resume", folder, cwd=tmp_path)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert killed[0] < 0.3 <= killed[1] < 0.6 <= killed[2] < 1, killed
        whole, resumed = (checkpoints.load(path).tensors for path in (tmp_path / "whole", folder))
        assert whole.keys() == resumed.keys()
        for name, tensor in whole.items():
            assert torch.equal(tensor, resumed[name]), name
        assert (folder / "field.field").read_bytes() == (tmp_path / "whole" / "field.field").read_bytes()

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
        assert "continue with: polyfield resume run" in err
        assert not (tmp_path / "run" / "lock.json").exists()

    def test_a_finished_run_is_evaluated_again(self, fitted):
        before = json.loads((fitted / "run" / "eval.json").read_text())
        out, err = run("resume", "run", cwd=fitted)
        assert json.loads(out)["psnr"] == before["psnr"] and f"continuing from step {STEPS}" in err

    def test_a_damaged_checkpoint_stops_with_the_way_out(self, fitted, tmp_path):
        shutil.copytree(fitted / "run", tmp_path / "run")
        *_, older, newest = checkpoints.generations(tmp_path / "run")
        tensors = tmp_path / "run" / "checkpoints" / f"step-{newest:09d}" / "tensors.safetensors"
        data = bytearray(tensors.read_bytes())
        data[len(data) // 2] ^= 1
        tensors.write_bytes(data)
        _, err = run("resume", "run", cwd=tmp_path, status=1)
        assert err.count("error:") == 1 and f"--generation {older}" in err
        run("resume", "run", "--generation", older, cwd=tmp_path)
        assert final_tensors(tmp_path / "run") == final_tensors(fitted / "run")

    def test_a_changed_scene_is_refused(self, fitted, scene, tmp_path):
        shutil.copytree(fitted / "run", tmp_path / "run")
        config = tmp_path / "run" / "config.json"
        shutil.copytree(scene, tmp_path / "tiny")
        config.write_text(config.read_text().replace(str(scene), str(tmp_path / "tiny")))
        picture = tmp_path / "tiny" / "train" / "r_003.png"
        picture.write_bytes((tmp_path / "tiny" / "train" / "r_004.png").read_bytes())
        _, err = run("resume", "run", cwd=tmp_path, status=1)
        assert "has changed since the run began" in err

    def test_checkpoints_that_lost_their_manifests_are_not_started_over(self, copy, capsys):
        for manifest in copy.rglob("manifest.json"):
            manifest.unlink()
        field = (copy / "field.field").read_bytes()
        message = mistake(capsys, "resume", "run")
        assert message.startswith(f"run/checkpoints/step-{STEPS:09d} holds no manifest.json")
        shutil.rmtree(copy / "checkpoints")
        assert "holds a field but no checkpoint" in mistake(capsys, "resume", "run")
        assert (copy / "field.field").read_bytes() == field

    @pytest.mark.parametrize(
        "key, value, words",
        [
            ("objective.rays", -5, "objective.rays is -5; expected a number from 1 to"),
            ("objective.rays", True, "objective.rays is True"),
            ("objective", {}, "objective.rays is None"),
            ("objective.drawn", None, "objective.drawn.pool is None; expected a number"),
            ("seconds", "1", "seconds is '1'"),
            ("totals", None, "totals.rays is None"),
            ("steps", 7, f"steps is 7; the folder's name says {STEPS}"),
            ("adam_steps", 1.5, "state.json: adam_steps is 1.5; expected int"),
        ],
    )
    def test_a_state_that_no_fit_could_have_is_refused(self, copy, capsys, key, value, words):
        def change(state):
            *parents, last = key.split(".")
            for parent in parents:
                state = state[parent]
            state[last] = value

        folder = copy / "checkpoints" / f"step-{STEPS:09d}"
        edit(folder / "state.json", change)
        data = (folder / "state.json").read_bytes()
        sealed = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        edit(folder / "manifest.json", lambda manifest: manifest["files"].update({"state.json": sealed}))
        message = mistake(capsys, "resume", "run")
        assert message.startswith(f"run/checkpoints/step-{STEPS:09d}") and words in message

    def test_another_machine_gets_a_warning(self, copy, capsys):
        config = json.loads((copy / "config.json").read_text())
        assert config["machine"].keys() == {"device", "kernels", "threads", "torch"}
        edit(copy / "config.json", lambda config: config["machine"].update({"threads": 77, "torch": "1.0\n"}))
        _, _, err = inside(capsys, "resume", "run")
        [line] = [line for line in err.splitlines() if "the fit began with" in line]
        assert (
            line.startswith("warning: run/config.json: the fit began with threads 77 (now ")
            and "'1.0\\n'" in line
        )

    def test_a_bad_line_of_the_log_does_not_stop_it(self, copy, capsys):
        lines = (copy / "metrics.jsonl").read_text().splitlines(keepends=True)
        (copy / "metrics.jsonl").write_text("".join([*lines[:3], "what?\n", *lines[3:], '{"st']))
        status, _, err = inside(capsys, "resume", "run")
        assert status == 0 and err.count("warning: run/metrics.jsonl: record 4: ") == 1
        assert (copy / "metrics.jsonl").read_text() == "".join(lines)


class TestEval:
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
        assert "warning: run holds no complete checkpoint" in err


def _last_step(folder: Path) -> int:
    """Return the step of the newest line of a run's log, or 0."""
    try:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return json.loads(lines[-1])["step"] if lines else 0
    except (FileNotFoundError, json.JSONDecodeError):
        return 0
