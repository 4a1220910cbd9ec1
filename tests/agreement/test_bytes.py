"""Native values and gradients to the last bit: whatever the number of threads, from run to run, however tensors lie."""

import copy
import itertools
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from typing import Any

import pytest
import torch
from agreement import cases

from polyfield.kernels import (
    Radial,
    RaySamples,
    Tree,
    adam,
    composite,
    fused_field,
    interpolate,
    march,
    mlp,
    muon,
    random_bits,
    transmittance,
    tree_order,
    uniform,
)


def inputs(operation: str) -> list[torch.Tensor]:
    """The tensors that an operation takes, more than one task has."""
    rng = cases.generator(8)
    if operation.startswith("interpolate"):
        levels, features = LEVELS[operation]
        return [torch.randn(levels.entries, features, generator=rng), cases.many_points(levels, 9000)]
    if operation.startswith("mlp"):
        x, weights, biases = cases.mlp_inputs((19, 40, 40, 5), 3500, True, None)
        modulation = torch.randn(3500, 2, 2, 40, generator=rng)
        return [x, *weights, *biases, *([modulation] if "modulated" in operation else [])]
    if operation == "muon":
        return [torch.randn(5, 70, 33, generator=rng) for _ in range(3)]
    if operation == "adam":
        return [torch.randn(70_001, generator=rng).abs() for _ in range(4)]
    if operation == "march":
        origins, directions = cases.grid_rays(2.0)
        origins, directions = (torch.cat([x] * 2) for x in (origins, directions))
        count = len(origins)
        near, far = torch.full((count,), 0.1), torch.full((count,), 9.0)
        return [origins, directions, near, far, torch.rand(count, generator=rng)]
    counts = torch.randint(0, 40, (1200,), generator=rng)
    samples = cases.samples(counts.tolist())
    density = torch.rand(len(samples), generator=rng) * 20
    return [density, torch.rand(len(samples), 3, generator=rng), samples.t, samples.dt]


LEVELS = {
    "interpolate, hashed": (cases.LEVELS["hashed"], 4),
    "interpolate, one level of three features": (cases.Levels(((9, 7),), 64), 3),
}
OPERATIONS = [
    *LEVELS,
    "mlp, ReLU",
    "mlp, sine",
    "mlp, modulated",
    "march",
    "composite",
    "adam",
    "muon",
    "random numbers",
]


