"""The native kernels under AddressSanitizer and UndefinedBehaviorSanitizer: their tests on a build that stops at a fault.

Here with the narrowest and the widest instruction set; `make sanitize` takes all of them.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

_core = pytest.importorskip("polyfield._core")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
# Apart from the installation's, and kept: only what changed is compiled again.
BUILD = ROOT / "build" / "sanitize"
SETS = _core.instruction_sets()
if os.environ.get("POLYFIELD_SANITIZE") != "all":
    SETS = [SETS[0], SETS[-1]]
TELLING = "not how_tensors and not fit_together"  # the others say nothing new about memory

# Asks for more numbers than a tensor has.
OVERRUN = """
import importlib.machinery, importlib.util, sys, torch
loader = importlib.machinery.ExtensionFileLoader("polyfield._core", sys.argv[1])
core = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
loader.exec_module(core)
offsets, counts = torch.tensor([0]), torch.tensor([9])
core.transmittance(offsets, counts, torch.zeros(8), torch.zeros(8), torch.zeros(8))
"""


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def preload() -> str:
    """The libraries that have to be there before Python itself."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or "c++"
    names = ("libasan.so", "libstdc++.so")
    libraries = [run(compiler, f"-print-file-name={name}").stdout.strip() for name in names]
    if not all(os.path.isabs(library) for library in libraries):
        pytest.skip(f"{compiler} has no AddressSanitizer")
    return " ".join(libraries)


@pytest.fixture(scope="module")
def extension() -> str:
    nanobind = run(sys.executable, "-m", "nanobind", "--cmake_dir").stdout.strip()
    configured = run(
        *("cmake", "-S", ROOT, "-B", BUILD, "-DPOLYFIELD_SANITIZE=ON", "-DSKBUILD_PROJECT_NAME=polyfield"),
        *("-DCMAKE_BUILD_TYPE=None", f"-DPython_EXECUTABLE={sys.executable}", f"-Dnanobind_DIR={nanobind}"),
    )
    assert configured.returncode == 0, configured.stdout
    built = run("cmake", "--build", BUILD, "--parallel", str(os.cpu_count()))
    assert built.returncode == 0, built.stdout
    [library] = BUILD.glob("_core*.so")
    return str(library)


def test_the_sanitizer_sees_an_access_beyond_the_end(preload, extension):
    done = run(sys.executable, "-c", OVERRUN, extension, LD_PRELOAD=preload, ASAN_OPTIONS="detect_leaks=0")
    assert done.returncode and "AddressSanitizer: heap-buffer-overflow" in done.stdout, done.stdout


def test_the_kernels_touch_nothing_that_is_not_theirs(preload, extension):
    """Every instruction set in a process of its own, side by side: one alone leaves most cores idle."""
    environment = {"LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0", "POLYFIELD_TEST_CORE": extension}
    pytest_of = (
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "tests/agreement",
        "-k",
    )
    with ThreadPoolExecutor(len(SETS)) as pool:
        runs = list(pool.map(lambda name: run(*pytest_of, f"{name} and {TELLING}", **environment), SETS))
    for done in runs:
        assert done.returncode == 0, done.stdout[-10_000:]
        assert " passed" in done.stdout
