"""The operations as the rest of polyfield calls them: what they compute, and nothing of how.

Every one but `gather` takes an optional leading bank axis B: many small fields at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from polyfield.kernels import checks
from polyfield.kernels.checks import Groups
from polyfield.kernels.dispatch import implementation, offered
from polyfield.kernels.levels import Levels
from polyfield.kernels.samples import RaySamples


class Composite(NamedTuple):
    """What volume rendering gives for R rays of C samples."""

    colour: Tensor  # (R, 3) without background
    opacity: Tensor  # (R,) in [0, 1]
    depth: Tensor  # (R,) sum of weight times distance; divide by opacity for the expected distance
    weights: Tensor  # (C,) share of its sample in the ray's colour


def interpolate(table: Tensor, points: Tensor, levels: Levels) -> Tensor:
    """Multilinear look-up in every level of a table: (N, L * F), level by level.

    table ([B,] E, F) with E = levels.entries; points ([B,] N, D) in the unit cube, outside of which they clamp.
    Differentiable in table and points.
    """
    checks.interpolate(table, points, levels)
    return implementation("interpolate", table, points)(table, points, levels)


def mlp(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor] | None = None, *, sine: bool = False
) -> Tensor:
    """A fully connected network with ReLU, or sine, between its layers and nothing after the last.

    x ([B,] N, I), weights ([B,] out, in) of each layer, biases ([B,] out) or None. Returns ([B,] N, O).
    Differentiable in all of them.
    """
    checks.mlp(x, weights, biases)
    return implementation("mlp", x, *weights, *(biases or ()))(x, weights, biases, sine=sine)


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
    """Samples of rays in occupied cells, on a lattice of distances whose step grows as cone * t once that is larger.

    origins, directions ([B,] R, 3) in a frame where cascade k of occupancy ([B,] K, G, G, G) bool, indexed
    [k, z, y, x], covers [-2^k, 2^k]^3; a point belongs to the smallest cascade that holds it, and beyond the last
    there is nothing. near, far, jitter ([B,] R); jitter in [0, 1) shifts a ray's samples by that share of a step.
    With a bank the rays of the result are numbered b * R + r. Not differentiable.

    Samples stand at t(i + jitter) for the whole numbers i that put them from near up to far, and dt spans half a step
    to both sides, where t(u) = step * u up to u = 1 / cone and (step / cone) * exp(cone * u - 1) beyond. So a part of a
    ray has the samples that the whole ray has there.
    """
    checks.march(origins, directions, near, far, occupancy, step=step, cone=cone, jitter=jitter)
    return implementation("march", origins, directions, near, far, jitter)(
        origins, directions, near, far, occupancy, step=step, cone=cone, jitter=jitter
    )


def transmittance(samples: RaySamples, density: Tensor) -> Tensor:
    """What share of light reaches each sample: T_i = exp(-sum_{j < i} density_j dt_j) along its ray. (C,)."""
    checks.samples("transmittance", samples, density)
    return implementation("transmittance", density, samples.dt)(samples, density)


def composite(samples: RaySamples, density: Tensor, colour: Tensor) -> Composite:
    """Volume rendering by quadrature (Max 1995): w_i = T_i (1 - exp(-density_i dt_i)).

    density (C,) >= 0 per unit of distance, colour (C, 3). Differentiable in both. Samples are packed, so those of a
    bank need no axis of their own.
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
    """One step of Adam (Kingma and Ba 2015) in place on tensors of one shape.

    mean and square are the running moments, `step` counts from 1, `decay` adds decay * parameter to the gradient.
    With `sparse`, numbers whose gradient is zero stay as they are, and so do their moments: a step then costs what it
    touches (Mueller et al. 2022, appendix). `half`, of the same shape and float16, is a copy that follows.
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


def gather(parts: Sequence[Tensor], index: Tensor) -> Tensor:
    """Rows index (R,) int64 of tensors (N_k, ...) as if they stood one behind the other in one: (R, ...).

    Photographs are large, and pixels drawn from them are in no cache.
    """
    checks.gather(parts, index)
    return implementation("gather", index)(parts, index)


class FusedRadiance(Protocol):
    """A radiance field whose training step and pictures are one call each.

    rays are origins, directions (R, 3) in the world, of unit length, and jitter (R,); near, from where on they are
    sampled; and march's step and cone. occupied (K, G, G, G) bool is in the domain's local frame, and where it ends
    rays do.
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
        """Huber loss of the rays' colours on background (R, 3) against premultiplied RGBA target (R, 4).

        Returns loss (the mean), evaluated, shaded (samples) and finite (whether the gradients are); the rays' squared
        errors (R,), mean over the channels; and the gradients to the tables and the weights, density network first,
        which are the same memory at every call.

        steps are `adam`'s arguments beside parameter, gradient and half, for every table and every layer in the same
        order: if there are samples, and loss and gradients are finite, all of them and their moments move at once. No
        gradients are returned then.
        """

    halves: Sequence[
        Tensor
    ]  # (E, F) each, float16, tables as the kernel reads them: who changes a table changes it too

    def refresh(self) -> None:
        """Make `halves` anew from the tables."""

    def density(self, points: Tensor) -> Tensor:
        """Densities (N,) at points (N, 3) of the domain's local frame."""

    def render(self, rays: dict[str, Any], occupied: Tensor) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        """evaluated and shaded, colour (R, 3) without background, opacity (R,), sum of weight times distance (R,)."""


