import importlib.machinery
import importlib.util
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # as the command has it; torch reads it when it is imported

import pytest
import torch

if path := os.environ.get("POLYFIELD_TEST_CORE"):  # another build of the extension: test_sanitizers.py
    loader = importlib.machinery.ExtensionFileLoader("polyfield._core", path)
    extension = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(extension)
    sys.modules[loader.name] = extension


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests of CUDA kernels, which are interpreted or compiled ahead of time. The longest file is the first."""
    items.sort(key=lambda item: item.path.name != "test_sanitizers.py")
    for item in items:
        interpreted = "cuda" in item.name or item.path.name in ("test_queued.py", "test_ahead_of_time.py")
        if item.path.parent.name == "agreement" and interpreted:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Whatever a test draws, it draws the same every time."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> Path:
    """A scene of a few tiny views."""
    from polyfield.demo.scenes import make_scene

    folder = tmp_path_factory.mktemp("scenes") / "tiny"
    make_scene(folder, views=10, test_views=3, size=24)
    return folder


@pytest.fixture(scope="session")
def fitted(scene, tmp_path_factory) -> Path:
    """A folder with a finished run, and what its command printed beside it."""
    from command_line import SMALL, STEPS, run

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
