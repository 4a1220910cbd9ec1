"""RadialKernels: radial basis functions with places, shapes and weights (Chen et al. 2023, NeuRBF, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polyfield.fields.parts.clusters import clusters
from polyfield.fields.parts.initial import uniform_init
from polyfield.fields.stored import Group, Importance
from polyfield.kernels import Radial, Tree, nearest, rbf, tree_order, uniform

_CANDIDATES = 1 << 18  # points at which importance is evaluated, at least
_WIDER = 0.5  # covariances of clusters are divided by it, as published
_NARROWEST, _WIDEST = 2.0**-13, 0.1  # standard deviations, in sides of the unit cube
_STEPS = 65535  # that a coordinate is rounded to
_RATE = 3.0  # learning rate of the weights, relative to the networks'


def log_spaced(band: tuple[float, float], count: int) -> Tensor:
    """Return numbers (count,) from the first to the last of the band, in equal ratios."""
    low, high = band
    return low * (high / low) ** (torch.arange(count) / max(count - 1, 1))


class RadialKernels(nn.Module):
    """Sums of kernels round places. A point sees the 2^D nearest ones.

    Places and shapes are set once, by `place`, and not trained. Only the weights are.
    """

    def __init__(
        self, axes: int, count: int, features: int, *, linear: bool, band: tuple[float, float] | None
    ) -> None:
        """With a band, sums are of sines of the heights, with frequencies from its first to its second number."""
        super().__init__()
        self._linear, self.band = linear, band
        self.weights = nn.Parameter(torch.empty(count, features))
        # Sixteen bits suffice: they are rounded before the first step.
        self.register_buffer("places", torch.zeros(count, axes, dtype=torch.int16))
        numbers = 1 if linear else axes * (axes + 1) // 2
        self.register_buffer("shapes", torch.zeros(count, numbers, dtype=torch.float16))
        self.places: Tensor
        self.shapes: Tensor
        self._trees: tuple[tuple[object, ...], list[Tree]] = ((), [])

    def forward(self, unit: Tensor) -> Tensor:
        """Return sums ([B,] N, F) at points ([B,] N, D) of the unit cube."""
        shapes = self.shapes.to(unit.dtype)
        if unit.dim() == 2:
            return self._sums(unit, self.trees()[0], shapes, self.weights)
        bank = zip(unit, self.trees(), shapes, self.weights, strict=True)
        return torch.stack([self._sums(*one) for one in bank])

    def _sums(self, unit: Tensor, tree: Tree, shapes: Tensor, weights: Tensor) -> Tensor:
        near = nearest(tree, unit.detach(), 1 << unit.shape[-1])
        waves = None if self.band is None else log_spaced(self.band, weights.shape[-1]).to(unit)
        return rbf(weights, unit, near, tree.points, shapes, waves, linear=self._linear)

    def trees(self) -> list[Tree]:
        """Return the places of each field of the bank, ready for the search. They are built anew where `places` changed."""
        places = self.places
        state = (places.data_ptr(), places._version, places.shape, places.device)
        if self._trees[0] != state:
            centres = (places.float() + (_STEPS + 1) // 2) / _STEPS
            bank = centres if centres.dim() == 3 else centres[None]
            self._trees = state, [Tree.of(one) for one in bank]
        return self._trees[1]

    def radial(self) -> Radial:
        """Return the kernels as plain data. A change of places needs new ones."""
        return Radial(self.weights, self.trees()[0], self.shapes.float(), self._linear)

    def initialise(self, seed: int) -> None:
        """Set the weights near 0, and places anywhere, with shapes as wide as the places are apart."""
        uniform_init(self.weights, 1e-4, seed=seed, name="kernels")
        count, axes = self.places.shape
        places = uniform((count, axes), seed=seed, stream="initialise places")
        width = count ** (-1 / axes)
        self._set(places[tree_order(places)], torch.eye(axes).mul(width**2 / 4).expand(count, axes, axes))

    def place(self, importance: Importance, seed: int) -> None:
        """Put places and shapes at clusters of points that are drawn in proportion to their importance.

        importance takes points (N, D) of the unit cube.
        """
        points = self._important(importance, seed)
        places, covariances = clusters(points, torch.ones(len(points)), len(self.places), seed=seed)
        self._set(places, covariances / _WIDER)

    def _important(self, importance: Importance, seed: int) -> Tensor:
        """Return points (N, D) in proportion to importance: drawn evenly, then again round the important ones."""
        axes = self.places.shape[1]
        count = max(_CANDIDATES, 16 * len(self.places))
        everywhere = uniform((count, axes), seed=seed, stream="candidates")
        points, reach = everywhere, count ** (-1 / axes)
        for turn in range(3):
            found = importance(points.to(self.places.device)).cpu().double().clamp(min=0)
            if not found.sum() > 0:
                return everywhere
            draws = uniform((count,), seed=seed, stream="important", step=turn).double().sort().values
            points = points[torch.searchsorted(found.cumsum(0) / found.sum(), draws).clamp(max=count - 1)]
            if turn < 2:
                shift = uniform((count, axes), seed=seed, stream="shifted candidates", step=turn) * 2 - 1
                points, reach = (points + reach * shift).clamp(0, 1), reach / 2
        return points

    @torch.no_grad()
    def _set(self, places: Tensor, covariances: Tensor) -> None:
        """Set places (M, D), in a tree's order, and shapes from covariances (M, D, D)."""
        variances, axes = torch.linalg.eigh(covariances.double())
        if self._linear:  # its height is a half one standard deviation away
            width = variances.mean(-1, keepdim=True).clamp(min=0).sqrt()
            shapes = 1 / (2 * width.clamp(_NARROWEST, _WIDEST))
        else:
            precision = variances.clamp(_NARROWEST**2, _WIDEST**2).reciprocal()
            upper = torch.linalg.cholesky(axes * precision[:, None, :] @ axes.mT).mT
            rows, columns = torch.triu_indices(places.shape[1], places.shape[1])
            shapes = upper[:, rows, columns]
        self.places.copy_((places * _STEPS).round().clamp(0, _STEPS) - (_STEPS + 1) // 2)
        self.shapes.copy_(shapes)

    def parameter_groups(self) -> list[Group]:
        return [Group({"weights": self.weights}, _RATE, 0.0, half=True)]