def outputs(operation: str, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """An operation's values, and the gradients of their weighted sum where it has some."""
    given = [x.detach().requires_grad_() if operation not in ("adam", "muon") else x for x in given]
    if operation in LEVELS:
        values = [interpolate(given[0], given[1], LEVELS[operation][0])]
    elif operation.startswith("mlp"):
        x, layers, modulation = given[0], given[1:7], given[7] if given[7:] else None
        normed = modulation is not None
        values = [
            mlp(
                x,
                layers[:3],
                layers[3:],
                sine=operation.endswith("sine"),
                modulation=modulation,
                normed=normed,
            )
        ]
    elif operation == "march":
        origins, directions, near, far, jitter = given
        grid = cases.grid(2, 64, 0.01, "a ball")
        found = march(origins, directions, near, far, grid, step=0.01, cone=0.01, jitter=jitter)
        return [found.t, found.dt, found.ray, found.counts, found.offsets]
    elif operation == "adam":
        state = [given[0].clone(), *(x.clone() for x in given[2:])]
        options = {"step": 3, "learning_rate": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "decay": 0.01}
        adam(state[0], given[1], *state[1:], **options)
        return state
    elif operation == "muon":
        state = [given[0].clone(), given[2].clone()]
        muon(state[0], given[1], state[1], learning_rate=0.1, momentum=0.9)
        return state
    elif operation == "random numbers":
        return [draw((70_001,), seed=1, stream="a", step=2) for draw in (random_bits, uniform)]
    else:
        density, colour, t, dt = given
        counts = torch.randint(0, 40, (1200,), generator=cases.generator(8))
        offsets = counts.cumsum(0) - counts
        ray = torch.repeat_interleave(torch.arange(1200), counts)
        samples = RaySamples(t.detach(), dt.detach(), ray, counts, offsets)
        values = [*composite(samples, density, colour), transmittance(samples, density.detach())]
        given = [density, colour]
    weighted = [
        (x * torch.randn(x.shape, generator=cases.generator(9))).sum() for x in values if x.requires_grad
    ]
    return [*(x.detach() for x in values), *torch.autograd.grad(sum(weighted), given)]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_threads_change_no_byte(native_form, operation):
    from polyfield import _core

    given = inputs(operation)
    _core.set_threads(1)
    expected = outputs(operation, given)
    for threads in (2, 3, 1):
        _core.set_threads(threads)
        assert _core.threads() == threads
        for found, wanted in zip(outputs(operation, given), expected, strict=True):
            assert found.numel() and torch.equal(found, wanted)


Groups = list[
    list[tuple[cases.Levels, tuple[int, ...]]]
]  # of every table of every group its levels and its axes


def fused(
    groups: Groups,
    features: int,
    summed: bool,
    contraction: bool,
    modulated: cases.Levels | None = None,
    functions: int = 0,
):
    """A fused kernel over a random field with empty and dense parts, a batch of rays, and an occupancy grid."""
    rng = cases.generator(12)
    hidden = 48 if modulated else 40
    sizes = [(sum(group[0][0].count for group in groups) * features, hidden, 16), (32, 40, 3)]
    density, colour = (
        [torch.randn(b, a, generator=rng) / a**0.5 for a, b in itertools.pairwise(each)] for each in sizes
    )
    filled = [
        [(torch.randn(levels.entries, features, generator=rng) * 2, levels, axes) for levels, axes in group]
        for group in groups
    ]
    biases, modulation = [], None
    if modulated:
        biases = [torch.randn(len(weight), generator=rng) for weight in density]
        modulation = torch.randn(modulated.entries, 2, generator=rng), modulated, (2, 0)
    radial = None
    if functions:
        centres = torch.rand(functions, 3, generator=rng)
        tree = Tree.of(centres[tree_order(centres)])
        shapes = torch.rand(functions, 6, generator=rng) * 4
        radial = Radial(torch.randn(functions, 15, generator=rng), tree, shapes, False)
    kernel = fused_field(
        filled,
        density,
        colour,
        summed=summed,
        degree=4,
        centre=(0.1, 0.0, -0.1),
        axes=((0.0, 1.0, 0.0), (-0.8, 0.0, 0.0), (0.0, 0.0, 1.25)),
        contraction=contraction,
        low=-8.0,
        high=8.0,
        per_length=4.0,
        least_transmittance=1e-3,
        least_share=0.1,
        biases=biases,
        modulation=modulation,
        normed=modulated is not None,
        radial=radial,
    )
    count = 900
    origins = torch.randn(count, 3, generator=rng) * 1.5
    rays = {
        "origins": origins,
        "directions": torch.nn.functional.normalize(
            0.3 * torch.randn(count, 3, generator=rng) - origins, dim=1
        ),
        "jitter": torch.rand(count, generator=rng),
        "near": 0.05,
        "step": 0.08,
        "cone": 0.01 if contraction else 0.0,
    }
    occupied = torch.rand(3 if contraction else 1, 32, 32, 32, generator=rng) < 0.4
    compared = {
        "target": torch.rand(count, 4, generator=rng),
        "background": torch.rand(count, 3, generator=rng),
    }
    tables = [table for group in filled for table, _, _ in group] + ([modulation[0]] if modulation else [])
    return (
        [*tables, *density, *biases, *([radial.weights] if radial else []), *colour],
        kernel,
        (rays, occupied),
        compared,
    )


def cube(levels: cases.Levels) -> Groups:
    return [[(levels, (0, 1, 2))]]


def planes(levels: cases.Levels) -> Groups:
    return [[(levels, axes) for axes in ((0, 1), (0, 2), (1, 2))]]


SQUARE, LINE = cases.Levels(((13, 13),), 169), cases.Levels(((21,),), 21)
FUSED = {  # groups, features, whether summed, whether contracted
    "six levels": (cube(cases.Levels.geometric(6, 4, 50, 3, 1 << 9)), 4, False, False),
    "two levels, contraction": (cube(cases.Levels.geometric(2, 9, 40, 3, 1 << 10)), 2, False, True),
    "one level": (cube(cases.Levels(((9, 7, 8),), 1 << 10)), 8, False, False),  # fewer levels than threads
    "six features": (cube(cases.Levels.geometric(2, 5, 9, 3, 1 << 10)), 6, False, False),
    "planes, summed": (planes(SQUARE), 32, True, False),
    "planes of two levels": (planes(cases.Levels(((7, 7), (19, 23)), 1 << 9)), 16, False, True),
    "hashed planes": (planes(cases.Levels.geometric(2, 9, 30, 2, 100)), 48, False, False),
    "planes and lines": (
        [[(SQUARE, (1, 2)), (LINE, (0,))], [(SQUARE, (0, 2)), (LINE, (1,))]],
        10,
        False,
        False,
    ),
    "lines": ([[(LINE, (axis,)) for axis in (2, 0, 1)]], 96, False, False),
    "radial basis functions": (cube(cases.Levels.geometric(2, 9, 40, 3, 1500)), 2, False, False, None, 77),
    "modulated": (cube(cases.Levels.geometric(2, 9, 40, 3, 1 << 10)), 2, False, True, SQUARE),
}
fused_fields = pytest.mark.parametrize("name", FUSED)


@fused_fields
def test_threads_change_no_byte_of_a_fused_step_or_picture(native_form, name):
    from polyfield import _core

    def everything(threads: int):
        _core.set_threads(threads)
        _, kernel, walk, compared = fused(*FUSED[name])
        for _ in range(2):  # the second starts from what the first left
            figures, errors, gradients = kernel.train(*walk, **compared, huber=0.1)
        seen, *picture = kernel.render(*walk)
        return (figures, seen), [x.clone() for x in (errors, *gradients, *picture, *kernel.halves)]

    figures, expected = everything(1)
    assert figures[0]["finite"] and figures[0]["evaluated"] > figures[0]["shaded"] > 1000
    assert all(x.any() for x in expected)
    for threads in (2, 3, 1):
        again, found = everything(threads)
        assert again == figures
        assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@fused_fields
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_fused_step_moves_its_tensors_as_their_gradients_and_the_optimisers_would(
    native_form, name, threads
):
    from polyfield import _core

    _core.set_threads(threads)
    tensors, kernel, walk, compared = fused(*FUSED[name])
    rng = cases.generator(5)
    numbers: dict[str, Any] = {
        "step": 3,
        "learning_rate": 0.01,
        "betas": (0.9, 0.95),
        "eps": 1e-12,
        "decay": 0.1,
    }
    steps = [
        {"mean": torch.randn(x.shape, generator=rng), "square": torch.rand(x.shape, generator=rng)}
        | numbers
        | {"sparse": x is tensors[0]}  # of other tables every number moves
        for x in tensors
    ]
    for place in range(len(kernel.halves), len(tensors) - 1, 2):  # every other layer
        if tensors[place].dim() == 2 and tensors[place].shape[1] != 15:  # of functions
            steps[place] = {"mean": steps[place]["mean"], "learning_rate": 0.01, "momentum": 0.9}
    parts = [(place, part) for place, step in enumerate(steps) for part in ("mean", "square") if part in step]
    moved = [*tensors, *(steps[place][part] for place, part in parts), *kernel.halves]
    for _ in range(2):  # the second finds what the first left
        expected = copy.deepcopy([*zip(tensors, steps)])
        halves = [half.clone() for half in kernel.halves]
        figures, errors, gradients = kernel.train(*walk, **compared, huber=0.1)
        errors = errors.clone()
        for (tensor, step), gradient, half in zip_longest(expected, gradients, halves):
            if "momentum" in step:
                muon(tensor, gradient, **step)
            else:
                adam(tensor, gradient, **step, half=half)
        again, found, none = kernel.train(*walk, **compared, huber=0.1, steps=steps)
        assert again == figures and torch.equal(found, errors) and not none
        wanted = [
            *(tensor for tensor, _ in expected),
            *(expected[place][1][part] for place, part in parts),
            *halves,
        ]
        assert all(torch.equal(x, y) for x, y in zip(moved, wanted, strict=True))
    before = [tensor.clone() for tensor in moved]
    compared["target"][0] = float("nan")
    assert math.isnan(kernel.train(*walk, **compared, huber=0.1, steps=steps)[0]["loss"])
    assert all(torch.equal(x, y) for x, y in zip(moved, before, strict=True))


def scattered(x: torch.Tensor) -> torch.Tensor:
    """The same numbers, in memory every other one and the last axis first."""
    apart = torch.stack((x.movedim(-1, 0), x.movedim(-1, 0) + 1), -1)[..., 0].movedim(0, -1)
    assert torch.equal(apart, x) and not apart.is_contiguous()
    return apart


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "random numbers"])
def test_how_tensors_lie_in_memory_changes_no_byte(native_form, operation):
    given = inputs(operation)
    expected = outputs(operation, given)
    for found, wanted in zip(outputs(operation, [scattered(x) for x in given]), expected, strict=True):
        assert torch.equal(found, wanted)


