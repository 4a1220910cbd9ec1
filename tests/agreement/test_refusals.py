"""What does not fit together is refused in one line, in every form; what is empty or no number is not; nor silently wrong."""

import dataclasses

import pytest
import torch
from agreement import cases

from polyfield.errors import PolyfieldError
from polyfield.kernels import (
    Composite,
    Levels,
    Radial,
    Tree,
    adam,
    composite,
    fused_field,
    gather,
    interpolate,
    march,
    mlp,
    muon,
    random_bits,
    transmittance,
    uniform,
)

LEVELS = Levels(((3, 4), (9, 7)), 64)
ROWS = LEVELS.entries
SAMPLES = cases.samples([3, 0, 4])


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape)


def rays(count: int = 5, **changes: torch.Tensor | float):
    given = {
        "origins": zeros(count, 3),
        "directions": torch.ones(count, 3),
        "near": zeros(count),
        "far": torch.ones(count),
        "occupancy": torch.ones(2, 4, 4, 4, dtype=torch.bool),
        "jitter": zeros(count),
        "step": 0.1,
        "cone": 0.0,
    }
    return march(**{**given, **changes})


def adam_of(step: int = 1, **changes: torch.Tensor):
    names = ("parameter", "gradient", "mean", "square")
    tensors = {name: torch.ones(4) for name in names} | changes
    adam(**tensors, step=step, learning_rate=0.1, betas=(0.9, 0.99), eps=1e-8, decay=0.0)


def muon_of(**changes: torch.Tensor):
    tensors = {name: torch.ones(3, 4) for name in ("parameter", "gradient", "mean")} | changes
    muon(**tensors, learning_rate=0.1, momentum=0.9)


def packed(**changes) -> Composite:
    return composite(dataclasses.replace(SAMPLES, **changes), zeros(7), zeros(7, 3))


CUBE = Levels(((2, 2, 2),), 8)
TABLE = (zeros(8, 4), CUBE, (0, 1, 2))


def radiance(
    groups=((TABLE,),),
    density=((32, 4), (16, 32)),
    colour=((32, 32), (3, 32)),
    centre=(0.0, 0.0, 0.0),
    **modulated,
):
    return fused_field(
        groups,
        [zeros(*shape) for shape in density],
        [zeros(*shape) for shape in colour],
        summed=False,
        degree=4,
        centre=centre,
        axes=torch.eye(3).tolist(),
        contraction=False,
        low=-1.0,
        high=1.0,
        per_length=1.0,
        least_transmittance=0.0,
        least_share=0.0,
        **modulated,
    )


