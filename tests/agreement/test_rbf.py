"""Radial basis functions: the search for centres and the sums of kernels, in every form, against plain loops."""

import numpy as np
import pytest
import torch
from agreement import cases
from agreement.test_agreement import assert_gradients_agree

from polyfield.errors import PolyfieldError
from polyfield.kernels import Levels, Tree, interpolate, nearest, rbf, tree_order
from polyfield.kernels import reference as definition


def tree_of(points: torch.Tensor) -> Tree:
    return Tree.of(points[tree_order(points)])


def clumps(count: int, axes: int) -> torch.Tensor:
    """Half of them anywhere, half close together."""
    rng = cases.generator(count)
    points = torch.rand(count, axes, generator=rng)
    points[count // 2 :] = 0.3 + 0.01 * points[count // 2 :]
    return points


@pytest.mark.parametrize("axes", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "count, wanted",
    [(1, 1), (7, 7), (8, 3), (9, 4), (20, 4), (60, 8), (200, 8), (400, 16), (1000, 8), (4097, 16)],
)
def test_the_nearest_are_those_of_all_distances(form, axes, count, wanted):
    tree = tree_of(clumps(count, axes))
    points = torch.cat((torch.rand(90, axes, generator=cases.generator(1)) * 1.4 - 0.2, tree.points[:9]))
    found = nearest(tree, points, wanted).long()
    distances = (points.double()[:, None] - tree.points.double()).norm(dim=-1)
    expected = distances.sort(1).values[:, :wanted]
    torch.testing.assert_close(distances.gather(1, found), expected, atol=1e-6, rtol=1e-6)
    assert all(len(set(row)) == wanted for row in found.tolist())
    assert nearest(tree, points[:0], wanted).shape == (0, wanted)


@pytest.mark.parametrize("count", [1, 8, 9, 100])
def test_a_tree_holds_every_point_once(count):
    points = clumps(count, 3)
    order = tree_order(points)
    assert sorted(order.tolist()) == list(range(count))
    tree = Tree.of(points[order])
    boxes = tree.boxes.permute(0, 3, 1, 2).flatten(0, 1)
    for branch in range(1, 2 * len(tree.leaves)):
        low, high = branch, branch
        while low < len(tree.leaves):
            low, high = 2 * low, 2 * high + 1
        leaves = tree.leaves[low - len(tree.leaves) : high + 1 - len(tree.leaves)].mT.reshape(-1, 3)
        inside = leaves[torch.isfinite(leaves[:, 0])]
        if len(inside):
            torch.testing.assert_close(boxes[branch], torch.stack((inside.amin(0), inside.amax(0))))


def kernels(count: int, axes: int, features: int, numbers: int):
    rng = cases.generator(count + features)
    centres = clumps(count, axes)
    centres = centres[tree_order(centres)]
    weights = torch.randn(count, features, generator=rng)
    shapes = torch.rand(count, numbers, generator=rng) * 3 + 1
    multipliers = 2.0 ** torch.linspace(-3, 5, features)
    return weights, centres, shapes, multipliers


def loops(weights, points, neighbours, centres, shapes, multipliers, linear):
    out = np.zeros((len(points), weights.shape[1]))
    axes = points.shape[1]
    for n, x in enumerate(points):
        heights = []
        for i in neighbours[n]:
            matrix = np.eye(axes) * shapes[i][0]
            if shapes.shape[1] > 1:
                matrix[np.triu_indices(axes)] = shapes[i]
            y = matrix @ (x - centres[i])
            heights.append(np.prod(np.maximum(0, 1 - np.abs(y))) if linear else 1 / (1 + y @ y))
        shares = np.array(heights) / (sum(heights) + 1e-8)
        for share, i in zip(shares, neighbours[n]):
            out[n] += (share if multipliers is None else np.sin(share * multipliers)) * weights[i]
    return out


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("waves", [False, True])
@pytest.mark.parametrize(
    "axes, features, full", [(2, 32, True), (3, 16, True), (3, 5, False), (1, 19, False)]
)
def test_sums_of_kernels(form, axes, features, full, waves, linear):
    numbers = axes * (axes + 1) // 2 if full else 1
    weights, centres, shapes, multipliers = kernels(50, axes, features, numbers)
    m = multipliers if waves else None
    points = torch.rand(70, axes, generator=cases.generator(2))
    neighbours = nearest(Tree.of(centres), points, 1 << axes)
    found = rbf(weights, points, neighbours, centres, shapes, m, linear=linear)
    doubles = [x.double().numpy() for x in (weights, points)]
    structure = [None if x is None else x.double().numpy() for x in (centres, shapes, m)]
    expected = loops(*doubles, neighbours.numpy(), *structure, linear)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5, rtol=1e-4)
    m64 = None if m is None else m.double()
    assert_gradients_agree(
        lambda w, x: rbf(w, x, neighbours, centres, shapes, m, linear=linear),
        lambda w, x: definition.rbf(w, x, neighbours, centres.double(), shapes.double(), m64, linear=linear),
        [weights, points],
        tolerance=2e-4,
    )
    assert rbf(weights, points[:0], neighbours[:0], centres, shapes, m, linear=linear).shape == (0, features)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_linear_kernels_on_a_lattice_are_multilinear_interpolation(form, axes):
    """NeuRBF, equation 1."""
    nodes = 5
    levels = Levels(((nodes,) * axes,), nodes**axes)
    table = torch.randn(levels.entries, 4, generator=cases.generator(3))
    grid = torch.meshgrid(*[torch.arange(nodes)] * axes, indexing="ij")
    centres = torch.stack(grid[::-1], -1).reshape(-1, axes) / (nodes - 1)
    order = tree_order(centres)
    points = torch.rand(200, axes, generator=cases.generator(4))
    # The corners of a cell are not always the nearest nodes, so the kernels are those that reach a point.
    reached = ((points[:, None] - centres[order]).abs() * (nodes - 1)).amax(-1) < 1
    neighbours = reached.int().topk(1 << axes).indices.int()
    shapes = torch.full((len(centres), 1), float(nodes - 1))
    found = rbf(table[: nodes**axes][order], points, neighbours, centres[order], shapes, linear=True)
    torch.testing.assert_close(found, interpolate(table, points, levels), atol=2e-6, rtol=1e-5)


