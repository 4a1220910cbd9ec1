"""Domains: the maps to the unit cube and back."""

import math

import pytest
import torch

from polyfield.errors import PolyfieldError
from polyfield.fields import Domain

TURN = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
DOMAINS = [
    Domain("box", (0.0, 0.0, 0.0), (1.5, 1.5, 1.5)),
    Domain("box", (1.0, -2.0, 3.0), (0.5, 2.0, 4.0), TURN),
    Domain("contraction", (1.0, -2.0, 3.0), (2.0, 2.0, 2.0)),
    Domain("contraction", (0.0, 0.0, 5.0), (1.0, 2.0, 3.0), TURN),
]


@pytest.mark.parametrize("domain", DOMAINS)
def test_from_unit_undoes_to_unit(domain):
    x = domain.to_world(
        torch.randn(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    )
    torch.testing.assert_close(domain.from_unit(domain.to_unit(x)), x, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(domain.to_world(domain.to_local(x)), x)


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_centre_is_in_the_middle_and_turn_is_the_derivative(domain):
    centre = torch.tensor([domain.centre], dtype=torch.float64)
    torch.testing.assert_close(domain.to_unit(centre), torch.full((1, 3), 0.5, dtype=torch.float64))
    v = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(domain.to_local(centre + v) - domain.to_local(centre), domain.turn(v))


def test_a_box_ends_where_it_should():
    domain = DOMAINS[1]
    corner = domain.to_world(torch.tensor([[1.0, -1.0, 1.0]]))
    torch.testing.assert_close(domain.to_unit(corner), torch.tensor([[1.0, 0.0, 1.0]]))


def test_a_contraction_holds_all_of_space_and_is_continuous():
    domain = DOMAINS[2]
    far = torch.tensor([[1e7, -1e5, 3.0], [3.0, -2.0, 3.0]])
    unit = domain.to_unit(far)
    assert ((unit >= 0) & (unit <= 1)).all()
    assert unit[0, 0] > 0.999
    edge = torch.tensor([[2.0 - 1e-4, 0.0, 0.0], [2.0 + 1e-4, 0.0, 0.0]]) + torch.tensor(domain.centre)
    assert (domain.to_unit(edge)[0] - domain.to_unit(edge)[1]).abs().max() < 1e-4


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("ball", (0.0,), (1.0,)), "kind 'ball' is unknown"),
        (("box", (0.0, 0.0), (1.0,)), "centre has 2 numbers and half_size has 1"),
        (("box", (), ()), "expected both to have the same length, 1 to 4"),
        (("box", (0.0,), (0.0,)), "half_size is (0.0,); expected"),
        (("box", (math.nan,), (1.0,)), "centre is (nan,)"),
        (("box", (0.0, 0.0), (1.0, 1.0), ((1.0, 0.0), (1.0, 0.0))), "is not a 2 x 2 rotation"),
        (("box", (0.0, 0.0), (1.0, 1.0), ((1.0, 0.0),)), "is not a 2 x 2 rotation"),
    ],
)
def test_nonsense_is_refused(arguments, words):
    with pytest.raises(PolyfieldError, match="domain: ") as error:
        Domain(*arguments)
    assert words in str(error.value)
