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
def made() -> dict[str, dict]:
    """What the program printed: PTX by kernel and architecture, and what kernels use."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("ahead_of_time.py")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def compiled(made) -> dict[str, dict[str, str]]:
    return made["ptx"]


def test_no_kernel_keeps_values_in_slow_memory(made):
    """Of any target, type and network that the fused form takes: a stack holds what does not fit into registers."""
    assert len(made["used"]) > 100
    assert {name: found for name, found in made["used"].items() if found["STACK"]} == {}


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


@pytest.mark.parametrize("kernel", ["density_kernel", "latent_kernel", "colour_kernel", "backward_kernel"])
def test_networks_are_multiplied_by_matrix_units(compiled, kernel):
    assert re.search(r"mma\.sync\S*\.f32\.f16\.f16\.f32", compiled[kernel]["80"])
    assert re.search(r"wgmma\.mma_async\S*\.f32\.f16\.f16", compiled[kernel]["90"])


def test_coarse_levels_are_summed_by_matrix_units_first(compiled):
    for ptx in compiled["interpolate_to_table_kernel"].values():
        assert re.search(r"mma\S*\.f32\.tf32\.tf32", ptx)


def test_rows_of_a_table_are_read_whole(compiled):
    for ptx in compiled["interpolate_kernel"].values():
        assert re.search(r"ld\.global\S*\.v4\.b32", ptx)