def test_adam_changes_tensors_where_they_lie(form):
    tensors = inputs("adam")
    kept = [tensors[0], *tensors[2:]]
    apart = [scattered(x) for x in kept]
    options = {"step": 3, "learning_rate": 0.1, "betas": (0.9, 0.99), "eps": 1e-8, "decay": 0.01}
    parameters = [torch.nn.Parameter(state[0]) for state in (kept, apart)]
    adam(parameters[0], tensors[1], *kept[1:], **options)
    adam(parameters[1], scattered(tensors[1]), *apart[1:], **options)
    assert torch.equal(parameters[0], parameters[1]) and not parameters[1].is_contiguous()
    assert all(torch.equal(one, other) for one, other in zip(kept, apart))


def test_expanded_tensors(form):
    """One number stands for many: jitter, near and far of rays, densities, gradients of a sum."""
    origins, directions, *_ = inputs("march")
    grid = cases.grid(2, 64, 0.01, "a ball")
    shared = [torch.tensor(x).expand(len(origins)) for x in (0.1, 9.0, 0.5)]
    spread = [x.contiguous() for x in shared]
    one, other = (
        march(origins, directions, near, far, grid, step=0.1, cone=0.0, jitter=jitter)
        for near, far, jitter in (shared, spread)
    )
    assert len(one) and torch.equal(one.t, other.t) and torch.equal(one.counts, other.counts)
    density = torch.tensor(0.7, requires_grad=True)
    composite(one, density.expand(len(one)), torch.ones(1, 3).expand(len(one), 3)).opacity.sum().backward()
    exact = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    depth = torch.zeros(one.rays, dtype=torch.float64).index_add(0, one.ray, one.dt.double())
    (1 - torch.exp(-exact * depth)).sum().backward()
    torch.testing.assert_close(density.grad.double(), exact.grad, atol=0, rtol=1e-4)


def test_calls_from_several_threads_take_turns(native_form):
    names = [name for name in OPERATIONS if name != "march"] * 3
    alone = {name: outputs(name, inputs(name)) for name in names}
    with ThreadPoolExecutor(4) as threads:
        for name, found in zip(names, threads.map(lambda name: outputs(name, inputs(name)), names)):
            assert all(torch.equal(x, y) for x, y in zip(found, alone[name], strict=True)), name


def test_a_forked_process_has_threads_of_its_own():
    """As in a data loader's workers: the parent's threads are not there, and nothing waits for them."""
    pytest.importorskip("polyfield._core")
    code = """
import os, torch
from polyfield import _core
def draw():
    bits = torch.empty(200_000, dtype=torch.int32)
    _core.random_bits(1, 2, 3, bits)
    return bits.numpy().tobytes()
_core.set_threads(2)
expected = draw()
child = os.fork()
if not child:
    os._exit(0 if draw() == expected else 1)
assert os.waitpid(child, 0)[1] == 0 and draw() == expected
"""
    done = subprocess.run(
        [sys.executable, "-c", code], timeout=60, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
