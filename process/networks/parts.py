"""Parts of shapes: each point asks the tokens of its object's planes (Cardace et al. 2024, section 4).

There is no attention among points, so the answer is a field: it depends on the point alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from polyfield.fields.parts.frequency import frequency_code, frequency_width
from polyfield.process.networks.network import Network
from polyfield.process.networks.tokens import ChannelEncoder


class CrossLayer(nn.Module):
    """A layer of a transformer's decoder without self-attention; norms come first."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.feedforward = nn.Sequential(
            nn.Linear(width, feedforward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feedforward, width)
        )

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Return queries (B, P, W) after they have asked tokens (B, T, W)."""
        queries = queries + self.attention(self.norms[0](queries), tokens, tokens, need_weights=False)[0]
        return queries + self.feedforward(self.norms[1](queries))


class PartNetwork(Network):
    """Logits of all parts at points, of objects whose category is known."""

    kind, reads = "parts", "planes"

    def __init__(
        self,
        *,
        categories: int,
        parts: int,
        nodes: int,
        width: int = 192,
        layers: int = 3,
        decoder_layers: int = 2,
        heads: int = 4,
        feedforward: int = 384,
        dropout: float = 0.1,
        frequencies: int = 5,
    ) -> None:
        """Make a network of planes with `nodes` nodes along an axis. frequencies: octaves of a point's code."""
        super().__init__(
            categories=categories, parts=parts, nodes=nodes, width=width, layers=layers, decoder_layers=decoder_layers,
            heads=heads, feedforward=feedforward, dropout=dropout, frequencies=frequencies,
        )  # fmt: skip
        self.categories, self.frequencies = categories, frequencies
        self.encoder = ChannelEncoder(
            nodes, width, layers, heads, feedforward, dropout, before=True, by_node=False
        )
        self.query = nn.Linear(frequency_width(3, frequencies) + categories, width)
        self.decoder = nn.ModuleList(
            CrossLayer(width, heads, feedforward, dropout) for _ in range(decoder_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, parts)

    def forward(self, planes: Tensor, points: Tensor, categories: Tensor) -> Tensor:
        """Return logits (B, P, K) of the parts at points (B, P, 3) in [-1, 1]^3, of planes (B, 3, F, R, R) and categories (B,)."""
        tokens = self.encoder(planes)
        code = frequency_code((points + 1) / 2, self.frequencies)
        category = one_hot(categories, self.categories).to(code.dtype)
        queries = self.query(torch.cat((code, category[:, None].expand(-1, code.shape[1], -1)), -1)).relu()
        for layer in self.decoder:
            queries = layer(queries, tokens)
        return self.last(self.norm(queries))


def restricted(logits: Tensor, categories: Tensor, allowed: Tensor) -> Tensor:
    """Return logits (B, P, K) that are -inf at parts that a category does not have.

    allowed (C, K) bool says which parts each category has; categories are (B,).
    """
    return logits.masked_fill(~allowed[categories][:, None], -torch.inf)
