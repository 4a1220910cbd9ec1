"""mlp: fully connected layers behind sines and cosines of the point (Mildenhall et al. 2020, NeRF), or of sines (Sitzmann et al. 2020, SIREN)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from polyfield.fields.architecture import Architecture
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.factor import Factor
from polyfield.fields.parts.frequency import frequency_code, frequency_width
from polyfield.fields.stored import Group


@dataclass(frozen=True)
class MlpOptions(NetworkOptions):
    frequencies: int = option(8, 16)  # octaves of sine and cosine on each axis; a network of sines takes none
    width: int = option(64, 1024)
    layers: int = option(3, 16)
    colour_layers: int = option(1, 16)


class Mlp(Encoding):
    learning_rate = 5e-3

    def __init__(self, meaning: Meaning, options: MlpOptions) -> None:
        axes = meaning.axes
        super().__init__()
        self.frequencies: int = 0 if options.activation == "sine" else options.frequencies
        self.width = frequency_width(axes, self.frequencies)

    def forward(self, unit: Tensor) -> Tensor:
        return frequency_code(unit, self.frequencies)

    def initialise(self, seed: int) -> None:
        """It has no parameters."""

    def parameter_groups(self) -> list[Group]:
        return []

    def factors(self) -> tuple[tuple[Factor, ...], ...]:
        return ()


def _suited(resolution: int, axes: int) -> dict[str, Any]:
    """Return options for a source of this resolution. Measured."""
    return {"frequencies": min(max(resolution.bit_length() - 1, 4), 12)}


ARCHITECTURE = Architecture(
    name="mlp",
    paper="Mildenhall, Srinivasan, Tancik et al. 2020: NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis",
    options=MlpOptions,
    encoding=Mlp,
    size_option="width",
    size_step=16,
    size_limit=64,
    suited=_suited,
)
