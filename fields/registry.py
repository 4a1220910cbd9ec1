"""The architectures there are: one line each."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import torch

from polyfield.errors import PolyfieldError
from polyfield.fields.field import Field
from polyfield.fields.signals import signal
from polyfield.fields.spec import FieldSpec

# name -> (module, class, the signals it carries)
ARCHITECTURES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "hashgrid": ("polyfield.fields.hashgrid", "HashGrid", ("radiance",)),
    "mlp": ("polyfield.fields.mlp", "Mlp", ("radiance",)),
}
_MOST_PARAMETERS = 1 << 32


def architecture(name: str) -> type[Field]:
    """The class of that name; an unknown one is refused with the names there are."""
    if name not in ARCHITECTURES:
        raise PolyfieldError(f"architecture {name!r} is unknown; expected one of {', '.join(ARCHITECTURES)}")
    module, attribute, _ = ARCHITECTURES[name]
    return getattr(importlib.import_module(module), attribute)


def options_of(name: str, given: dict[str, Any]) -> Any:
    """An architecture's options, defaults filled in; an unknown name or a value out of range is refused."""
    kind = architecture(name).Options
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in given.items():
        if key not in known:
            raise PolyfieldError(f"{name}: option {key!r} is unknown; expected one of {', '.join(known)}")
        most = known[key].metadata["most"]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise PolyfieldError(
                f"{name}: option {key} is {value!r}; expected a whole number from 1 to {most}"
            )
    return kind(**given)


def build(spec: FieldSpec) -> Field:
    """The field with its parameters not yet set, on the current default device."""
    kind, meaning = architecture(spec.architecture), signal(spec.signal)
    carried = ARCHITECTURES[spec.architecture][2]
    if spec.signal not in carried:
        raise PolyfieldError(
            f"{spec.architecture} does not carry {spec.signal}; it carries {', '.join(carried)}"
        )
    if spec.domain.dimensions != meaning.dimensions:
        raise PolyfieldError(
            f"{spec.signal}: the domain has {spec.domain.dimensions} dimensions; expected {meaning.dimensions}"
        )
    options = options_of(spec.architecture, spec.options)
    with torch.device("meta"):
        size = kind(spec, options).parameter_count()
    if size > _MOST_PARAMETERS:
        raise PolyfieldError(
            f"{spec.architecture}: these options ask for {size:,} parameters; at most {_MOST_PARAMETERS:,}"
        )
    return kind(spec, options)


def create(spec: FieldSpec, *, seed: int = 0, device: torch.device | str = "cpu") -> Field:
    """Build the field that a spec describes, its parameters set from the seed."""
    field = build(spec)
    field.initialise(seed)
    return field.to(device)
