"""The architectures: a line each, the name and the module that holds its record."""

from __future__ import annotations

import importlib

import torch

from polyfield.errors import PolyfieldError
from polyfield.fields.architecture import Architecture
from polyfield.fields.spec import FieldSpec
from polyfield.fields.stored import StoredField

ARCHITECTURES = {
    "hashgrid": "polyfield.fields.architectures.hashgrid",
    "densegrid": "polyfield.fields.architectures.densegrid",
    "triplane": "polyfield.fields.architectures.triplane",
    "kplanes": "polyfield.fields.architectures.kplanes",
    "vm": "polyfield.fields.architectures.vm",
    "cp": "polyfield.fields.architectures.cp",
    "voxels": "polyfield.fields.architectures.voxels",
    "mlp": "polyfield.fields.architectures.mlp",
    "rbf": "polyfield.fields.architectures.rbf",
    "cam": "polyfield.fields.architectures.cam",
}
_MOST_PARAMETERS = 1 << 32


def architecture(name: str) -> Architecture:
    """Return the record of that name. Raises PolyfieldError, which lists the names, for another.

    >>> architecture("vm").paper
    'Chen, Xu, Geiger, Yu, Su 2022: TensoRF: Tensorial Radiance Fields'
    """
    if name not in ARCHITECTURES:
        raise PolyfieldError(
            f"architecture {name!r:.80} is unknown; expected one of {', '.join(ARCHITECTURES)}"
        )
    return importlib.import_module(ARCHITECTURES[name]).ARCHITECTURE


def build(spec: FieldSpec) -> StoredField:
    """Return the field of a spec, its parameters not yet set, on the current default device.

    Raises PolyfieldError where the architecture does not carry the meaning, or the options make no sense.
    """
    kind = architecture(spec.architecture)
    if why := kind.refusal(spec.meaning):
        meaning = spec.meaning
        moving = "moving " if meaning.moving and not meaning.kind.moving else ""
        raise PolyfieldError(f"{kind.name} cannot store {moving}{spec.meaning.signal} fields: {why}")
    with torch.device("meta"):
        field = kind.build(spec)
    if (size := field.parameter_count()) > _MOST_PARAMETERS:
        raise PolyfieldError(
            f"{kind.name}: these options ask for {size:,} parameters; at most {_MOST_PARAMETERS:,} are allowed; "
            "choose smaller tables, resolution or width"
        )
    return field if torch.get_default_device().type == "meta" else kind.build(spec)


def create(spec: FieldSpec, *, seed: int = 0, device: torch.device | str = "cpu") -> StoredField:
    """Return the field of a spec with its parameters set from the seed."""
    field = build(spec)
    field.initialise(seed)
    return field.to(device)
