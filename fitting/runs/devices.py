"""The device of a fit, and the facts that its last bits depend on."""

from __future__ import annotations

from typing import Any

import torch

from polyfield.errors import PolyfieldError
from polyfield.kernels.dispatch import form, instruction_set


def device_of(name: str) -> str:
    """Return the device of a name.

    `auto` is CUDA if there is a GPU. Raises PolyfieldError for an absent device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    here = {"cpu"}
    if torch.cuda.is_available():
        here |= {"cuda"} | {f"cuda:{index}" for index in range(torch.cuda.device_count())}
    if name not in here:
        raise PolyfieldError(
            f"--device {name}: no such device on this machine; expected one of auto, {', '.join(sorted(here))}"
        )
    return name


def machine(device: torch.device) -> dict[str, Any]:
    """Return what a fit's last bits depend on beside its options, as kept in config.json."""
    kernels = form(device)
    return {
        "device": str(device),
        # Native sums do not depend on the number of threads, but on the instruction set in their last bits.
        "kernels": f"{kernels}, {instruction_set()}" if kernels == "native" else kernels,
        "threads": None if kernels == "native" else torch.get_num_threads(),
        "torch": torch.__version__,
    }
