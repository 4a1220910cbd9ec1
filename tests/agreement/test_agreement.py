"""Every form of every operation against loops over single numbers, and its gradients against double precision."""

import functools

import numpy as np
import pytest
import torch
from agreement import cases, oracles

from polyfield.kernels import (
    RaySamples,
    adam,
    composite,
    gather,
    interpolate,
    march,
    mlp,
    muon,
    transmittance,
)
from polyfield.kernels import reference as definition


def weighted_gradients(operation, inputs):
    """Gradients of a random weighting of the outputs."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    out = operation(*leaves)
    weights = torch.randn(out.shape, generator=cases.generator(1)).to(out.dtype)
    return torch.autograd.grad((out * weights).sum(), leaves)


def assert_gradients_agree(operation, double, inputs, *, tolerance=2e-5) -> None:
    """In single precision against the definition in double."""
    exact = weighted_gradients(double, [x.double() for x in inputs])
    assert_near(weighted_gradients(operation, inputs), exact, tolerance)


def assert_near(found, exact, tolerance) -> None:
    for single, double in zip(found, exact, strict=True):
        scale = max(float(double.abs().max()) if double.numel() else 0.0, 1e-6)
        torch.testing.assert_close(single.double(), double, atol=tolerance * scale, rtol=tolerance)


@pytest.mark.parametrize("case", cases.INTERPOLATE.values(), ids=list(cases.INTERPOLATE))
def test_interpolate(form, case):
    levels, count, features, bank = case
    table, points = cases.interpolate_inputs(*case)
    found = interpolate(table, points, levels)
    tables, clouds = (table, points) if bank else (table[None], points[None])
    expected = np.stack([oracles.interpolate(t.numpy(), p.numpy(), levels) for t, p in zip(tables, clouds)])
    assert found.shape == (*table.shape[:-2], count, levels.count * features)
    np.testing.assert_allclose(found.reshape(expected.shape).numpy(), expected, atol=2e-5)
    assert_gradients_agree(
        lambda t: interpolate(t, points, levels),
        lambda t: definition.interpolate(t, points.double(), levels),
        [table],
    )
    inner = points * 0.96 + 0.017  # off the nodes, where the gradient to points jumps
    assert_gradients_agree(
        lambda p: interpolate(table, p, levels),
        lambda p: definition.interpolate(table.double(), p, levels),
        [inner],
        tolerance=2e-4,
    )


@functools.cache
def exact_of_many(name):
    """Points and a table, and the definition's values and gradients in double precision."""
    levels, features = cases.MANY[name]
    inputs = [torch.randn(levels.entries, features, generator=cases.generator(6)), cases.many_points(levels)]
    doubles = [x.double() for x in inputs]
    values = definition.interpolate(*doubles, levels)
    return (
        levels,
        inputs,
        values,
        weighted_gradients(lambda t, p: definition.interpolate(t, p, levels), doubles),
    )


@pytest.mark.parametrize("name", cases.MANY)
def test_interpolate_of_many_points(form, name):
    """More than one task's."""
    levels, inputs, values, gradients = exact_of_many(name)
    torch.testing.assert_close(interpolate(*inputs, levels).double(), values, atol=5e-5, rtol=1e-5)
    assert_near(weighted_gradients(lambda t, p: interpolate(t, p, levels), inputs), gradients, 1e-4)


def test_interpolate_is_exact_on_linear_functions(form):
    """Dense levels filled with a linear function give it back everywhere."""
    levels = cases.LEVELS["dense"]
    slope = torch.tensor([0.3, -1.2, 0.7])
    table = torch.full((levels.entries, 1), torch.nan)  # what lies between the levels is not read
    for (nx, ny, nz), first, size in zip(levels.resolutions, levels.offsets, levels.sizes):
        z, y, x = torch.meshgrid(*(torch.linspace(0, 1, n) for n in (nz, ny, nx)), indexing="ij")
        table[first : first + size, 0] = (torch.stack((x, y, z), -1) @ slope).flatten()
    points = torch.rand(100, 3, generator=cases.generator(3))
    found = interpolate(table, points, levels)
    torch.testing.assert_close(found, (points @ slope)[:, None].expand(-1, 3), atol=1e-6, rtol=1e-5)


def parts():
    """Of several sizes, one of them empty, and rows of all of them in no order."""
    sizes = (3, 0, 700, 1, 40)
    index = torch.randint(sum(sizes), (5000,), generator=cases.generator(7))
    return sizes, torch.cat((index, torch.tensor([0, 2, 3, 702, 703, 704, 743])))


