"""The package: what an installation adds, and that it works without a compiler."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


# What a wheel's kernels must do where nothing can compile them.
NATIVELY = """
import shutil, sys, torch, polyfield
from polyfield.kernels import dispatch, mlp, reference
assert polyfield.__file__.startswith(sys.prefix) and not any(map(shutil.which, ("c++", "g++", "cc", "ninja", "make")))
x, weights = torch.randn(1000, 20), [torch.randn(32, 20), torch.randn(3, 32)]
assert dispatch.offered("mlp", x).__module__ == "polyfield.kernels.native.mlp"
torch.testing.assert_close(mlp(x, weights), reference.mlp(x, weights), atol=1e-4, rtol=1e-4)
"""


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        list(map(str, command)),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def pip(*arguments: str | Path, **environment: str) -> None:
    done = run(
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet"), **environment
    )
    assert done.returncode == 0, done.stderr


class Environment:
    """An environment with everything that polyfield needs, but without polyfield itself, and a PATH that is empty."""

    def __init__(self, folder: Path) -> None:
        done = run(sys.executable, "-m", "venv", "--without-pip", folder / "env")
        assert done.returncode == 0, done.stderr
        self.bin = folder / "env" / "bin"
        [self.site] = (folder / "env" / "lib").glob("python*/site-packages")
        # Not followed further, so the path by which an editable polyfield is found stays out.
        needed = [path for path in sys.path if path.endswith("site-packages")]
        (self.site / "needed.pth").write_text("\n".join(needed))
        (folder / "empty").mkdir()
        self.path = str(folder / "empty")

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess:
        return run(self.bin / command[0], *command[1:], PATH=self.path, **environment)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """What `make wheel` makes; what the installation compiled is not compiled again."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    [made] = folder.glob("polyfield-*.whl")
    return made


@pytest.mark.slow
def test_a_wheel_holds_polyfield_alone_and_no_source_to_compile(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {re.sub(r"-[\d.]+\.dist-info", "", name.split("/")[0]) for name in names} == {"polyfield"}
    assert any(re.fullmatch(r"polyfield/_core\..*\.so", name) for name in names)
    assert "polyfield/kernels/reference/march.py" in names and "polyfield/_core.pyi" in names
    assert not [name for name in names if name.endswith((".cpp", ".hpp", ".txt")) and "dist-info" not in name]


@pytest.mark.slow
def test_a_wheel_runs_natively_where_no_compiler_is(wheel, tmp_path):
    there = Environment(tmp_path)
    pip("--python", there.bin / "python", "install", "--no-deps", "--no-index", wheel)
    done = there.run("python", "-c", NATIVELY)
    assert done.returncode == 0, done.stderr
    done = there.run("polyfield", "doctor")
    assert done.returncode == 0 and json.loads(done.stdout)["kernels"]["cpu"] == "native", done.stderr


@pytest.mark.slow
def test_without_a_compiler_it_installs_and_says_so(tmp_path):
    there = Environment(tmp_path)
    pip(
        *("install", "--no-deps", "--no-build-isolation", "--target", there.site),
        *(f"-Cbuild-dir={tmp_path / 'build'}", ROOT),
        CXX="/bin/false",
        CC="/bin/false",
    )
    package = there.site / "polyfield"
    assert (package / "kernels" / "reference" / "march.py").is_file() and not list(package.glob("_core*.so"))
    assert not (package / "kernels").is_symlink()
    done = there.run("python", "-m", "polyfield.apps", "doctor")
    assert json.loads(done.stdout)["kernels"]["cpu"] == "reference" and "C++ compiler" in done.stderr
    done = there.run("python", "-m", "polyfield.apps", "doctor", POLYFIELD_KERNELS="native")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.splitlines()[-1] == (
        "error: POLYFIELD_KERNELS=native: these kernels are not installed; install a C++ compiler and install "
        "polyfield again, or unset the variable"
    )


@pytest.mark.parametrize("native", [True, False])
def test_the_first_command_says_if_the_native_part_is_absent(native, monkeypatch, capsys):
    from polyfield.apps import command

    find = command.importlib.util.find_spec
    monkeypatch.setattr(
        command.importlib.util, "find_spec", lambda name: find("polyfield") if native else None
    )
    command.warn_if_not_native()
    said = capsys.readouterr().err
    assert said.count("\n") == (0 if native else 1) and ("C++ compiler" in said) == (not native)


def test_torch_is_the_pinned_cpu_build_and_torchvision_is_absent():
    import importlib.util

    import torch

    assert torch.__version__.split("+")[0] == "2.13.0"
    assert importlib.util.find_spec("torchvision") is None
