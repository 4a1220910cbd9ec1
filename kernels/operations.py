"""The operations as the rest of polyfield calls them. This module defines what they compute, not how.

All but `gather`, `nearest` and `rbf` take an optional leading bank axis B, for many small fields at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from polyfield.kernels import checks, field_checks
from polyfield.kernels.dispatch import implementation, offered
from polyfield.kernels.field_checks import Groups, Radial, Table
from polyfield.kernels.levels import Levels
from polyfield.kernels.samples import RaySamples
from polyfield.kernels.spans import within
from polyfield.kernels.tree import Tree


class Composite(NamedTuple):
    """The result of volume rendering for R rays with C samples."""

    colour: Tensor  # (R, 3) without background
    opacity: Tensor  # (R,) in [0, 1]
    depth: Tensor  # (R,) sum of weight times distance; divide by opacity for the expected distance
    weights: Tensor  # (C,) share of its sample in the ray's colour


def interpolate(table: Tensor, points: Tensor, levels: Levels) -> Tensor:
    """Return the multilinear look-up in every level of a table: ([B,] N, L * F), level by level.

    table is ([B,] E, F) with E = levels.entries; a level with an index has the entries that it names. points ([B,] N, D) are in the unit cube; points outside are
    clamped. Differentiable in table and points.
    """
    checks.interpolate(table, points, levels)
    return implementation("interpolate", table, points)(table, points, levels)


def mlp(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
    *,
    sine: bool = False,
    modulation: Tensor | None = None,
    normed: bool = False,
) -> Tensor:
    """Return the output ([B,] N, O) of a fully connected network.

    x is ([B,] N, I). Each layer has weights ([B,] out, in), and biases ([B,] out) unless they are None. A
    ReLU, or a sine, is between the layers, and nothing after the last.

    modulation ([B,] N, H, 2, C) scales and shifts the outputs F of the H hidden layers before their activation
    (Lee et al. 2024, CAM, equation 1): channel c becomes (1 + modulation[..., 0, c]) F_c + modulation[..., 1, c]. With
    C = 1 all channels have the same scale and shift; else C is the width of every hidden layer. With `normed`, a point's
    F is replaced by (F - mean) / sqrt(variance + 1e-5) first; both are over its channels. Differentiable in x, weights,
    biases and modulation.
    """
    checks.mlp(x, weights, biases, modulation, normed)
    given = (x, *weights, *(biases or ()), *(() if modulation is None else (modulation,)))
    run = implementation("mlp", *given)
    return run(x, weights, biases, sine=sine, modulation=modulation, normed=normed)


def march(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    occupancy: Tensor,
    *,
    step: float,
    cone: float,
    jitter: Tensor,
) -> RaySamples:
    """Return the samples of rays in occupied cells.

    Distances are on a lattice with steps of `step`, or of cone * t if that is larger. origins and directions
    ([B,] R, 3) are in a frame in which cascade k of occupancy covers [-2^k, 2^k]^3. occupancy is ([B,] K, G,
    G, G) bool, indexed [k, z, y, x]. A point belongs to the smallest cascade that holds it; space beyond the
    last cascade is empty. near, far and jitter are ([B,] R). jitter in [0, 1) shifts a ray's samples by that
    share of a step. With a bank, the rays of the result are numbered b * R + r. Not differentiable.

    Samples are at t(i + jitter) for all whole numbers i with distances from near up to far. dt spans half a
    step to both sides. t(u) = step * u up to u = 1 / cone, and (step / cone) * exp(cone * u - 1) beyond. So a
    part of a ray has the same samples as the whole ray has there. A ray that is not finite has none.
    """
    checks.march(origins, directions, near, far, occupancy, step=step, cone=cone, jitter=jitter)
    near, far = within(origins, directions, near, far, 2.0 ** (occupancy.shape[-4] - 1))
    return implementation("march", origins, directions, near, far, jitter)(
        origins, directions, near, far, occupancy, step=step, cone=cone, jitter=jitter
    )


def transmittance(samples: RaySamples, density: Tensor) -> Tensor:
    """Return the share of light (C,) that reaches each sample.

    Along its ray it is T_i = exp(-sum_{j < i} density_j dt_j).
    """
    checks.samples("transmittance", samples, density)
    return implementation("transmittance", density, samples.dt)(samples, density)


def composite(samples: RaySamples, density: Tensor, colour: Tensor) -> Composite:
    """Return volume rendering by quadrature (Max 1995): w_i = T_i (1 - exp(-density_i dt_i)).

    density (C,) >= 0 is per unit of distance, colour is (C, 3). Differentiable in both. Samples are packed,
    so those of a bank need no axis of their own.
    """
    checks.samples("composite", samples, density, colour)
    return implementation("composite", density, colour, samples.t, samples.dt)(samples, density, colour)


def adam(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    *,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    decay: float,
    sparse: bool = False,
    half: Tensor | None = None,
) -> None:
    """Take one step of Adam (Kingma and Ba 2015), in place, on tensors of one shape.

    mean and square are the running moments. `step` counts from 1. `decay` adds decay * parameter to the
    gradient. With `sparse`, numbers whose gradient is zero do not change, nor do their moments, so a step
    costs only what it changes (Mueller et al. 2022, appendix). `half`, of the same shape and float16, is a
    copy that is updated too.
    """
    checks.adam(parameter, gradient, mean, square, step, half)
    implementation("adam", parameter, gradient, mean, square)(
        parameter,
        gradient,
        mean,
        square,
        step=step,
        learning_rate=learning_rate,
        betas=betas,
        eps=eps,
        decay=decay,
        sparse=sparse,
        half=half,
    )


def muon(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    *,
    learning_rate: float,
    momentum: float,
) -> None:
    """Take one step of Muon (Jordan et al. 2024), in place, on matrices ([B,] O, I).

    The gradient g moves the mean: m = momentum * mean + (1 - momentum) * g. The direction is momentum * m +
    (1 - momentum) * g (Nesterov), divided by its norm. Five iterations of Newton and Schulz bring the singular values of the
    direction near 1. The step is the direction times learning_rate * sqrt(max(1, O / I)). The native form iterates in bfloat16
    where networks do.
    """
    checks.muon(parameter, gradient, mean)
    implementation("muon", parameter, gradient, mean)(
        parameter, gradient, mean, learning_rate=learning_rate, momentum=momentum
    )


def gather(parts: Sequence[Tensor], index: Tensor) -> Tensor:
    """Return rows index (R,) int64 of tensors (N_k, ...), as if these were concatenated: (R, ...).

    Photographs are large, and pixels drawn from them are not in cache.
    """
    checks.gather(parts, index)
    return implementation("gather", index)(parts, index)


def nearest(tree: Tree, points: Tensor, count: int) -> Tensor:
    """Return the numbers (N, count) int32 of the tree's points that are nearest to points (N, D), the nearest first.

    Not differentiable. Raises PolyfieldError if the tree has fewer points than `count`.
    """
    checks.nearest(tree, points, count)
    return implementation("nearest", tree.points, points)(tree, points, count)


def rbf(
    weights: Tensor,
    points: Tensor,
    neighbours: Tensor,
    centres: Tensor,
    shapes: Tensor,
    multipliers: Tensor | None = None,
    *,
    linear: bool = False,
) -> Tensor:
    """Return sums (N, F) of radial basis functions (Chen et al. 2023, NeuRBF, equations 3 to 6).

    points are (N, D), neighbours (N, K) int32 the kernels that each point sees. Kernel i has a centre (D,), weights
    (F,), and a shape: the upper triangle A_i (D (D + 1) / 2,), row by row, or one number (1,) that stands for that
    multiple of the identity. Its height at x is h_i = 1 / (1 + |y|^2), or, with `linear`, the product of
    max(0, 1 - |y_d|) over the axes d, where y = A_i (x - centre). The heights of a point's K kernels are divided by
    their sum. The result is the sum of h_i weights_i, or, with multipliers m (F,), of sin(h_i m) weights_i.
    Differentiable in weights and points, for the neighbours that are given.
    """
    checks.rbf(weights, points, neighbours, centres, shapes, multipliers)
    given = (weights, points, neighbours, centres, shapes, *(() if multipliers is None else (multipliers,)))
    return implementation("rbf", *given)(
        weights, points, neighbours, centres, shapes, multipliers, linear=linear
    )


class FusedKernel(Protocol):
    """A field whose training step, values and pictures are one call each.

    rays hold origins and unit directions (R, 3) in the world, jitter (R,), the distance `near` from which
    they are sampled, and `step` and `cone` as in `march`. Of a timed field, they hold times (R,) in [0, 1], else None.
    Points of a timed field have times (N,) too. occupied (K, G, G, G) bool is in the domain's local
    frame. Rays end where it ends.
    """

    def train(
        self,
        rays: dict[str, Any],
        occupied: Tensor,
        *,
        target: Tensor,
        background: Tensor,
        huber: float,
        steps: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[dict[str, Any], Tensor, list[Tensor]]:
        """Return figures, squared errors and gradients of the rays' colours on background (R, 3).

        The loss is the Huber loss against premultiplied RGBA target (R, 4). The figures are loss (the mean),
        evaluated and shaded (numbers of samples), and finite (whether the gradients are). The squared errors
        (R,) are means over the channels. The gradients are in the same memory at every call. Their order is: tables, the
        modulation's table, density weights, biases, weights of radial basis functions, colour weights.

        steps are the arguments of `adam` but parameter, gradient and half, for every tensor in the same order, or those of
        `muon` for a layer. With steps, all parameters and their moments are updated, if there are samples, and loss and
        gradients are finite. No gradients are returned then.
        """

    def train_points(
        self,
        points: Tensor,
        directions: Tensor | None,
        times: Tensor | None = None,
        *,
        targets: Mapping[str, Tensor],
        terms: Sequence[tuple[str, str, float, Mapping[str, float]]],
        steps: Sequence[Mapping[str, Any] | None] = (),
    ) -> tuple[dict[str, Any], Tensor, list[Tensor]]:
        """Return figures, squared errors and gradients of the values at world points (N, D).

        targets are by part: "raw" (N, C), "features" (N, L), the latent vector, and "colour" (N, 3), which needs unit
        directions (N, 3). Terms are (part, measure, weight, options) as in `fitting.losses`; the loss is their
        weighted sum. The squared errors (N,) are of the first term, means over the channels; of entropy, those of
        probabilities. Figures, gradients and steps are as in `train`. A step of None leaves its layer as it is.
        """

    def evaluate(
        self, points: Tensor, directions: Tensor | None = None, times: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return latent vectors (N, L) at world points (N, D), and with directions (N, 3) colours (N, 3)."""

    # float16 copies (E, F) of the tables, read by the kernel. Code that changes a table must update its copy.
    halves: Sequence[Tensor]

    def refresh(self) -> None:
        """Update `halves` from the tables."""

    def density(self, points: Tensor, times: Tensor | None = None) -> Tensor:
        """Return densities (N,) at points (N, 3) of the domain's local frame."""

    def render(self, rays: dict[str, Any], occupied: Tensor) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        """Return figures, colour (R, 3) without background, opacity (R,), and depth (R,).

        The figures are evaluated and shaded (numbers of samples). depth is the sum of weight times distance.
        """