REFUSED = {
    "levels: size is 0; expected 1 or more entries": lambda: Levels(((3, 4),), 0),
    "interpolate: table has shape (7, 2); expected (79, any)": lambda: interpolate(
        zeros(7, 2), zeros(1, 2), LEVELS
    ),
    "interpolate: table has shape (79,); expected (E, F), or (B, E, F) for a bank of B fields, with B at least 1": lambda: (
        interpolate(zeros(ROWS), zeros(1, 2), LEVELS)
    ),
    "interpolate: table has shape (0, 79, 2); expected (E, F), or (B, E, F) for a bank of B fields, with B at "
    "least 1": lambda: interpolate(zeros(0, ROWS, 2), zeros(0, 1, 2), LEVELS),
    "interpolate: points has shape (5, 3); expected (any, 2)": lambda: interpolate(
        zeros(ROWS, 2), zeros(5, 3), LEVELS
    ),
    "interpolate: points has shape (2,); expected (any, 2)": lambda: interpolate(
        zeros(ROWS, 2), zeros(2), LEVELS
    ),
    "interpolate: points has shape (2, 5, 2); expected (3, any, 2)": lambda: interpolate(
        zeros(3, ROWS, 2), zeros(2, 5, 2), LEVELS
    ),
    "mlp: weights[0] has shape (4, 2); expected (any, 3)": lambda: mlp(zeros(5, 3), [zeros(4, 2)]),
    "mlp: weights[1] has shape (2, 5); expected (any, 4)": lambda: mlp(
        zeros(5, 3), [zeros(4, 3), zeros(2, 5)]
    ),
    "mlp: weights[0] has shape (4, 3); expected (2, any, 3)": lambda: mlp(zeros(2, 5, 3), [zeros(4, 3)]),
    "mlp: weights: found no layers; expected at least one": lambda: mlp(zeros(5, 3), []),
    "mlp: biases[0] has shape (3,); expected (4,)": lambda: mlp(zeros(5, 3), [zeros(4, 3)], [zeros(3)]),
    "mlp: 2 biases for 1 weights; expected one bias for each weight": lambda: mlp(
        zeros(5, 3), [zeros(4, 3)], [zeros(4), zeros(4)]
    ),
    "mlp: modulation has shape (5, 1, 2); expected (5, 1, 2, any)": lambda: mlp(
        zeros(5, 3), [zeros(4, 3), zeros(2, 4)], modulation=zeros(5, 1, 2)
    ),
    "mlp: modulation has shape (4, 1, 2, 1); expected (5, 1, 2, any)": lambda: mlp(
        zeros(5, 3), [zeros(4, 3), zeros(2, 4)], modulation=zeros(4, 1, 2, 1)
    ),
    "mlp: modulation has 3 channels; expected 1, or 4, the width of layer 0": lambda: mlp(
        zeros(5, 3), [zeros(4, 3), zeros(2, 4)], modulation=zeros(5, 1, 2, 3)
    ),
    "mlp: normed is set without modulation; give a modulation, which may be zero": lambda: mlp(
        zeros(5, 3), [zeros(4, 3), zeros(2, 4)], normed=True
    ),
    "mlp: x has shape (3,); expected (N, I), or (B, N, I) for a bank of B fields, with B at least 1": lambda: (
        mlp(zeros(3), [zeros(4, 3)])
    ),
    "march: origins has shape (5, 2); expected (any, 3)": lambda: rays(origins=zeros(5, 2)),
    "march: directions has shape (4, 3); expected (5, 3)": lambda: rays(directions=zeros(4, 3)),
    "march: near has shape (4,); expected (5,)": lambda: rays(near=zeros(4)),
    "march: far has shape (5, 1); expected (5,)": lambda: rays(far=zeros(5, 1)),
    "march: jitter has shape (); expected (5,)": lambda: rays(jitter=torch.tensor(0.5)),
    "march: occupancy has shape (2, 4, 4, 3); expected (any, 3, 3, 3)": lambda: rays(
        occupancy=torch.ones(2, 4, 4, 3, dtype=torch.bool)
    ),
    "march: occupancy has shape (2, 4, 4, 4) and dtype torch.float32; expected at least one cell, and dtype "
    "torch.bool": lambda: rays(occupancy=zeros(2, 4, 4, 4)),
    "march: occupancy has shape (0, 4, 4, 4) and dtype torch.bool; expected at least one cell, and dtype "
    "torch.bool": lambda: rays(occupancy=torch.ones(0, 4, 4, 4, dtype=torch.bool)),
    "march: step is 0.0 and cone is 0.0; expected a finite step above 0 and a finite cone of at least 0": lambda: (
        rays(step=0.0)
    ),
    "march: step is nan and cone is 0.0; expected a finite step above 0 and a finite cone of at least 0": lambda: (
        rays(step=float("nan"))
    ),
    "march: step is 0.1 and cone is -0.5; expected a finite step above 0 and a finite cone of at least 0": lambda: (
        rays(cone=-0.5)
    ),
    "composite: density has shape (6,); expected (7,)": lambda: composite(SAMPLES, zeros(6), zeros(7, 3)),
    "composite: colour has shape (7, 4); expected (7, 3)": lambda: composite(SAMPLES, zeros(7), zeros(7, 4)),
    "composite: samples.dt has shape (2,); expected (7,)": lambda: packed(dt=zeros(2)),
    "composite: samples.offsets has shape (2,); expected (3,)": lambda: packed(offsets=SAMPLES.offsets[:2]),
    "transmittance: density has shape (8,); expected (7,)": lambda: transmittance(SAMPLES, zeros(8)),
    "adam: gradient has shape (3,); expected (4,)": lambda: adam_of(gradient=zeros(3)),
    "adam: square has shape (4, 1); expected (4,)": lambda: adam_of(square=zeros(4, 1)),
    "adam: step is 0; expected 1 or more": lambda: adam_of(step=0),
    "muon: mean has shape (4, 3); expected (3, 4)": lambda: muon_of(mean=zeros(4, 3)),
    "muon: gradient has shape (4,); expected (3, 4)": lambda: muon_of(gradient=zeros(4)),
    "muon: parameter has shape (3, 0); expected at least one row and one column, and fewer than 2^31 numbers": lambda: (
        muon_of(parameter=zeros(3, 0))
    ),
    "muon: parameter has shape (1, 134217728); expected at least one row and one column, and fewer than 2^31 numbers": lambda: (
        muon_of(parameter=zeros(1).expand(1, 1 << 27))
    ),
    "muon: parameter has shape (4,); expected (O, I), or (B, O, I) for a bank of B fields, with B at least 1": lambda: (
        muon_of(parameter=zeros(4))
    ),
    "adam: half has shape (3,); expected (4,)": lambda: adam_of(half=zeros(3).half()),
    "adam: half is a contiguous tensor of torch.float32; expected a contiguous tensor of torch.float16": lambda: (
        adam_of(half=zeros(4))
    ),
    "fused_field: groups[0][1]: table has shape (7, 4); expected (8, any)": lambda: radiance(
        [[TABLE, (zeros(7, 4), CUBE, (0, 1, 2))]]
    ),
    "fused_field: groups[1]: no table; expected one or more": lambda: radiance([[TABLE], []]),
    "fused_field: groups[0][0]: axes are (0, 1); expected 3 different axes, each from 0 to 2": lambda: (
        radiance([[(zeros(8, 4), CUBE, (0, 1))]])
    ),
    "fused_field: groups[0][0]: axes are (1, 2, 3); expected 3 different axes, each from 0 to 2": lambda: (
        radiance([[(zeros(8, 4), CUBE, (1, 2, 3))]])
    ),
    "fused_field: groups[0][1]: 1 levels of 2 features give 2 numbers; expected 4, as the first table gives": lambda: (
        radiance([[TABLE, (zeros(8, 2), CUBE, (0, 1, 2))]])
    ),
    "fused_field: centre is (0.0, 1.0) and axes is [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]; expected "
    "D and D x D numbers, with D = 2 or 3": lambda: radiance(centre=(0.0, 1.0)),
    "fused_field: density[0] has shape (32, 5); expected (any, 4)": lambda: radiance(
        density=((32, 5), (16, 32))
    ),
    "fused_field: density[1] has shape (16, 31); expected (any, 32)": lambda: radiance(
        density=((32, 4), (16, 31))
    ),
    "fused_field: colour[0] has shape (32, 16); expected (any, 32)": lambda: radiance(
        colour=((32, 16), (3, 32))
    ),
    "fused_field: the latent vector has 16 numbers, and the colour network has 4 outputs; expected at least 1 number "
    "and exactly 3 outputs": lambda: radiance(colour=((32, 32), (4, 32))),
    "fused_field: groups[0][0]: axes are (0, 0, 1); expected 3 different axes, each from 0 to 2": lambda: (
        radiance([[(zeros(8, 4), CUBE, (0, 0, 1))]])
    ),
    "fused_field: a timed field has 2 axes of space; expected 3": lambda: radiance(
        centre=(0.0, 1.0), timed=True
    ),
    "fused_field: 1 biases for 2 weights; expected one bias for each weight": lambda: radiance(
        biases=[zeros(32)]
    ),
    "fused_field: biases[1] has shape (15,); expected (16,)": lambda: radiance(biases=[zeros(32), zeros(15)]),
    "fused_field: normed is set without modulation; give a modulation": lambda: radiance(normed=True),
    "fused_field: radial basis functions have 16 features, for a latent vector of 16 numbers and 2 colour layers; expected "
    "fewer features than numbers, and a colour network": lambda: radiance(
        radial=Radial(zeros(9, 16), Tree.of(zeros(9, 3)), zeros(9, 1), True)
    ),
    "fused_field: modulation gives 4 numbers; expected 2 for each hidden layer, or 2 for each of its channels": lambda: (
        radiance(modulation=TABLE)
    ),
}


