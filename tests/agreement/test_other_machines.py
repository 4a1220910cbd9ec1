"""The native kernels by another compiler and for another processor: clang with libc++, and aarch64 under QEMU.

Skipped where these are not installed (Debian: clang libc++-dev libc++abi-dev g++-aarch64-linux-gnu qemu-user-static).
"""

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "kernels" / "native"
# Compiler with its flags, and the program that runs what it makes.
BUILDS = {
    "g++": (["g++"], []),
    "clang": (["clang++", "-stdlib=libc++"], []),
    "aarch64": (["aarch64-linux-gnu-g++", "-static"], ["qemu-aarch64-static"]),
}
FLAGS = [
    "-std=c++17",
    "-O2",
    "-fno-strict-aliasing",
    "-ffp-contract=fast",
    "-Wno-psabi",
    "-pthread",
    f"-I{NATIVE}",
]


def numbers(name: str, folder: Path) -> dict[str, np.ndarray]:
    """What the program prints, built and run in one of the ways."""
    (compiler, *more), runner = BUILDS[name]
    for program in (compiler, *runner):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    objects = [folder / f"{source}.o" for source in ("variant", "pool", "other_machines")]

    def compiled(object_: Path) -> None:
        source = (HERE if object_.stem == "other_machines" else NATIVE) / f"{object_.stem}.cpp"
        x86 = ["-DPOLYFIELD_X86=1"] if name != "aarch64" else []
        done(compiler, *more, *FLAGS, *x86, "-DPOLYFIELD_VARIANT=generic", "-c", source, "-o", object_)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compiled, objects))
    done(compiler, *more, *objects, "-pthread", "-o", folder / "program")
    lines = done(*runner, folder / "program").splitlines()
    return {line.split()[0]: np.array(line.split()[1:], np.float64) for line in lines}


def done(*command: object) -> str:
    made = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    return made.stdout


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, np.ndarray]:
    return numbers("g++", tmp_path_factory.mktemp("gcc"))


@pytest.mark.parametrize("name", ["clang", "aarch64"])
def test_another_build_finds_the_same_numbers(name, expected, tmp_path):
    found = numbers(name, tmp_path)
    assert found.keys() == expected.keys() and found["reads_half"][0] == (name == "aarch64")
    for key in expected.keys() - {"reads_half"}:
        exact = key in ("random_bits", "half")
        # Densities by a table in half precision differ in its last digits.
        tolerance = 0 if exact else 5e-3 if key == "density" and name == "aarch64" else 3e-5
        np.testing.assert_allclose(found[key], expected[key], rtol=tolerance, atol=tolerance, err_msg=key)


def test_every_instruction_set_compiles_with_clang(tmp_path):
    if shutil.which("clang++") is None:
        pytest.skip("clang++ is not installed")
    wide = ["-mavx2", "-mfma", "-mf16c"]
    sets = {
        "avx2": wide,
        "avx512bf16": [*wide, *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "bf16"))],
    }

    def compiled(name: str) -> None:
        flags = [*FLAGS, *sets[name], f"-DPOLYFIELD_VARIANT={name}"]
        done("clang++", "-stdlib=libc++", *flags, "-c", NATIVE / "variant.cpp", "-o", tmp_path / f"{name}.o")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compiled, sets))