def test_the_order_of_kernels_and_a_common_rotation_do_not_matter(form):
    weights, centres, shapes, multipliers = kernels(60, 2, 8, 1)
    points = torch.rand(40, 2, generator=cases.generator(5))

    def sums(order, turn):
        own = (centres @ turn.T)[order]
        x = points @ turn.T
        return rbf(weights[order], x, nearest(Tree.of(own), x, 4), own, shapes[order], multipliers)

    straight, quarter = torch.eye(2), torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    expected = sums(torch.arange(60), straight)
    torch.testing.assert_close(sums(torch.arange(59, -1, -1), straight), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sums(torch.arange(60), quarter), expected, atol=1e-3, rtol=1e-3)


def test_heights_at_the_centre_and_one_width_away(form):
    """A kernel alone, beside one whose height is 1 everywhere: shares tell its height."""
    centres = torch.tensor([[0.5, 0.5], [0.4, 0.4]])
    shapes, weights = torch.tensor([[4.0], [0.0]]), torch.tensor([[1.0], [0.0]])
    points = torch.tensor([[0.5, 0.5], [0.75, 0.5], [0.625, 0.5]])
    both = torch.tensor([[0, 1]] * 3, dtype=torch.int32)
    for linear, heights in ((False, [1.0, 0.5, 0.8]), (True, [1.0, 0.0, 0.5])):
        shares = rbf(weights, points, both, centres, shapes, linear=linear)[:, 0]
        expected = torch.tensor(heights) / (torch.tensor(heights) + 1)
        torch.testing.assert_close(shares, expected, atol=1e-6, rtol=1e-6)


def test_wrong_shapes_are_refused():
    weights, centres, shapes, multipliers = kernels(20, 2, 4, 3)
    points, tree = torch.rand(5, 2), Tree.of(centres)
    neighbours = nearest(tree, points, 4)
    for wrong in (
        lambda: nearest(tree, torch.rand(5, 3), 4),
        lambda: nearest(tree, points, 21),
        lambda: nearest(tree, points, 0),
        lambda: rbf(weights, points, neighbours.long(), centres, shapes),
        lambda: rbf(weights, points, neighbours + 20, centres, shapes),
        lambda: rbf(weights, points, neighbours, centres, shapes[:, :2]),
        lambda: rbf(weights, points, neighbours, centres, shapes, multipliers[:3]),
        lambda: rbf(weights[:10], points, neighbours, centres, shapes),
    ):
        with pytest.raises(PolyfieldError):
            wrong()


def test_bytes_do_not_depend_on_threads(native_form):
    from polyfield import _core

    weights, centres, shapes, multipliers = kernels(500, 3, 16, 6)
    points = torch.rand(3000, 3, generator=cases.generator(6))

    def results():
        leaf, x = weights.clone().requires_grad_(), points.clone().requires_grad_()
        found = rbf(leaf, x, nearest(Tree.of(centres), points, 8), centres, shapes, multipliers)
        found.square().sum().backward()
        return found.detach(), leaf.grad, x.grad

    _core.set_threads(1)
    alone = results()
    _core.set_threads(3)
    assert all(torch.equal(a, b) for a, b in zip(alone, results()))