FUSED = {
    "fused_field: origins has shape (5, 2); expected (any, 3)": {"origins": zeros(5, 2)},
    "fused_field: directions has shape (4, 3); expected (5, 3)": {"directions": zeros(4, 3)},
    "fused_field: jitter has shape (5, 1); expected (5,)": {"jitter": zeros(5, 1)},
    "fused_field: occupancy has shape (4, 4, 4); expected (any, 4, 4, 4)": {
        "occupied": torch.ones(4, 4, 4).bool()
    },
    "fused_field: target has shape (5, 3); expected (5, 4)": {"target": zeros(5, 3)},
    "fused_field: background has shape (3,); expected (5, 3)": {"background": zeros(3)},
    "fused_field: jitter has dtype torch.float64; expected torch.float32": {"jitter": zeros(5).double()},
}


def fused_inputs(count: int = 5, **changes: torch.Tensor):
    given = {
        "origins": zeros(count, 3),
        "directions": torch.ones(count, 3),
        "jitter": zeros(count),
        "occupied": torch.ones(1, 4, 4, 4, dtype=torch.bool),
        "target": zeros(count, 4),
        "background": zeros(count, 3),
    } | changes
    walked = {name: given[name] for name in ("origins", "directions", "jitter")}
    walked |= {"near": 0.0, "step": 0.1, "cone": 0.0}
    return (
        walked,
        given["occupied"],
        {name: given[name] for name in ("target", "background")},
    )


