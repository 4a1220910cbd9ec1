"""The architectures there are: one line each."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from polyfield.errors import PolyfieldError
from polyfield.fields import options
from polyfield.fields.field import Field
from polyfield.fields.heads.latent_radiance import LatentRadiance
from polyfield.fields.heads.values import ValueField
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.signals import signal
from polyfield.fields.spec import FieldSpec

# name -> its class
ARCHITECTURES = {
    "hashgrid": "polyfield.fields.architectures.hashgrid:HashGrid",
    "densegrid": "polyfield.fields.architectures.densegrid:DenseGrid",
    "triplane": "polyfield.fields.architectures.triplane:Triplane",
    "kplanes": "polyfield.fields.architectures.kplanes:KPlanes",
    "vm": "polyfield.fields.architectures.vm:Vm",
    "cp": "polyfield.fields.architectures.cp:Cp",
    "mlp": "polyfield.fields.architectures.mlp:Mlp",
}
_MOST_PARAMETERS = 1 << 32


def architecture(name: str) -> type[Encoding]:
    """The class of that name; an unknown one is refused with the names there are."""
    if name not in ARCHITECTURES:
        raise PolyfieldError(f"architecture {name!r} is unknown; expected one of {', '.join(ARCHITECTURES)}")
    module, attribute = ARCHITECTURES[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def options_of(name: str, given: dict[str, Any]) -> Any:
    """An architecture's options, defaults filled in; an unknown name or a value out of range is refused."""
    return options.parse(name, architecture(name).Options, given)


def refusal(name: str, signal_name: str) -> str | None:
    """Why an architecture does not carry a signal, in one sentence, or None."""
    why = architecture(name).refusal(signal(signal_name).dimensions)
    return why and f"{name} does not carry {signal_name}: {why}"


def build(spec: FieldSpec) -> Field:
    """The field with its parameters not yet set, on the current default device."""
    kind, meaning = architecture(spec.architecture), signal(spec.signal)
    if why := refusal(spec.architecture, spec.signal):
        raise PolyfieldError(why)
    if spec.domain.dimensions != meaning.dimensions:
        raise PolyfieldError(
            f"{spec.signal}: the domain has {spec.domain.dimensions} dimensions; expected {meaning.dimensions}"
        )
    chosen = options_of(spec.architecture, spec.options)
    field = LatentRadiance if spec.signal == "radiance" else ValueField

    def whole() -> Field:
        return field(spec, chosen, kind(meaning.dimensions, chosen))

    with torch.device("meta"):
        size = whole().parameter_count()
    if size > _MOST_PARAMETERS:
        raise PolyfieldError(
            f"{spec.architecture}: these options ask for {size:,} parameters; at most {_MOST_PARAMETERS:,}"
        )
    return whole()


def create(spec: FieldSpec, *, seed: int = 0, device: torch.device | str = "cpu") -> Field:
    """Build the field that a spec describes, its parameters set from the seed."""
    field = build(spec)
    field.initialise(seed)
    return field.to(device)
