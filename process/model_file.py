"""Model files: one safetensors file with a trained network and all that its use needs.

The objects that it was trained on are not in it.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError, naming, shown
from polyfield.fields import FieldSpec
from polyfield.files.atomic import write_bytes
from polyfield.files.strict_json import json_text, parse_json
from polyfield.files.tensors import read_tensors, tensors_to_bytes
from polyfield.process.networks.network import Network
from polyfield.process.networks.registry import NETWORKS

FORMAT = "polyfield-network"
VERSION = "1"
_MOST = 1 << 16  # of an option that is a whole number
_MOST_LAYERS = 64


@dataclass(frozen=True)
class Model:
    """A trained network, and what its inputs and outputs are."""

    network: Network
    classes: tuple[str, ...]
    parts: tuple[str, ...]  # of all categories; none for a classifier
    parts_of: tuple[tuple[int, ...], ...]  # the parts of each class; none for a classifier
    spec: FieldSpec  # of the bank's fields
    recipe: dict[str, Any]  # by which they were fitted
    seed: int  # of the training and of the split

    def to_bytes(self) -> bytes:
        """Return the bytes of its file."""
        plain = {
            "kind": self.network.kind,
            "options": self.network.options,
            "classes": list(self.classes),
            "parts": list(self.parts),
            "parts_of": [list(parts) for parts in self.parts_of],
            "spec": self.spec.to_json(),
            "recipe": self.recipe,
            "seed": self.seed,
        }
        metadata = {"format": FORMAT, "version": VERSION, "model": json_text(plain, "model")}
        return tensors_to_bytes(self.network.state_dict(), metadata)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        write_bytes(path, self.to_bytes())

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Model:
        """Return the model of a file, on the CPU.

        Raises PolyfieldError, one line that begins with the path, if the file is damaged or of another kind, or its
        tensors are not those of its network. Memory is allocated for the file's content, not for what it claims.
        """
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT:
            raise PolyfieldError(
                f"{shown(path)} is not a trained network: its format is {metadata.get('format')!r:.80}; "
                f"expected {FORMAT!r}"
            )
        if metadata.get("version") != VERSION:
            raise PolyfieldError(
                f"{shown(path)} has version {metadata.get('version')!r:.80}; "
                f"this polyfield reads version {VERSION!r}; train it again"
            )
        with naming(path):
            return _model(parse_json(metadata.get("model", "").encode(), "model"), tensors)


def _model(plain: Any, tensors: dict[str, Tensor]) -> Model:
    match plain:
        case {
            "kind": str(kind),
            "options": dict(options),
            "classes": [*classes],
            "parts": [*parts],
            "parts_of": [*parts_of],
            "spec": spec,
            "recipe": dict(recipe),
            "seed": int(seed),
        } if (
            all(type(name) is str for name in (*classes, *parts))
            and all(isinstance(own, list) for own in parts_of)
            and all(type(part) is int and 0 <= part < len(parts) for own in parts_of for part in own)
        ):
            pass
        case _:
            raise PolyfieldError(
                "model: expected an object with valid kind, options, classes, parts, parts_of, spec, recipe and seed; "
                "train it again"
            )
    network = _network(kind, options, tensors)
    outputs = options.get("parts", options.get("classes"))
    if outputs != len(parts or classes) or len(parts_of) != (len(classes) if parts else 0):
        raise PolyfieldError(
            f"model: the network has {outputs} outputs for {len(classes)} classes and {len(parts)} parts; train it again"
        )
    return Model(
        network=network,
        classes=tuple(classes),
        parts=tuple(parts),
        parts_of=tuple(tuple(own) for own in parts_of),
        spec=FieldSpec.from_json(spec),
        recipe=recipe,
        seed=seed,
    )


def _network(kind: str, options: dict[str, Any], tensors: dict[str, Tensor]) -> Network:
    """Return the network of these options and tensors."""
    if kind not in NETWORKS:
        raise PolyfieldError(
            f"model: kind {kind!r:.80} is unknown; expected one of {', '.join(NETWORKS)}; train it again"
        )
    made = NETWORKS[kind]
    wanted = inspect.signature(made, eval_str=True).parameters
    if set(options) != set(wanted):
        raise PolyfieldError(
            f"model: options are {sorted(options)!s:.200}; expected {', '.join(wanted)}; train it again"
        )
    for name, value in options.items():
        most = _MOST_LAYERS if "layers" in name or name == "frequencies" else _MOST
        known = type(value) is wanted[name].annotation
        kinds = {
            int: f"a whole number from 1 to {most}",
            float: "a number with a decimal point, from 0.0 to below 1",
            bool: "true or false",
        }
        expected = kinds[wanted[name].annotation]
        if not known or not (0 <= value < 1 if isinstance(value, float) else value <= most):
            raise PolyfieldError(
                f"model: the stored option {name} is {value!r:.80}; expected {expected}; train it again"
            )
        if type(value) is int and value < 1:
            raise PolyfieldError(
                f"model: the stored option {name} is {value}; expected {expected}; train it again"
            )
    if options.get("width", 0) % options.get("heads", 1):
        raise PolyfieldError(
            f"model: the stored option width is {options['width']}; expected a multiple of the stored option heads, which is "
            f"{options['heads']}; train it again"
        )
    with torch.device("meta"):
        network = made(**options)
    for name, tensor in network.state_dict().items():
        found = tensors.get(name)
        if found is None or (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            seen = "absent" if found is None else f"{found.dtype} {tuple(found.shape)}"
            raise PolyfieldError(
                f"model: tensor {name} is {seen}; expected {tensor.dtype} {tuple(tensor.shape)}; train it again"
            )
    if extra := sorted(set(tensors) - set(network.state_dict())):
        raise PolyfieldError(
            f"model: found the tensors {extra!s:.200}, which a network of kind {kind} does not have; train it again"
        )
    network.load_state_dict(tensors, assign=True)
    return network.eval()
