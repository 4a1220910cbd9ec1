"""Fit: a field on its way."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Fit(Protocol):
    """A field on its way."""

    steps: int
    seconds: float  # of training
    prepare_seconds: float  # of making what it is fitted to, beside

    @property
    def field(self) -> Any: ...

    @property
    def device(self) -> Any: ...

    @property
    def progress(self) -> float:
        """How far it has come, in [0, 1]."""

    @property
    def rate(self) -> str:
        """How fast it goes, in words."""

    def step(self) -> Any:
        """Take one step, or some, and return a record with `step`, counted from 1, and `psnr`. Raises Diverged."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is a tensor."""

    def state(self) -> dict[str, Any]:
        """Everything else, as plain data."""

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Take back what `tensors` and `state` were. Raises PolyfieldError if they are of another field."""