@pytest.mark.parametrize("shape, dtype", [((), torch.uint8), ((4,), torch.int16), ((3, 5), torch.float32)])
def test_gather(form, shape, dtype):
    sizes, index = parts()
    whole = torch.randint(200, (sum(sizes), *shape), generator=cases.generator(8)).to(dtype)
    found = gather(list(whole.split(sizes)), index)
    assert found.dtype == dtype and torch.equal(found, whole[index])
    assert gather(list(whole.split(sizes)), index[:0]).shape == (0, *shape)


@pytest.mark.parametrize("case", cases.MLP.values(), ids=list(cases.MLP))
def test_mlp(form, case):
    sine = case[-1]
    x, weights, biases = cases.mlp_inputs(*case[:-1])
    expected = x.double()
    for layer, weight in enumerate(weights):
        expected = torch.einsum("...ni,...oi->...no", expected, weight.double())
        expected = expected if biases is None else expected + biases[layer].double()[..., None, :]
        if layer < len(weights) - 1:
            expected = expected.sin() if sine else expected.clamp(min=0)
    torch.testing.assert_close(mlp(x, weights, biases, sine=sine).double(), expected, atol=1e-5, rtol=1e-4)
    flat = [x, *weights, *(biases or [])]

    def run(operation, given):
        split = 1 + len(weights)
        return operation(given[0], given[1:split], given[split:] or None, sine=sine)

    assert_gradients_agree(lambda *g: run(mlp, g), lambda *g: run(definition.mlp, g), flat, tolerance=1e-4)


@pytest.mark.parametrize(
    "sizes, bank",
    [((5, 16, 16, 3), None), ((3, 20, 20, 20, 2), 2), ((19, 130, 4), None), ((4, 1, 1, 2), None)],
)
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("sine", [False, True])
def test_modulated_mlp(form, sizes, bank, each, normed, sine):
    """Hidden layers are scaled and shifted at each point, after their norm; gradients reach the numbers too."""
    x, weights, biases = cases.mlp_inputs(sizes, 397, True, bank)
    hidden, lead = len(weights) - 1, () if bank is None else (bank,)
    numbers = (*lead, 397, hidden, 2, sizes[1] if each else 1)
    modulation = torch.randn(numbers, generator=cases.generator(3)) / 2
    expected = x.double()
    for layer, (weight, bias) in enumerate(zip(weights, biases)):
        expected = torch.einsum("...ni,...oi->...no", expected, weight.double()) + bias.double()[..., None, :]
        if layer < hidden:
            if normed:
                centred = expected - expected.mean(-1, keepdim=True)
                expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            expected = (1 + modulation[..., layer, 0, :].double()) * expected + modulation[..., layer, 1, :]
            expected = expected.sin() if sine else expected.clamp(min=0)
    flat = [x, modulation, *weights, *biases]

    def run(operation, given):
        (x, modulation), layers = given[:2], given[2:]
        split = len(weights)
        return operation(x, layers[:split], layers[split:], sine=sine, modulation=modulation, normed=normed)

    torch.testing.assert_close(run(mlp, flat).double(), expected, atol=2e-5, rtol=1e-4)
    assert_gradients_agree(lambda *g: run(mlp, g), lambda *g: run(definition.mlp, g), flat, tolerance=2e-4)