@runtime_checkable
class QueuedKernel(FusedKernel, Protocol):
    """A fused radiance field that the host need not wait for.

    Shapes are fixed; only the device knows the counts.
    """

    def queue(
        self,
        rays: dict[str, Any],
        occupied: Tensor,
        *,
        target: Tensor,
        background: Tensor,
        huber: float,
        live: Tensor,
        capacity: tuple[int, int] | None = None,
        steps: Sequence[Mapping[str, Any]] = (),
        deterministic: bool = False,
    ) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
        """Queue `train` for the first `live` rays (1,) int64, and return the same. Other rays are left out.

        `capacity` counts samples evaluated and shaded. If there are more samples, the last rays are
        left out too. Without it the capacity suffices for all samples, but the host waits. Figures, each
        (1,), are those of `train`, rays (how many were used), and moved (whether parameters were updated). In
        steps, learning_rate and step may be tensors (1,), step in float64. With `deterministic`, gradients
        are summed in fixed point, so the same inputs give the same bytes.
        """

    def queue_picture(
        self, rays: dict[str, Any], occupied: Tensor, *, live: Tensor, capacity: tuple[int, int] | None = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """Queue `render` for the first `live` rays, with `capacity` as in `queue`, and return the same.

        Figures have rays too (how many were used).
        """


def fused_field(
    groups: Groups,
    density: Sequence[Tensor],
    colour: Sequence[Tensor] = (),
    *,
    summed: bool,
    frequencies: int | None = None,
    degree: int,
    centre: Sequence[float],
    axes: Sequence[Sequence[float]],
    contraction: bool,
    low: float,
    high: float,
    per_length: float,
    least_transmittance: float,
    least_share: float,
    biases: Sequence[Tensor] = (),
    modulation: Table | None = None,
    normed: bool = False,
    radial: Radial | None = None,
    timed: bool = False,
) -> FusedKernel | None:
    """Return the field as one kernel, or None if the form in use has no kernel for it.

    A factor (table, levels, axes), with table (E, F), has the codes interpolate(table, unit[:, axes], levels). A group's code
    is the product of its factors' codes, or the sum if `summed`. The codes of all groups are concatenated. With frequencies,
    p, sin(2^k pi p) and cos(2^k pi p) for k < frequencies follow, of p = 2 unit - 1.

    The density network maps codes to a latent vector; without layers the codes are the latent vector. The colour
    network maps the latent vector and the direction's degree^2 spherical harmonics to 3 numbers. Their weights are
    (out, in) for each layer. Without a colour network but with a degree, the latent vector has degree^2 coefficients of
    the harmonics, those of order l divided by (l + 1)^2, for each of 3 numbers, behind the density. Without a degree the
    latent vector is the field's values, at points (N, D) of D = 2 or 3 dimensions, and there are no rays.

    A world point x is at p = axes (x - centre) in the domain's local frame, with centre (D,) and axes (D, D). Its unit
    coordinates are (p + 1) / 2, or those of `Domain`'s contraction. Of a `timed` field, the time is one more coordinate
    behind them. Density is exp(clamp(latent_0, low, high)) * per_length.

    The layers of the density network may have biases (out,). Its modulation is a table whose codes at the unit coordinates
    have the shape (hidden layers, 2, channels) of `mlp`, where `normed` is explained too.

    Sums of radial basis functions are those of `rbf`, for the 2^D functions that are nearest in unit coordinates. Of radiance,
    the colour network reads the latent vector with the sums added behind its first number. Of values, they are the last codes.

    Samples with a transmittance below least_transmittance are left out. Samples that weigh less than least_share of their
    ray's mean have no colour, but still absorb light.
    """
    field_checks.fused_field(groups, frequencies, density, colour, degree, centre, axes, timed, radial)
    field_checks.network_of_field(density, biases, modulation, normed, len(centre) + timed)
    field_checks.radial_of_field(radial, density, colour, degree, len(centre))
    tables = [table for group in groups for table, _, _ in group]
    others = [first[0] for first in (modulation, radial) if first]
    make = offered("fused_field", *tables, *others, *density, *biases, *colour)
    return make and make(
        groups,
        density,
        colour,
        summed=summed,
        frequencies=frequencies,
        degree=degree,
        centre=centre,
        axes=axes,
        contraction=contraction,
        low=low,
        high=high,
        per_length=per_length,
        least_transmittance=least_transmittance,
        least_share=least_share,
        biases=biases,
        modulation=modulation,
        normed=normed,
        radial=radial,
        timed=timed,
    )
