"""mlp: fully connected layers behind sines and cosines of the point (Mildenhall et al. 2020, NeRF), or of sines (Sitzmann et al. 2020, SIREN).

With `fourier`, the sines and cosines have random frequencies in place of octaves (Tancik et al. 2020, Fourier features).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polyfield.fields.architecture import Architecture, Extent
from polyfield.fields.meaning import Meaning
from polyfield.fields.options import NetworkOptions, option
from polyfield.fields.parts.encoding import Encoding
from polyfield.fields.parts.factor import Factor
from polyfield.fields.parts.frequency import fourier_code, frequency_code, frequency_width
from polyfield.fields.parts.initial import normal_init
from polyfield.fields.stored import Group


@dataclass(frozen=True)
class MlpOptions(NetworkOptions):
    frequencies: int = option(
        8, 16, "number of octaves of sines and cosines of the coordinates; unused if the activation is `sine`"
    )
    fourier: int = option(
        0,
        4096,
        "number of random frequencies (Fourier features) that replace the octaves; 0 keeps the octaves",
        least=0,
    )
    sigma: int = option(
        10, 1000, "standard deviation of the random frequencies, in periods across the domain"
    )
    width: int = option(64, 1024, "units of every hidden layer")
    layers: int = option(3, 16, "hidden layers of the main network")
    colour_layers: int = option(1, 16, "hidden layers of the colour network, for radiance")


class Mlp(Encoding):
    def __init__(self, meaning: Meaning, options: MlpOptions) -> None:
        axes = meaning.axes
        super().__init__()
        orthogonal = meaning.kind.directional and options.activation != "sine"
        self.learning_rate = 7e-3 if orthogonal else 5e-3
        self._sigma = float(options.sigma)
        if options.fourier:
            self.register_buffer("fourier", torch.empty(options.fourier, axes))
            self.width = 2 * options.fourier
        else:
            self.fourier: Tensor | None = None
            self.frequencies = 0 if options.activation == "sine" else options.frequencies
            self.width = frequency_width(axes, self.frequencies)

    def forward(self, unit: Tensor) -> Tensor:
        if self.fourier is not None:
            return fourier_code(unit, self.fourier)
        assert self.frequencies is not None
        return frequency_code(unit, self.frequencies)

    def initialise(self, seed: int) -> None:
        """Draw the random frequencies. There are no parameters."""
        if self.fourier is not None:
            normal_init(self.fourier, self._sigma, seed=seed, name="fourier")

    def parameter_groups(self) -> list[Group]:
        return []

    def factors(self) -> tuple[tuple[Factor, ...], ...] | None:
        return None if self.fourier is not None else ()


def suited(extent: Extent) -> dict[str, Any]:
    """Return options for a source of this extent. Measured."""
    return {"frequencies": min(max(extent.resolution.bit_length() - 1, 4), 12)}


ARCHITECTURE = Architecture(
    name="mlp",
    paper="Mildenhall, Srinivasan, Tancik et al. 2020: NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis",
    advice="For the smallest files and for smooth signals. At equal training time, its quality is below that of most grids and planes.",
    options=MlpOptions,
    encoding=Mlp,
    size_option="width",
    size_step=16,
    size_limit=64,
    suited=suited,
)