def test_sine_of_large_numbers(form):
    """As SIREN's first layers have them: the sine is that of the very number, whole turns away."""
    x = torch.cat((torch.linspace(-2000, 2000, 10_001), torch.linspace(-4, 4, 1001)))[:, None]
    out = mlp(x, [torch.ones(1, 1), torch.ones(1, 1)], sine=True)
    torch.testing.assert_close(out.double(), x.double().sin(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("sine", [False, True])
@pytest.mark.parametrize("modulated", [False, True])
def test_mlp_lets_numbers_that_are_none_through(form, sine, modulated):
    x = torch.zeros(40, 3)
    x[7, 1] = float("nan")
    modulation = torch.zeros(40, 1, 2, 1) if modulated else None
    out = mlp(x, [torch.ones(20, 3), torch.ones(2, 20)], sine=sine, modulation=modulation, normed=modulated)
    assert out[7].isnan().all() and not out[:7].isnan().any() and not out[8:].isnan().any()


@pytest.mark.parametrize("case", cases.MARCH.values(), ids=list(cases.MARCH))
def test_march(form, case):
    origins, directions, near, far, occupancy, options = cases.march_inputs(*case)
    found = march(origins, directions, near, far, occupancy, **options)
    bank = case[-1]
    arrays = [x.double().numpy() for x in (origins, directions, near, far)]
    jitter = options["jitter"].double().numpy()
    expected = []
    for b in range(bank or 1):
        of_bank = [x[b] if bank else x for x in arrays]
        cells = occupancy[b] if bank else occupancy
        shift = jitter[b] if bank else jitter
        walked = oracles.march(
            *of_bank, cells.numpy(), step=options["step"], cone=options["cone"], jitter=shift
        )
        expected += [(ray + b * len(of_bank[0]), t, dt) for ray, t, dt in walked]
    assert found.rays == (bank or 1) * case[0]
    assert int(found.total) == len(found)
    # Points within rounding of a cell's face may fall to either side.
    agree = sum(
        any(ray == r and abs(t - float(ft)) < 1e-4 and abs(dt - float(fdt)) < 1e-4 for ray, t, dt in expected)
        for r, ft, fdt in zip(found.ray.tolist(), found.t, found.dt)
    )
    assert agree >= 0.99 * len(found) and abs(len(found) - len(expected)) <= 0.01 * len(expected)
    assert (found.t.diff()[found.ray.diff() == 0] > 0).all() and (found.ray.diff() >= 0).all()
    assert found.counts.sum() == len(found) and (found.ray == found.ray.sort().values).all()


@pytest.mark.parametrize("counts", cases.COMPOSITE.values(), ids=list(cases.COMPOSITE))
def test_composite(form, counts):
    samples = cases.samples(counts)
    rng = cases.generator(5)
    density = torch.rand(len(samples), generator=rng) * 20
    colour = torch.rand(len(samples), 3, generator=rng)
    found = composite(samples, density, colour)
    arrays = (x.double().numpy() for x in (samples.t, samples.dt))
    expected = oracles.composite(*arrays, samples.ray.numpy(), samples.rays, density.numpy(), colour.numpy())
    for value, exact in zip(found, expected):
        np.testing.assert_allclose(value.numpy(), exact, atol=2e-6)
    assert (found.opacity <= 1 + 1e-6).all()
    as_double = RaySamples(
        samples.t.double(), samples.dt.double(), samples.ray, samples.counts, samples.offsets
    )

    def joined(result):
        return torch.cat((result.colour, result.opacity[:, None], result.depth[:, None]), 1)

    assert_gradients_agree(
        lambda d, c: joined(composite(samples, d, c)),
        lambda d, c: joined(definition.composite(as_double, d, c)),
        [density, colour],
    )


def test_composite_of_a_uniform_slab_is_beer_lambert(form):
    """A slab of density s and length l lets exp(-s l) through however it is cut."""
    dt = torch.full((64,), 2.0 / 64)
    samples = RaySamples.pack(torch.arange(64) * 2.0 / 64, dt, torch.zeros(64, dtype=torch.long), 1)
    found = composite(samples, torch.full((64,), 1.5), torch.ones(64, 3))
    torch.testing.assert_close(found.opacity, 1 - torch.exp(torch.tensor([-3.0])))
    torch.testing.assert_close(transmittance(samples, torch.full((64,), 1.5)), torch.exp(-1.5 * samples.t))


def test_composite_behind_an_opaque_ray_is_untouched(form):
    """Huge densities on one ray leave the next ray's numbers exact."""
    samples = cases.samples([200, 5])
    density = torch.cat((torch.full((200,), 3e6), torch.full((5,), 0.5)))
    alone = cases.samples([5])
    alone = RaySamples(samples.t[200:], samples.dt[200:], alone.ray, alone.counts, alone.offsets)
    both = composite(samples, density, torch.ones(205, 3))
    one = composite(alone, density[200:], torch.ones(5, 3))
    torch.testing.assert_close(both.weights[200:], one.weights, atol=1e-6, rtol=1e-5)
    assert torch.isfinite(both.colour).all()


@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 3, 4)])
def test_adam(form, shape):
    rng = cases.generator(2)
    start = torch.randn(shape, generator=rng)
    ours, mean, square = start.clone(), torch.zeros(shape), torch.zeros(shape)
    theirs = torch.nn.Parameter(start.clone())
    options = {"betas": (0.9, 0.99), "eps": 1e-12}
    optimiser = torch.optim.Adam([theirs], lr=0.02, weight_decay=0.1, **options)
    for step in range(1, 6):
        gradient = torch.randn(shape, generator=rng)
        adam(ours, gradient, mean, square, step=step, learning_rate=0.02, decay=0.1, **options)
        theirs.grad = gradient.clone()
        optimiser.step()
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("shape", [(128, 128), (64, 27), (16, 80), (3, 1, 7), (2, 33, 20), (5, 1)])
def test_muon(form, shape):
    """Forms agree, in bfloat16 to a few per cent of a step."""
    rng = cases.generator(2)
    start = torch.randn(shape, generator=rng)
    ours, theirs = [start.clone(), torch.zeros(shape)], [start.clone(), torch.zeros(shape)]
    for _ in range(3):
        gradient = torch.randn(shape, generator=rng) * 1e-4
        muon(ours[0], gradient, ours[1], learning_rate=0.02, momentum=0.9)
        definition.muon(theirs[0], gradient, theirs[1], learning_rate=0.02, momentum=0.9)
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-10, rtol=1e-5)
    step = (theirs[0] - start).norm()
    assert step > 0 and (ours[0] - theirs[0]).norm() < 0.03 * step


