"""Which form of an operation runs: by device, by what was built, by what the environment asks for."""

import os
import re
import subprocess
import sys

import pytest
import torch

from polyfield.errors import PolyfieldError
from polyfield.kernels import Levels, dispatch, interpolate

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def without(monkeypatch):
    """As if nothing but the reference were installed."""
    monkeypatch.setattr(dispatch, "built", lambda name: name == "reference")


def test_a_cpu_takes_the_native_form(monkeypatch):
    monkeypatch.delenv("POLYFIELD_KERNELS", raising=False)
    assert dispatch.form(CPU) == "native"
    assert dispatch.offered("march", torch.zeros(1)).__module__ == "polyfield.kernels.native.march"


def test_a_gpu_takes_triton_when_it_is_asked_to(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("POLYFIELD_KERNELS", "cuda")
    assert dispatch.form(CUDA) == "cuda"


def test_a_gpu_and_a_cpu_without_kernels_take_the_reference(monkeypatch, without):
    monkeypatch.delenv("POLYFIELD_KERNELS", raising=False)
    assert dispatch.form(CUDA) == dispatch.form(CPU) == "reference"
    assert dispatch.offered("fused_field", torch.zeros(1)) is None


def test_triton_runs_on_a_cpu_if_it_is_interpreted(monkeypatch):
    monkeypatch.delenv("POLYFIELD_KERNELS", raising=False)
    by_itself = dispatch.form(CPU)
    monkeypatch.setenv("POLYFIELD_KERNELS", "cuda")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(dispatch, "built", lambda name: True)
    monkeypatch.setattr(dispatch, "_module", lambda name: None)
    assert dispatch.form(CPU) == "cuda"
    monkeypatch.delenv("TRITON_INTERPRET")
    assert dispatch.form(CPU) == by_itself  # what is done on the CPU stays there


def test_fields_and_draws_begin_on_the_cpu_when_a_gpu_is_asked_for():
    """Without the interpreter, which stands in for a GPU on the CPU and so would hide it."""
    code = (
        "from polyfield.fields import Domain, FieldSpec, create\n"
        "from polyfield.kernels import uniform\n"
        "box = Domain('box', (0.0,) * 3, (1.0,) * 3)\n"
        "create(FieldSpec.of('hashgrid', 'radiance', box, levels=2, entries=1 << 8), seed=0)\n"
        "print(float(uniform((1,), seed=0, stream='a')))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment | {"POLYFIELD_KERNELS": kernels},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for kernels in ("cuda", "reference")
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("tensors", [(torch.float64,), (torch.float32, torch.float64), (torch.float16,)])
def test_only_single_precision_goes_to_the_native_form(monkeypatch, tensors):
    monkeypatch.setenv("POLYFIELD_KERNELS", "native")
    chosen = dispatch.implementation("interpolate", *(torch.zeros(1, dtype=dtype) for dtype in tensors))
    assert chosen.__module__ == "polyfield.kernels.reference.interpolate"


def test_double_precision_is_computed_in_double_precision(monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", "native")
    levels = Levels(((2,),), 2)
    third = torch.tensor([[1 / 3]], dtype=torch.float64)
    found = interpolate(torch.tensor([[0.0], [1.0]], dtype=torch.float64), third, levels)
    assert found.dtype == torch.float64 and abs(float(found) - 1 / 3) < 1e-15


def test_the_environment_overrides(monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    assert dispatch.form(CPU) == "reference"
    assert dispatch.offered("fused_field", torch.zeros(1)) is None
    monkeypatch.setenv("POLYFIELD_KERNELS", "native")
    assert dispatch.form(CPU) == "native"


def test_an_unknown_form_is_refused(monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", "fast")
    with pytest.raises(
        PolyfieldError, match="POLYFIELD_KERNELS=fast: no such kernels; expected one of reference"
    ):
        dispatch.form(CPU)


def test_a_form_that_the_device_lacks_is_refused(monkeypatch):
    monkeypatch.setenv("POLYFIELD_KERNELS", "native")
    with pytest.raises(
        PolyfieldError, match="POLYFIELD_KERNELS=native: these kernels do not run on cuda; unset the variable"
    ):
        dispatch.form(CUDA)


def test_a_form_that_was_not_built_is_refused(monkeypatch, without):
    monkeypatch.setenv("POLYFIELD_KERNELS", "native")
    with pytest.raises(PolyfieldError, match="these kernels are not installed; install a C.. compiler"):
        dispatch.form(CPU)


def python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("instruction_set", ["generic", ""])
def test_an_instruction_set_can_be_asked_for(instruction_set):
    code = "from polyfield import _core; import polyfield.kernels.native; print(_core.instruction_set())"
    done = python(code, POLYFIELD_ISA=instruction_set)
    best = python("from polyfield import _core; print(_core.instruction_sets()[0])").stdout
    assert done.returncode == 0 and done.stdout == (best if instruction_set == "" else "generic\n"), (
        done.stderr
    )


@pytest.mark.parametrize(
    "variable, message",
    [
        ("POLYFIELD_ISA", "unknown, or not supported by this CPU; expected one of .*generic"),
        ("POLYFIELD_KERNELS", "no such kernels; expected one of reference, native, cuda"),
    ],
)
def test_the_command_refuses_what_it_does_not_know_before_any_work(variable, message, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "polyfield.apps", "fit", "--steps", "1", "--out", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "POLYFIELD_CACHE": str(tmp_path / "cache"), variable: "unknown"},
    )
    assert done.returncode == 1 and not done.stdout and not list(tmp_path.iterdir())
    assert re.fullmatch(f"error: {variable}=unknown: {message}\n", done.stderr)
