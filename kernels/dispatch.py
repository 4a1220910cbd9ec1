"""Choice of the form of an operation: by the tensors' device, or by POLYFIELD_KERNELS."""

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

# Form -> the module with its functions, which have the operations' names, and the devices that it can run on.
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "reference": ("polyfield.kernels.reference", ("cpu", "cuda")),
    "native": ("polyfield.kernels.native", ("cpu",)),
    "cuda": ("polyfield.kernels.cuda", ("cuda",)),
}
# The default forms of a device, best first.
PREFERENCE = {
    "cpu": ("native", "reference"),
    "cuda": ("reference",),
}  # cuda only by POLYFIELD_KERNELS, because it has not run on a GPU yet


@functools.cache
def built(name: str) -> bool:
    """Return whether a form is installed. The native one may not be compiled, and Triton may be missing."""
    needs = {"native": "polyfield._core", "cuda": "triton"}
    return name not in needs or importlib.util.find_spec(needs[name]) is not None


def instruction_set() -> str | None:
    """Return the instruction set that the native form uses, or None if it was not built."""
    if not built("native"):
        return None
    importlib.import_module(FORMS["native"][0])  # reads POLYFIELD_ISA
    return importlib.import_module("polyfield._core").instruction_set()


def form(device: torch.device) -> str:
    """Return the name of a device's form.

    Raises PolyfieldError if POLYFIELD_KERNELS names one that cannot run.
    """
    asked = os.environ.get("POLYFIELD_KERNELS", "")
    if asked:
        if asked not in FORMS:
            raise PolyfieldError(
                f"POLYFIELD_KERNELS={asked}: no such kernels; expected one of {', '.join(FORMS)}"
            )
        # Triton's interpreter replaces a GPU.
        interpreted = asked == "cuda" and os.environ.get("TRITON_INTERPRET") == "1"
        serves = device.type in FORMS[asked][1] or (device.type == "cpu" and interpreted)
        if not serves and asked != "cuda":
            raise PolyfieldError(
                f"POLYFIELD_KERNELS={asked}: these kernels do not run on {device.type}; unset the variable"
            )
        if not built(asked):
            cure = {"native": "install a C++ compiler and install polyfield again", "cuda": "install triton"}
            raise PolyfieldError(
                f"POLYFIELD_KERNELS={asked}: these kernels are not installed; {cure[asked]}, or unset the variable"
            )
        if not serves:  # CUDA kernels leave work on the CPU, such as initialisation, to other forms
            asked = ""
    name = asked or next(name for name in (*PREFERENCE.get(device.type, ()), "reference") if built(name))
    _module(name)
    return name


@functools.cache
def _module(name: str) -> ModuleType:
    """Return a form's module. Importing the native one raises PolyfieldError for an unknown POLYFIELD_ISA."""
    return importlib.import_module(FORMS[name][0])


def offered(operation: str, *tensors: Tensor) -> Callable[..., Any] | None:
    """Return the function for an operation on these tensors in the form in use, or None if the form has none.

    The first tensor decides the device. All forms but the reference take only tensors on that device, of
    single precision or whole numbers.
    """
    name = form(tensors[0].device)
    if name != "reference":
        for x in tensors:
            if x.device != tensors[0].device or (x.is_floating_point() and x.dtype != torch.float32):
                return None
    return getattr(_module(name), operation, None)


def implementation(operation: str, *tensors: Tensor) -> Callable[..., Any]:
    """Return the same function, or the reference's, because a form need not have every operation."""
    return offered(operation, *tensors) or getattr(_module("reference"), operation)