def test_muon_moves_every_direction_alike(form):
    """The first step has the gradient's singular vectors. Its singular values are about equal."""
    rng = cases.generator(3)
    gradient = torch.randn(96, 40, generator=rng) * torch.logspace(0, -1, 40)
    moved, mean = torch.zeros(96, 40), torch.zeros(96, 40)
    muon(moved, gradient, mean, learning_rate=0.5, momentum=0.95)
    u, s, v = torch.linalg.svd(gradient, full_matrices=False)
    turned = -(u.T @ moved @ v.T) / (0.5 * (96 / 40) ** 0.5)
    values = turned.diagonal()
    assert s[0] > 10 * s[-1] and values.min() > 0.6 and values.max() < 1.3
    assert (turned - torch.diag(values)).abs().max() < 0.05
    torch.testing.assert_close(mean, gradient * 0.05, rtol=1e-5, atol=1e-9)
    before = moved.clone()
    muon(moved, torch.zeros(96, 40), torch.zeros(96, 40), learning_rate=0.5, momentum=0.95)
    assert torch.equal(moved, before)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_of_touched_numbers_alone(form, decay):
    """Where the gradient is zero, nothing changes by a bit; elsewhere it is Adam."""
    rng = cases.generator(3)
    count = 70_001  # more than a task's, and no multiple of any vector
    tensors = [
        torch.randn(count, generator=rng),
        torch.randn(count, generator=rng),
        torch.rand(count, generator=rng),
    ]
    gradient = torch.randn(count, generator=rng)
    gradient[torch.rand(count, generator=rng) < 0.7] = 0
    gradient[1000:3000] = 0
    gradient[5] = -0.0
    options = {"step": 4, "learning_rate": 0.02, "betas": (0.9, 0.99), "eps": 1e-12, "decay": decay}
    sparse, dense = ([tensor.clone() for tensor in tensors] for _ in range(2))
    adam(sparse[0], gradient, *sparse[1:], sparse=True, **options)
    adam(dense[0], gradient, *dense[1:], **options)
    touched = gradient != 0
    for before, ours, theirs in zip(tensors, sparse, dense):
        assert torch.equal(ours[touched], theirs[touched])
        assert torch.equal(ours[~touched], before[~touched])
        assert not torch.equal(theirs[~touched], before[~touched])


@pytest.mark.parametrize("sparse", [False, True])
def test_adam_keeps_a_copy_in_half_precision(form, sparse):
    rng = cases.generator(3)
    count = 40_005
    # Large, tiny and in between, so that the copy holds infinities and numbers without a leading 1.
    parameter = torch.randn(count, generator=rng) * 10 ** (torch.rand(count, generator=rng) * 16 - 10)
    gradient = torch.randn(count, generator=rng)
    gradient[torch.rand(count, generator=rng) < 0.9] = 0
    start = [parameter, torch.randn(count, generator=rng), torch.rand(count, generator=rng)]
    options = {"step": 4, "learning_rate": 1e-6, "betas": (0.9, 0.99), "eps": 1e-12, "decay": 0.0}
    plain, followed = ([tensor.clone() for tensor in start] for _ in range(2))
    half = parameter.half()
    adam(plain[0], gradient, *plain[1:], sparse=sparse, **options)
    adam(followed[0], gradient, *followed[1:], sparse=sparse, half=half, **options)
    assert all(torch.equal(one, other) for one, other in zip(plain, followed))
    assert torch.equal(half, followed[0].half()) and half.isinf().any()
    assert not torch.equal(half, parameter.half())
