"""Randomness: the published answers, and that a number depends on its address alone."""

import pytest
import torch

from polyfield.kernels import random_bits, uniform, weighted
from polyfield.kernels.dispatch import offered
from polyfield.kernels.philox import philox


def block(counter, key):
    return tuple(int(word) for word in philox(tuple(torch.tensor([c]) for c in counter), key))


def test_known_answers():
    """The vectors that Random123 publishes for philox4x32-10."""
    ones = 0xFFFFFFFF
    assert block((0, 0, 0, 0), (0, 0)) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert block((ones,) * 4, (ones, ones)) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)
    assert block((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)) == (
        0xD16CFE09,
        0x94FDCCEB,
        0x5001E420,
        0x24126EA1,
    )


def test_fast_forms_know_the_first_answer(fast_form):
    draw = offered("random_bits", torch.empty(0))
    assert draw
    first = draw(4, seed=0, name=0, step=0, device="cpu").long() & 0xFFFFFFFF
    assert first.tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, (1 << 15) - 1, 1 << 15, (1 << 16) + 7])
@pytest.mark.parametrize("seed, step", [(0, 0), (123, 1), (-5, 7), ((1 << 40) + 3, (1 << 33) + 9)])
def test_numbers_are_the_references(fast_form, monkeypatch, count, seed, step):
    found = [draw((count,), seed=seed, stream="stream", step=step) for draw in (random_bits, uniform)]
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    reference = [draw((count,), seed=seed, stream="stream", step=step) for draw in (random_bits, uniform)]
    for ours, theirs in zip(found, reference):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def test_a_longer_draw_begins_with_the_shorter(form):
    short, long = (uniform((n,), seed=3, stream="a", step=9) for n in (5, 500))
    assert torch.equal(short, long[:5])


def test_every_part_of_the_address_counts(form):
    base = {"seed": 1, "stream": "a", "step": 1}
    draws = [
        random_bits((8,), **{**base, **change}) for change in ({}, {"seed": 2}, {"stream": "b"}, {"step": 2})
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(draws) for b in draws[:i])


def test_uniform_fills_the_unit_interval_evenly(form):
    numbers = uniform((100_000,), seed=0, stream="test")
    assert 0 <= numbers.min() and numbers.max() < 1
    counts = torch.histc(numbers, 20, 0, 1)
    assert (counts - 5000).abs().max() < 350  # five standard deviations


def test_rows_are_drawn_as_often_as_their_weights_say(form):
    weights = torch.tensor([0, 1, 50, 255, 0, 100], dtype=torch.uint8).repeat(3)
    index, found = weighted(weights, 60_000, mean=float(weights.float().mean()), seed=2, stream="rows")
    assert torch.equal(found, weights[index])
    expected = weights / weights.sum() * len(index)
    assert ((torch.bincount(index, minlength=len(weights)) - expected).abs() <= 5 * expected.sqrt()).all()


@pytest.mark.parametrize("count", [1, 100, 5001])
def test_draws_by_weight_are_the_references(fast_form, monkeypatch, count):
    weights = torch.randint(256, (100_003,), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    drawn = []
    for mean in (
        float(weights.float().mean()),
        1e4,
    ):  # with the second too few are tried, and those accepted come again
        drawn.append(weighted(weights, count, mean=mean, seed=-3, stream="a", step=1 << 34))
    monkeypatch.setenv("POLYFIELD_KERNELS", "reference")
    for mean, found in zip((float(weights.float().mean()), 1e4), drawn, strict=True):
        reference = weighted(weights, count, mean=mean, seed=-3, stream="a", step=1 << 34)
        assert all(torch.equal(a, b) for a, b in zip(found, reference, strict=True))
