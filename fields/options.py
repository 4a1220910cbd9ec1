"""Options of an architecture: whole numbers and choices, with their allowed values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polyfield.errors import PolyfieldError


def option(default: int, most: int, about: str, *, least: int = 1) -> Any:
    """Return a dataclass field for a whole number from `least` to `most`. `about` describes it in docs/architectures.md."""
    return dataclasses.field(default=default, metadata={"range": (least, most), "about": about})


def choice(*names: str, about: str) -> Any:
    """Return a dataclass field for one of some names, by default the first."""
    return dataclasses.field(default=names[0], metadata={"names": names, "about": about})


@dataclass(frozen=True)
class NetworkOptions:
    """The networks behind an encoding."""

    width: int = option(64, 1024, "units of every hidden layer")
    layers: int = option(1, 16, "hidden layers of the main network", least=0)
    colour_layers: int = option(2, 16, "hidden layers of the colour network, for radiance")
    activation: str = choice("relu", "sine", about="activation function of the main network")


def parse(name: str, kind: type, given: Mapping[str, Any]) -> Any:
    """Return an architecture's options of class `kind`, defaults filled in.

    Raises PolyfieldError for an unknown name or a bad value.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in given.items():
        if key not in known:
            spaced = "; write --options NAME VALUE, with a space" if "=" in str(key) else ""
            raise PolyfieldError(
                f"{name}: option {key!r:.80} is unknown; expected one of {', '.join(known)}{spaced}"
            )
        if names := known[key].metadata.get("names"):
            if value not in names:
                raise PolyfieldError(
                    f"{name}: option {key} is {value!r:.80}; expected one of {', '.join(names)}"
                )
            continue
        least, most = known[key].metadata["range"]
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise PolyfieldError(
                f"{name}: option {key} is {value!r:.80}; expected a whole number from {least} to {most}"
            )
    return kind(**given)
