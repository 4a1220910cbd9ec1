"""Which device a fit runs on, and what its last bits hang on."""

from __future__ import annotations

from typing import Any

import torch

from polyfield.errors import PolyfieldError
from polyfield.kernels.dispatch import form, instruction_set


def device_of(name: str) -> str:
    """`auto` is CUDA where there is one. Raises PolyfieldError for a device that is not here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    here = {"cpu"}
    if torch.cuda.is_available():
        here |= {"cuda"} | {f"cuda:{index}" for index in range(torch.cuda.device_count())}
    if name not in here:
        raise PolyfieldError(
            f"--device {name}: there is no such device here; expected auto, {', '.join(sorted(here))}"
        )
    return name


def machine(device: torch.device) -> dict[str, Any]:
    """What a fit's last bits hang on beside its options, as config.json keeps it."""
    kernels = form(device)
    return {
        "device": str(device),
        # Native sums do not hang on the number of threads, but their last bits do on the instruction set.
        "kernels": f"{kernels}, {instruction_set()}" if kernels == "native" else kernels,
        "threads": None if kernels == "native" else torch.get_num_threads(),
        "torch": torch.__version__,
    }