@pytest.mark.parametrize("message", FUSED)
def test_rays_that_do_not_fit_a_fused_kernel(native_form, message):
    kernel = radiance()
    *walk, compared = fused_inputs(**FUSED[message])
    with pytest.raises(PolyfieldError) as refused:
        kernel.train(*walk, **compared, huber=0.1)
    assert str(refused.value) == message
    if not {"target", "background"} & FUSED[message].keys():
        with pytest.raises(PolyfieldError) as refused:
            kernel.render(*walk)
        assert str(refused.value) == message


def test_points_that_do_not_fit_a_fused_kernel(native_form):
    for points, message in (
        (zeros(4, 2), "fused_field: points has shape (4, 2); expected (any, 3)"),
        (zeros(4, 3).double(), "fused_field: points has dtype torch.float64; expected torch.float32"),
    ):
        with pytest.raises(PolyfieldError) as refused:
            radiance().density(points)
        assert str(refused.value) == message


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mean": zeros(8, 2)}, "fused_field: steps[0]: mean has shape (8, 2); expected (8, 4)"),
        (
            {"square": zeros(8, 4).double()},
            (
                "fused_field: steps[0]: square is a contiguous tensor of torch.float64; "
                "expected a contiguous tensor of torch.float32"
            ),
        ),
        (
            {"momentum": 0.9},
            "fused_field: steps[0] is a step of muon, and the tensor is no layer; expected one of adam",
        ),
        ({"step": 0}, "fused_field: steps[0]: step is 0; expected 1 or more"),
        (None, "fused_field: steps has 4 entries; expected 5, one for each table and each layer"),
    ],
)
def test_steps_that_do_not_fit(native_form, changes, message):
    *walk, compared = fused_inputs()
    numbers = {
        "step": 1,
        "learning_rate": 0.1,
        "betas": (0.9, 0.99),
        "eps": 1e-12,
        "decay": 0.0,
        "sparse": True,
    }
    shapes = ((8, 4), (32, 4), (16, 32), (32, 32), (3, 32))
    steps = [numbers | {name: zeros(*shape) for name in ("mean", "square")} for shape in shapes]
    if changes is None:
        steps.pop()
    else:
        steps[0] |= changes
    with pytest.raises(PolyfieldError) as refused:
        radiance().train(*walk, **compared, huber=0.1, steps=steps)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "parts, index, message",
    [
        ([zeros(4, 2), zeros(3)], [0], "gather: parts[1] has shape (3,); expected (any, 2)"),
        (
            [zeros(4), zeros(3).double()],
            [0],
            "gather: parts[1] has dtype torch.float64 and is on cpu; expected torch.float32 on cpu",
        ),
        ([zeros(4), zeros(3)], [0, 7], "gather: index goes from 0 to 7; expected 0 to 6"),
        ([zeros(4), zeros(3)], [-1, 6], "gather: index goes from -1 to 6; expected 0 to 6"),
        ([zeros(4)], [0.5], "gather: index has dtype torch.float32; expected torch.int64"),
    ],
)
def test_rows_that_are_not_there(form, parts, index, message):
    with pytest.raises(PolyfieldError) as refused:
        gather(parts, torch.tensor(index))
    assert str(refused.value) == message


@pytest.mark.parametrize("message", REFUSED)
def test_tensors_that_do_not_fit_together(form, message):
    with pytest.raises(PolyfieldError) as refused:
        REFUSED[message]()
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": torch.tensor([3, 0, 5])},
        {"counts": torch.tensor([3, -1, 5])},
        {"counts": torch.tensor([8, 0, -1]), "offsets": torch.tensor([0, 8, 8])},
        {"offsets": torch.tensor([0, 3, 4])},
        {"offsets": torch.tensor([0, 3, 1 << 40])},
        {"counts": SAMPLES.counts.int()},
    ],
)
def test_samples_that_are_not_packed(form, changes):
    with pytest.raises(
        PolyfieldError, match="composite: samples.counts and samples.offsets are not the torch.int64 counts"
    ):
        packed(**changes)


