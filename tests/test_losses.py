"""Losses as data: what terms say, what they compute, and what is refused."""

import json

import pytest
import torch

from polyfield.errors import PolyfieldError
from polyfield.fitting.losses import Term, check, distortion, entropy, huber, relative, squares, total
from polyfield.kernels import RaySamples


def rays(counts: list[int], seed: int = 0) -> tuple[RaySamples, torch.Tensor]:
    """Packed samples in double precision, sorted along each ray, with weights."""
    rng = torch.Generator().manual_seed(seed)
    ray = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    t = torch.cat([torch.rand(n, generator=rng, dtype=torch.float64).sort().values for n in counts])
    dt = torch.rand(len(t), generator=rng, dtype=torch.float64) * 0.1
    weights = torch.rand(len(t), generator=rng, dtype=torch.float64)
    return RaySamples.pack(t, dt, ray, len(counts)), weights


def slow_distortion(samples: RaySamples, weights: torch.Tensor) -> float:
    """Barron et al. 2022, equation 15, pair by pair."""
    sum_ = 0.0
    for i in range(len(weights)):
        sum_ += float(weights[i] ** 2 * samples.dt[i]) / 3
        for j in range(len(weights)):
            if samples.ray[i] == samples.ray[j]:
                sum_ += float(weights[i] * weights[j] * (samples.t[i] - samples.t[j]).abs())
    return sum_ / samples.rays


def test_distortion_is_its_formula_with_its_gradients():
    samples, weights = rays([5, 0, 1, 7])
    assert float(distortion(samples, weights)) == pytest.approx(slow_distortion(samples, weights), rel=1e-12)
    weights.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: distortion(samples, w), weights)


def test_distortion_of_no_samples_is_zero():
    samples, weights = rays([0, 0])
    assert float(distortion(samples, weights)) == 0
    empty = RaySamples.pack(weights, weights, torch.zeros(0, dtype=torch.int64), 0)
    assert float(distortion(empty, weights)) == 0


def test_measures_are_their_formulas():
    found, wanted = torch.tensor([[0.5], [-2.0]]), torch.tensor([[0.0], [1.0]])
    assert float(squares(found, wanted).mean()) == pytest.approx((0.25 + 9) / 2)
    assert float(huber(found, wanted, delta=1.0).mean()) == pytest.approx((0.125 + 2.5) / 2)
    assert float(relative(found, wanted).mean()) == pytest.approx((50**2 + (3 / 1.01) ** 2) / 2)
    probability = found.sigmoid()
    expected = -(wanted * probability.log() + (1 - wanted) * (1 - probability).log()).mean()
    assert float(entropy(found, wanted).mean()) == pytest.approx(float(expected), rel=1e-6)


def test_a_ramp_is_flat_outside_and_linear_between():
    term = Term("weights", "distortion", (0.2, 1.0, 0.6, 3.0))
    assert [term.weight_at(p) for p in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([1, 1, 2, 3, 3])
    step = Term("weights", "distortion", (0.5, 0.0, 0.5, 1.0))
    assert [step.weight_at(p) for p in (0.49, 0.51)] == [0.0, 1.0]


def test_the_total_is_the_weighted_sum():
    values = {"colour": (torch.tensor([0.5]), torch.tensor([0.0])), "weights": rays([4])}
    terms = (Term("colour", "squares", 2.0), Term("weights", "distortion", (0.0, 0.0, 1.0, 1.0)))
    expected = 2 * 0.25 + 0.25 * float(distortion(*values["weights"]))
    assert float(total(terms, values, 0.25)) == pytest.approx(expected)


def test_an_objective_refuses_parts_that_it_does_not_compare():
    check([Term("colour", "huber")], ["colour", "weights"])
    with pytest.raises(
        PolyfieldError,
        match="part 'features' cannot be used with this source; expected one of colour, weights",
    ):
        check([Term("colour", "huber"), Term("features", "squares")], ["colour", "weights"])
    with pytest.raises(PolyfieldError, match="found no terms"):
        check([], ["colour"])


@pytest.mark.parametrize("weight", [1.0, 0.5, (0.0, 1.0, 0.5, 0.1)])
def test_terms_are_plain_data(weight):
    term = Term("colour", "huber", weight, {"delta": 0.1})
    assert Term.from_json(json.loads(json.dumps(term.to_json()))) == term
    assert Term.from_json({"part": "raw", "measure": "squares"}) == Term("raw", "squares")


@pytest.mark.parametrize(
    "data, words",
    [
        ([], "expected an object with part and measure"),
        ({"part": "colour"}, "expected an object with part and measure"),
        ({"part": "colour", "measure": "huber", "wieght": 1}, "expected an object with part and measure"),
        ({"part": "smell", "measure": "huber"}, "part 'smell' is unknown; expected one of colour"),
        ({"part": "colour", "measure": "distortion"}, "measure 'distortion' of colour is unknown"),
        ({"part": "colour", "measure": "huber", "weight": "1"}, "weight of colour is '1'"),
        (
            {"part": "colour", "measure": "huber", "weight": [1, 2]},
            "(from, start, to, end)",
        ),
        ({"part": "colour", "measure": "huber", "weight": float("nan")}, "weight of colour is nan"),
        ({"part": "colour", "measure": "huber", "options": {"delta": "x"}}, "delta of huber is 'x'"),
        ({"part": "colour", "measure": "huber", "options": {"delta": -1}}, "delta of huber is -1"),
        ({"part": "colour", "measure": "huber", "options": []}, "expected an object of numbers"),
        (
            {"part": "raw", "measure": "squares", "options": {"delta": 3}},
            "'delta' of squares is unknown; expected none",
        ),
        (
            {"part": "raw", "measure": "squares", "weight": -1},
            "weight of raw is -1; expected a number of at least 0",
        ),
        (
            {"part": "raw", "measure": "squares", "weight": [0.5, 1, 0.2, 1]},
            "expected a number of at least 0, or a ramp, the tuple (from",
        ),
        (
            {"part": "raw", "measure": "squares", "weight": [0, -1, 1, 1]},
            "expected a number of at least 0, or a ramp, the tuple (from",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(data, words):
    with pytest.raises(PolyfieldError) as error:
        Term.from_json(data)
    assert words in str(error.value) and "\n" not in str(error.value)
