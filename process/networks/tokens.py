"""The channel-token transformer: one token for each channel map of each plane (Cardace et al. 2024, section 4).

Independently fitted fields are equal up to the order of their channels. Tokens have no position and no plane, so the
answer does not depend on that order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from polyfield.process.networks.network import Classifier

PUBLISHED = {
    "width": 512,
    "layers": 8,
    "heads": 4,
    "feedforward": 2048,
    "before": False,
    "by_node": True,
}  # dropout 0.1


def channels_of(planes: Tensor, *, by_node: bool) -> Tensor:
    """Return the channel maps (B, 3 F, R, R) of planes (B, 3, F, R, R), with values of about 1.

    by_node: each node has norm sqrt(3 F) over all channels, as published. Otherwise a map's sign is the one with which its mean is
    not negative, because a field stays the same where a channel and the weights that read it both change sign; its mean is
    then subtracted, and the maps of an object have a root mean square of 1 together.
    """
    maps = planes.flatten(1, 2)
    if by_node:
        return normalize(maps, dim=1) * maps.shape[1] ** 0.5
    mean = maps.mean((2, 3), keepdim=True)
    maps = torch.where(mean < 0, -1.0, 1.0) * (maps - mean)
    return maps / maps.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-9)


class ChannelEncoder(nn.Module):
    """Planes to tokens: each channel map, flattened, through a linear layer and a transformer's encoder."""

    def __init__(
        self,
        nodes: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        before: bool,
        by_node: bool,
    ) -> None:
        super().__init__()
        self.by_node = by_node
        self.first = nn.Linear(nodes * nodes, width)
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, heads, feedforward, dropout, batch_first=True, norm_first=before
                )
                for _ in range(layers)
            )
        )
        self.norm = nn.LayerNorm(width) if before else nn.Identity()

    def forward(self, planes: Tensor) -> Tensor:
        """Return tokens (B, 3 F, W) of planes (B, 3, F, R, R)."""
        maps = channels_of(planes, by_node=self.by_node)
        return self.norm(self.layers(self.first(maps.flatten(2))))


class TokenNetwork(Classifier):
    """Tokens of the channels, their maximum, and a linear layer to the classes."""

    kind, reads = "transformer", "planes"

    def __init__(
        self,
        *,
        classes: int,
        nodes: int,
        width: int = 256,
        layers: int = 4,
        heads: int = 4,
        feedforward: int = 512,
        dropout: float = 0.1,
        before: bool = True,
        by_node: bool = False,
    ) -> None:
        """Make a network of planes with `nodes` nodes along an axis.

        before: layers are normalised before attention and feed-forward rather than after them. by_node: as in `channels_of`.
        """
        super().__init__(
            classes=classes, nodes=nodes, width=width, layers=layers, heads=heads, feedforward=feedforward,
            dropout=dropout, before=before, by_node=by_node,
        )  # fmt: skip
        self.encoder = ChannelEncoder(nodes, width, layers, heads, feedforward, dropout, before, by_node)
        self.last = nn.Linear(width, classes)

    def embedding(self, inputs: Tensor) -> Tensor:
        return torch.amax(self.encoder(inputs), 1)
