"""What the Triton kernels are compiled to, looked at without a GPU."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict[str, str]]:
    """PTX by kernel and architecture."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("ahead_of_time.py")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_kernel_compiles(compiled):
    files = (Path(__file__).parents[2] / "kernels" / "cuda").glob("*.py")
    written = {
        name for file in files for name in re.findall(r"^def (\w+_kernel)\(", file.read_text(), re.MULTILINE)
    }
    assert compiled.keys() == written
    for by_architecture in compiled.values():
        for architecture, ptx in by_architecture.items():
            assert f".target sm_{architecture}" in ptx and ".entry" in ptx


def test_gradients_reach_the_table_by_atomic_additions_that_need_no_loop(compiled):
    for architecture, ptx in compiled["interpolate_to_table_kernel"].items():
        additions = re.findall(r"(?:atom|red)\S*add\S*", ptx)
        assert additions and ".cas" not in ptx
        assert all("relaxed" in addition for addition in additions)
        if architecture == "90":  # four features at once
            assert all(".v4.f32" in addition for addition in additions)


def test_rows_of_a_table_are_read_whole(compiled):
    for ptx in compiled["interpolate_kernel"].values():
        assert re.search(r"ld\.global\S*\.v4\.b32", ptx)
