"""Which form of an operation runs: the tensors' device chooses, POLYFIELD_KERNELS overrides."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import torch

from polyfield.errors import PolyfieldError

# Form -> the module that holds its functions, named as the operations are, and the devices it can run on.
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "reference": ("polyfield.kernels.reference", ("cpu", "cuda")),
}
# The forms that a device takes by itself, best first.
PREFERENCE = {"cpu": ("reference",), "cuda": ("reference",)}


def form(device: torch.device) -> str:
    """The name of the form that serves a device."""
    asked = os.environ.get("POLYFIELD_KERNELS", "")
    if asked:
        if asked not in FORMS:
            raise PolyfieldError(
                f"POLYFIELD_KERNELS={asked}: no such kernels; expected one of {', '.join(FORMS)}"
            )
        if device.type not in FORMS[asked][1]:
            raise PolyfieldError(
                f"POLYFIELD_KERNELS={asked}: these kernels do not run on {device.type}; unset it"
            )
        return asked
    return PREFERENCE.get(device.type, ("reference",))[0]


def implementation(operation: str, device: torch.device) -> Callable[..., Any]:
    """The function that carries an operation out on a device."""
    for name in (form(device), "reference"):  # a form need not have every operation
        if found := getattr(importlib.import_module(FORMS[name][0]), operation, None):
            return found
    raise KeyError(operation)
