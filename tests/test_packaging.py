"""The package: what an installation adds, and that it works without a compiler."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from polyfield.data.demo import RECIPE, make_scene

ROOT = Path(__file__).parent.parent


def install(tmp_path: Path, **environment: str) -> Path:
    target = tmp_path / "site"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
            *("--target", str(target), f"-Cbuild-dir={tmp_path / 'build'}", str(ROOT)),
        ],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return target


def test_an_installation_adds_polyfield_alone(tmp_path):
    target = install(tmp_path)
    names = {path.name for path in target.iterdir()} - {"bin"}
    assert {re.sub(r"-[\d.]+\.dist-info", "", name) for name in names} == {"polyfield"}
    assert any((target / "polyfield").glob("_core*.so"))
    assert (target / "polyfield" / "kernels" / "reference" / "march.py").is_file()
    assert not (target / "polyfield" / "kernels").is_symlink()


def test_without_a_compiler_it_installs_and_says_so(tmp_path):
    target = install(tmp_path, CXX="/bin/false", CC="/bin/false")
    assert not any((target / "polyfield").glob("_core*.so"))


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


def test_the_readmes_example_runs(tmp_path, monkeypatch):
    """As it stands, but for the length of the fit and the size of the demo scene."""
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert "seconds=60" in code
    monkeypatch.setenv("POLYFIELD_CACHE", str(tmp_path / "cache"))
    make_scene(tmp_path / "cache" / f"demo-still-{RECIPE}", views=8, test_views=2, size=20)
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("seconds=60", "steps=5"), "README.md", "exec"), {})  # noqa: S102
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert list((tmp_path / "runs").rglob("orbit.mp4"))


def test_torch_is_the_pinned_cpu_build_and_torchvision_is_absent():
    import importlib.util

    import torch

    assert torch.__version__.split("+")[0] == "2.13.0"
    assert importlib.util.find_spec("torchvision") is None
