"""Which form of an operation runs: the tensors' device chooses, POLYFIELD_KERNELS overrides."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError

# Form -> the module that holds its functions, named as the operations are, and the devices it can run on.
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "reference": ("polyfield.kernels.reference", ("cpu", "cuda")),
    "native": ("polyfield.kernels.native", ("cpu",)),
    "cuda": ("polyfield.kernels.cuda", ("cuda",)),
}
# The forms that a device takes by itself, best first.
PREFERENCE = {
    "cpu": ("native", "reference"),
    "cuda": ("reference",),
}  # cuda when asked: it has run on no GPU yet


@functools.cache
def built(name: str) -> bool:
    """Whether a form is there: the native one may not have been compiled, and Triton may not be installed."""
    needs = {"native": "polyfield._core", "cuda": "triton"}
    return name not in needs or importlib.util.find_spec(needs[name]) is not None


def instruction_set() -> str | None:
    """The instruction set that the native form uses, None where it was not built."""
    if not built("native"):
        return None
    importlib.import_module(FORMS["native"][0])  # reads POLYFIELD_ISA
    return importlib.import_module("polyfield._core").instruction_set()


def form(device: torch.device) -> str:
    """The name of the form that serves a device. PolyfieldError if the environment asks for what is not there."""
    asked = os.environ.get("POLYFIELD_KERNELS", "")
    if asked:
        if asked not in FORMS:
            raise PolyfieldError(
                f"POLYFIELD_KERNELS={asked}: no such kernels; expected one of {', '.join(FORMS)}"
            )
        # Triton's interpreter stands in for a GPU.
        interpreted = asked == "cuda" and os.environ.get("TRITON_INTERPRET") == "1"
        serves = device.type in FORMS[asked][1] or (device.type == "cpu" and interpreted)
        if not serves and asked != "cuda":
            raise PolyfieldError(
                f"POLYFIELD_KERNELS={asked}: these kernels do not run on {device.type}; unset it"
            )
        if not built(asked):
            cure = {"native": "install a C++ compiler and install polyfield again", "cuda": "install triton"}
            raise PolyfieldError(
                f"POLYFIELD_KERNELS={asked}: polyfield was installed without them; {cure[asked]}, or unset it"
            )
        if not serves:  # a GPU's kernels leave to the CPU what is done there, such as how a field begins
            asked = ""
    name = asked or next(name for name in (*PREFERENCE.get(device.type, ()), "reference") if built(name))
    _module(name)
    return name


@functools.cache
def _module(name: str) -> ModuleType:
    """A form's functions. The native one refuses here a POLYFIELD_ISA that it does not know."""
    return importlib.import_module(FORMS[name][0])


def offered(operation: str, *tensors: Tensor) -> Callable[..., Any] | None:
    """The function that carries an operation out on such tensors in the form in use, if it has one.

    The first says on which device. All forms but the reference take tensors in that device's memory alone, of single
    precision or whole numbers.
    """
    name = form(tensors[0].device)
    if name != "reference":
        for x in tensors:
            if x.device != tensors[0].device or (x.is_floating_point() and x.dtype != torch.float32):
                return None
    return getattr(_module(name), operation, None)


def implementation(operation: str, *tensors: Tensor) -> Callable[..., Any]:
    """The same, or the reference: a form need not have every operation."""
    return offered(operation, *tensors) or getattr(_module("reference"), operation)
