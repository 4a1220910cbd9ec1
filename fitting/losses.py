"""Losses as data: terms that name what is compared, by which measure, and with what weight."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, huber_loss

from polyfield.errors import PolyfieldError
from polyfield.kernels import RaySamples

HUBER_DELTA = 0.3
_ANY_SIGN = ("low", "high")  # options that need not be above 0
_NEAR = 0.01  # of the domain's size, added to distances: errors near the surface would dominate without it


def squares(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the squared error of each number."""
    return (found - wanted).square()


def huber(found: Tensor, wanted: Tensor, *, delta: float = HUBER_DELTA) -> Tensor:
    """Return the Huber loss of each number (Huber 1964): squares below delta, linear above."""
    return huber_loss(found, wanted, delta=delta, reduction="none")


def relative(found: Tensor, wanted: Tensor) -> Tensor:
    """Return (error / (|wanted| + 0.01))^2 of each number, for distances in units of the domain's size.

    Mueller et al. 2022, section 5.2, use the absolute value instead of the square. That favours fields that are flat
    near the surface, and so have noisy normals.
    """
    return ((found - wanted) / (wanted.abs() + _NEAR)).square()


def entropy(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the binary cross entropy of each logit against its probability."""
    return binary_cross_entropy_with_logits(found, wanted, reduction="none")


def clamped(found: Tensor, wanted: Tensor, *, low: float = -5.0, high: float = 8.0) -> Tensor:
    """Return the squared errors of values clamped to [low, high]; gradients pass the clamp unchanged.

    Fang et al. 2023 (PVD), section 4.3, compare log densities like this: below `low` all is empty, above `high` all is opaque.
    """
    held = found + (found.clamp(low, high) - found).detach()
    return (held - wanted.clamp(low, high)).square()


def distortion(samples: RaySamples, weights: Tensor) -> Tensor:
    """Return the mean distortion over R rays of packed samples (C,) with weights (C,).

    Of each ray: sum_ij w_i w_j |t_i - t_j| + sum_i w_i^2 dt_i / 3, in the unit of t (Barron et al. 2022, equation 15).
    It is least where a ray's weight is in one short interval. Linear in C, by running sums along each ray.
    """
    if not samples.rays:
        return weights.sum()

    def before(values: Tensor) -> Tensor:
        """Return the sum of the values of earlier samples on the same ray (C,)."""
        sums = torch.cat((values.new_zeros(1), values.double().cumsum(0)))
        return (sums[:-1] - sums[samples.offsets][samples.ray]).to(values)

    weighted_t = weights * samples.t
    apart = 2 * (weighted_t * before(weights) - weights * before(weighted_t)).sum()
    return (apart + (weights.square() * samples.dt).sum() / 3) / samples.rays


# Measures of each part of a loss, by name. The parts: "colour" of rays or points; "raw", a field's values before their
# transform; "features", what its head takes; "weights", the samples on rays with their volume rendering weights.
_COMPARISONS: dict[str, Callable[..., Tensor]] = {
    "squares": squares,
    "huber": huber,
    "relative": relative,
    "entropy": entropy,
    "clamped": clamped,
}
MEASURES: dict[str, dict[str, Callable[..., Tensor]]] = {
    "colour": _COMPARISONS,
    "raw": _COMPARISONS,
    "features": _COMPARISONS,
    "weights": {"distortion": distortion},
}


@dataclass(frozen=True)
class Term:
    """One term of a loss. Raises PolyfieldError if the part, the measure or an option is unknown,
    or a value is out of range.

    A weight is a number, or a ramp (from, start, to, end): `start` up to progress `from`, `end` from progress `to` on,
    linear between.

    >>> Term("weights", "distortion", (0.0, 0.0, 0.5, 0.01)).weight_at(0.25)
    0.005
    """

    part: str
    measure: str
    weight: float | tuple[float, float, float, float] = 1.0
    options: dict[str, float] = field(default_factory=dict)  # of the measure

    def __post_init__(self) -> None:
        if self.part not in MEASURES:
            raise PolyfieldError(
                f"loss: part {self.part!r:.80} is unknown; expected one of {', '.join(MEASURES)}"
            )
        if self.measure not in MEASURES[self.part]:
            raise PolyfieldError(
                f"loss: measure {self.measure!r:.80} of {self.part} is unknown; "
                f"expected one of {', '.join(MEASURES[self.part])}"
            )
        known = _defaults(self.part, self.measure)
        for name, value in self.options.items():
            if name not in known:
                raise PolyfieldError(
                    f"loss: option {name!r:.80} of {self.measure} is unknown; expected {', '.join(known) or 'none'}"
                )
            if not (_finite(value) and (value > 0 or name in _ANY_SIGN)):
                expected = "a finite number" if name in _ANY_SIGN else "a finite number above 0"
                raise PolyfieldError(
                    f"loss: option {name} of {self.measure} is {value!r:.80}; expected {expected}"
                )
        weight: Any = self.weight
        if not (_is_ramp(weight) if isinstance(weight, tuple) else _finite(weight) and weight >= 0):
            raise PolyfieldError(
                f"loss: weight of {self.part} is {self.weight!r:.80}; expected a number of at least 0, or a ramp, "
                "the tuple (from, start, to, end): from the share `from` of the fit to the share `to`, the weight changes linearly "
                "from `start` to `end`, with 0 <= from <= to <= 1, and start and end of at least 0"
            )

    def weight_at(self, progress: float) -> float:
        """Return the weight at this progress in [0, 1]."""
        if not isinstance(self.weight, tuple):
            return self.weight
        since, start, until, end = self.weight
        share = min(max((progress - since) / max(until - since, 1e-9), 0.0), 1.0)
        return start + (end - start) * share

    @property
    def settings(self) -> dict[str, float]:
        """The measure's options, those that are not given with their defaults."""
        return _defaults(self.part, self.measure) | self.options

    def __call__(self, *values: Any) -> Tensor:
        """Return the mean of the measure, without the weight."""
        return MEASURES[self.part][self.measure](*values, **self.options).mean()

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` takes back."""
        weight = list(self.weight) if isinstance(self.weight, tuple) else self.weight
        return {"part": self.part, "measure": self.measure, "weight": weight, "options": dict(self.options)}

    @staticmethod
    def from_json(data: Any) -> Term:
        """Return the term of data as `to_json` writes it; weight and options may be absent.

        Raises PolyfieldError for any other data.
        """
        match data:
            case {"part": str(part), "measure": str(measure), **rest} if rest.keys() <= {"weight", "options"}:
                pass
            case _:
                raise PolyfieldError(
                    f"loss: found {data!r:.200}; expected an object with part and measure, and optionally weight and options"
                )
        weight: Any = rest.get("weight", 1.0)
        options: Any = rest.get("options", {})
        if not isinstance(options, dict):
            raise PolyfieldError(
                f'loss: options of {part} are {options!r:.200}; expected an object of numbers, such as {{"delta": 0.3}}'
            )
        return Term(part, measure, tuple(weight) if isinstance(weight, list) else weight, options)


def _defaults(part: str, measure: str) -> dict[str, float]:
    """Return the options of a measure with their defaults."""
    parameters = inspect.signature(MEASURES[part][measure]).parameters.items()
    return {name: found.default for name, found in parameters if found.kind is found.KEYWORD_ONLY}


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_ramp(weight: Any) -> bool:
    return (
        len(weight) == 4
        and all(map(_finite, weight))
        and 0 <= weight[0] <= weight[2] <= 1
        and min(weight[1], weight[3]) >= 0
    )


def check(terms: Sequence[Term], parts: Sequence[str]) -> None:
    """Raise PolyfieldError if there are no terms, or the part of a term is not in `parts`."""
    if not terms:
        raise PolyfieldError("loss: found no terms; expected at least one")
    for term in terms:
        if term.part not in parts:
            raise PolyfieldError(
                f"loss: part {term.part!r} cannot be used with this source; expected one of {', '.join(parts)}"
            )


def total(terms: Sequence[Term], values: dict[str, tuple[Any, ...]], progress: float) -> Tensor:
    """Return the weighted sum of the terms, each applied to the values of its part."""
    found: Tensor | None = None
    for term in terms:
        value = term(*values[term.part]) * term.weight_at(progress)
        found = value if found is None else found + value
    assert found is not None
    return found