def test_nothing_gives_nothing(form):
    """No points, no rows, no rays, no samples, no numbers; gradients are then zero."""
    table, weight = (torch.ones(shape, requires_grad=True) for shape in ((ROWS, 2), (4, 4)))
    code = interpolate(table, zeros(0, 2), LEVELS)
    assert code.shape == (0, 4)
    out = mlp(code, [weight, torch.ones(1, 4)])
    assert out.shape == (0, 1)
    out.sum().backward()
    assert torch.equal(table.grad, zeros(ROWS, 2)) and torch.equal(weight.grad, zeros(4, 4))
    nowhere = rays(count=0)
    assert len(nowhere) == nowhere.rays == 0
    if kernel := radiance():
        *walk, compared = fused_inputs(count=0)
        _, errors, gradients = kernel.train(*walk, **compared, huber=0.1)
        assert errors.shape == (0,)
        assert not any(gradient.any() for gradient in gradients)
        assert kernel.render(*walk)[1].shape == (0, 3)
    missed = rays(occupancy=torch.zeros(2, 4, 4, 4, dtype=torch.bool))
    assert len(missed) == 0 and missed.rays == 5
    for samples in (nowhere, missed):
        density = zeros(0).requires_grad_()
        result = composite(samples, density, zeros(0, 3))
        assert result.colour.shape == (samples.rays, 3) and not result.opacity.any()
        result.opacity.sum().backward()
        assert density.grad.shape == (0,) and transmittance(samples, zeros(0)).shape == (0,)
    adam_of(**{name: zeros(0) for name in ("parameter", "gradient", "mean", "square")})
    assert random_bits((0,), seed=0, stream="").shape == uniform((0,), seed=0, stream="").shape == (0,)


@pytest.mark.parametrize("levels", cases.LEVELS.values(), ids=list(cases.LEVELS))
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), 1e30, -1e30])
def test_points_that_are_no_numbers_stay_in_the_table(native_form, levels, bad):
    """Whatever they give, nothing beyond the table is read or written."""
    table = torch.ones(levels.entries, 2, requires_grad=True)
    points = torch.full((40, levels.dimensions), bad, requires_grad=True)
    out = interpolate(table, points, levels)
    out.sum().backward()
    torch.testing.assert_close(out, torch.ones_like(out))
    torch.testing.assert_close(table.grad.sum(), torch.tensor(80.0 * levels.count))


def twice(operation: str, x: torch.Tensor) -> torch.Tensor:
    """Something of x whose gradient depends on x."""
    if operation == "interpolate":
        levels = cases.LEVELS["dense"]
        table = torch.randn(levels.entries, 2, generator=cases.generator(1))
        return interpolate(table, x.sigmoid(), levels).sum()
    if operation == "mlp":
        return mlp(x, [torch.ones(4, 3), torch.ones(1, 4)], sine=True).sum()
    samples = cases.samples([3, 4])
    return composite(samples, x[:7, 0].square(), torch.ones(7, 3)).opacity.sum()


@pytest.mark.parametrize("operation", ["interpolate", "mlp", "composite"])
def test_a_second_derivative_is_refused_where_there_is_none(form, operation):
    """As in a penalty on the length of gradients, where the incoming gradient is constant."""
    x = torch.rand(9, 3, generator=cases.generator(4), dtype=torch.float32).requires_grad_()
    [gradient] = torch.autograd.grad(twice(operation, x), x, create_graph=True)
    penalty = gradient.square().sum() + x.square().sum()
    if form == "reference" or (form, operation) == ("cuda", "mlp"):  # which is the reference's there
        penalty.backward()
        assert torch.isfinite(x.grad).all()
    else:
        with pytest.raises(PolyfieldError, match="have no second derivatives; set POLYFIELD_KERNELS=ref"):
            penalty.backward()


def test_what_has_no_native_gradient_has_the_references(form):
    """Transmittance, and composite by distances: not silently nothing."""
    samples = cases.samples([5, 2])
    density = torch.ones(7, requires_grad=True)
    transmittance(samples, density).sum().backward()
    assert density.grad.abs().sum() > 0
    dt = samples.dt.clone().requires_grad_()
    composite(dataclasses.replace(samples, dt=dt), torch.ones(7), torch.ones(7, 3)).opacity.sum().backward()
    assert dt.grad.abs().sum() > 0
