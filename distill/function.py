"""FunctionField: a Python function over points as a field, so that it can be a teacher."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fields import Field, Meaning
from polyfield.fields.points import Features, FieldOutput, Points


class FunctionField(Field):
    """Values of a function of source points (N, D), on any device. The function gets its points on the CPU.

    It returns values (N,) or (N, C): distances, probabilities of being inside, colours. Of radiance it takes directions
    (N, 3) too, and returns densities (N,) and colours (N, 3).
    """

    def __init__(
        self, function: Callable[..., Any], meaning: Meaning, name: str, device: torch.device | str = "cpu"
    ) -> None:
        self._function, self.meaning, self._name = function, meaning, name
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        return self._device

    def features(self, points: Points) -> Features:
        """Return raw values; of radiance, colours behind the raw density."""
        x = self.meaning.domain.to_source(points.x).cpu()
        if not self.meaning.kind.directional:
            values = self._checked(self._function(x), len(x), self.meaning.channels)
            if self.meaning.kind.output == "occupancy":
                self._refuse(values, values > 1, "probabilities in [0, 1]")
            if self.meaning.kind.output in ("occupancy", "colour"):
                self._refuse(values, values < 0, "numbers of at least 0")
            raw = self.meaning.transform.inverse(values)
            return Features(raw[:, 0] if raw.shape[1] == 1 else None, raw)
        directions = points.directions if points.directions is not None else _ahead(x)
        answer = self._function(x, directions.cpu())
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise PolyfieldError(
                f"{self._name} returned {type(answer).__name__}; expected a tuple of two arrays, densities and colours"
            )
        density = self._checked(answer[0], len(x), 1)
        colour = self._checked(answer[1], len(x), 3)
        self._refuse(density, density < 0, "densities of at least 0")
        self._refuse(colour, (colour < 0) | (colour > 1), "colours in [0, 1]")
        raw = self.meaning.transform.inverse(density * self.meaning.domain.density_unit)
        return Features(raw[:, 0], torch.cat((raw, colour), 1))

    def head(self, features: Features, points: Points) -> FieldOutput:
        if self.meaning.kind.directional:
            assert features.raw is not None
            density = self.density(features.raw)
            return FieldOutput(raw=features.raw, density=density, colour=features.vector[:, 1:4])
        values, output = self.meaning.transform(features.vector), self.meaning.kind.output
        return FieldOutput(
            raw=features.raw,
            distance=values[:, 0] if output == "distance" else None,
            occupancy=values[:, 0] if output == "occupancy" else None,
            colour=values if output == "colour" else None,
        )

    def _checked(self, values: Any, count: int, channels: int) -> Tensor:
        """Return values (count, channels) float32. Raises PolyfieldError for any other answer of the function."""
        try:
            found = torch.as_tensor(values).detach().float()
        except (TypeError, ValueError, RuntimeError):
            raise PolyfieldError(
                f"{self._name} returned {type(values).__name__}; expected an array"
            ) from None
        if found.dim() == 1:
            found = found[:, None]
        if found.shape != (count, channels):
            flat = f" or ({count},)" if channels == 1 else ""
            raise PolyfieldError(
                f"{self._name} returned an array of shape {tuple(found.shape)} for {count} points; "
                f"expected ({count}, {channels}){flat}"
            )
        if not torch.isfinite(found).all():
            raise PolyfieldError(
                f"{self._name} returned values that are NaN or infinite; expected finite numbers"
            )
        return found.to(self._device)

    def _refuse(self, values: Tensor, wrong: Tensor, expected: str) -> None:
        """Raise PolyfieldError if any values are wrong."""
        if wrong.any():
            raise PolyfieldError(
                f"{self._name} returned the value {float(values[wrong][0]):g}; expected {expected}"
            )


def _ahead(x: Tensor) -> Tensor:
    """Return one direction (N, 3) for densities, which do not depend on it."""
    return torch.tensor([0.0, 0.0, 1.0]).expand(len(x), 3)


def function_of(text: str) -> tuple[Callable[..., Any], bytes]:
    """Return the function that `module:function` names, looked up from the present folder too, and its module's source.

    Raises PolyfieldError if there is none.
    """
    module, _, name = text.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name)
        source = inspect.getsource(inspect.getmodule(found) or found).encode()
    except Exception as error:  # noqa: BLE001 - whatever the module raises
        raise PolyfieldError(
            f"{text:.200}: the function cannot be loaded: {error!s:.200}; expected a function in a Python module that is "
            "installed or in the current folder"
        ) from None
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise PolyfieldError(f"{text:.200} is not a function; expected module:function")
    return found, source