@runtime_checkable
class QueuedRadiance(FusedRadiance, Protocol):
    """One that the host need not wait for: shapes are fixed, and what they hold is known on the device alone."""

    def queue(
        self,
        rays: dict[str, Any],
        occupied: Tensor,
        *,
        target: Tensor,
        background: Tensor,
        huber: float,
        live: Tensor,
        room: tuple[int, int] | None = None,
        steps: Sequence[Mapping[str, Any]] = (),
        deterministic: bool = False,
    ) -> tuple[dict[str, Tensor], Tensor, list[Tensor]]:
        """As `train`, of the first `live` rays (1,) int64, the others having no part in anything.

        There is room for so many samples evaluated and shaded; if there are more, the last of the rays have no part
        either. Without it there is room for all, but the host waits. Figures, each (1,), are those of `train`, rays: how many had a
        part, and moved: whether parameters did. learning_rate and step, this one float64, may be tensors (1,) in steps.
        Where it is deterministic, gradients are summed in fixed point, so the same bytes come from the same bytes.
        """

    def queue_picture(
        self, rays: dict[str, Any], occupied: Tensor, *, live: Tensor, room: tuple[int, int] | None = None
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
        """As `render`, of the first `live` rays, with room as in `queue`. Figures say as well which rays had a part."""


def fused_radiance(
    groups: Groups,
    density: Sequence[Tensor],
    colour: Sequence[Tensor],
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
) -> FusedRadiance | None:
    """The field as one kernel, or None where the form in use has none that fits it.

    Each group's code is the product, or the sum if summed, of its factors' codes, interpolate(table, unit[:, axes],
    levels) with table (E, F) for a factor (table, levels, axes); groups' codes stand side by side, and behind
    them, with frequencies, p, sin(2^k pi p) and cos(2^k pi p) for k < frequencies, of p = 2 unit - 1. Then there are weights
    of the density network (codes -> latent) and of the colour network (latent and the direction's degree^2 spherical
    harmonics -> 3), each (out, in). A world point x is at p = axes (x - centre), centre (3,) and
    axes (3, 3), in the domain's local frame. Its unit coordinates are (p + 1) / 2, or those of `Domain`'s contraction;
    density is
    exp(clamp(latent_0, low, high)) * per_length. Samples that less than least_transmittance of the light reaches
    are left out, and so are those that weigh less than least_share of their ray's mean, though they take light away
    from what lies behind.
    """
    checks.fused_radiance(groups, frequencies, density, colour, degree, centre, axes)
    make = offered("fused_radiance", *(table for group in groups for table, _, _ in group), *density, *colour)
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
    )
