"""The networks by name, and how each follows from a bank."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.process.networks.cloud_pointnet import CloudPointNet
from polyfield.process.networks.network import Classifier, Network
from polyfield.process.networks.parts import PartNetwork
from polyfield.process.networks.plane_cnn import PlaneCNN
from polyfield.process.networks.plane_pointnet import PlanePointNet
from polyfield.process.networks.tokens import PUBLISHED, TokenNetwork
from polyfield.process.networks.weights_mlp import WeightsMLP
from polyfield.process.training import Training

_ALL: tuple[type[Network], ...] = (
    TokenNetwork,
    PlanePointNet,
    PlaneCNN,
    WeightsMLP,
    CloudPointNet,
    PartNetwork,
)
NETWORKS: dict[str, type[Network]] = {network.kind: network for network in _ALL}


@dataclass(frozen=True)
class Choice:
    """A network that `classify` offers: the options in which it differs from its defaults, and how it is trained."""

    network: type[Classifier]
    options: dict[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)


CLASSIFIERS = {
    "transformer": Choice(TokenNetwork),
    "published": Choice(
        TokenNetwork, PUBLISHED, Training(epochs=150, batch=256, rate=1e-4, decay=1e-3, smoothing=0.0)
    ),
    "pointnet": Choice(PlanePointNet),
    "cnn": Choice(PlaneCNN),
    "weights": Choice(WeightsMLP),
    "cloud": Choice(CloudPointNet),
}


def choice(name: str) -> Choice:
    """Return what a name of `--network` stands for. Raises PolyfieldError, which lists the names, for another."""
    if name not in CLASSIFIERS:
        raise PolyfieldError(f"--network {name!r:.80} is unknown; expected one of {', '.join(CLASSIFIERS)}")
    return CLASSIFIERS[name]


def new_classifier(chosen: Choice, classes: int, inputs: Tensor) -> Classifier:
    """Return a new network, from torch's global generator, for inputs (N, ...) of the kind that it reads."""
    shape: dict[str, int] = {}
    if chosen.network is PlaneCNN:
        shape["channels"] = inputs.shape[1] * inputs.shape[2]
    elif chosen.network.reads == "planes":
        shape["nodes"] = inputs.shape[-1]
    elif chosen.network.reads == "weights":
        shape["numbers"] = inputs.shape[1]
    return chosen.network(classes=classes, **shape, **chosen.options)
