"""A hash grid and a small network at the same points, forward and backward, in polyfield and in other libraries.

Contenders are polyfield's implementations, the reference under torch.compile, and Dr.Jit's LLVM backend. Dr.Jit is optional: it
needs the extra `peers` and the system's libLLVM.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.compiling import compiles, in_short
from benchmarks.forms import REFERENCE, forms, within
from benchmarks.operations import FEATURES, LEVELS, SIZES, weights
from benchmarks.turns import Budget, Figures, in_turns, rate
from polyfield.kernels import interpolate, mlp

Passes = tuple[Callable[[], object], Callable[[], object]]  # forward alone, forward and backward


def measure(budget: Budget) -> dict[str, object]:
    """The cell: points a second of each contender, a row each."""
    notes: list[str] = []
    contenders: dict[str, Callable[[], Figures]] = {}

    def enter(name: str, passes: Passes, form: str) -> None:
        contenders[name] = within(form, lambda: _rates(passes, budget))

    for form in forms():
        enter(form, _passes(budget.size, _query), form)
    compiled = _passes(budget.size, torch.compile(_query))

    if compiles(within(REFERENCE, lambda: [run() for run in compiled]), budget, notes):
        enter("reference, torch.compile", compiled, REFERENCE)
    try:
        enter("Dr.Jit, LLVM", _drjit(budget.size, notes), REFERENCE)
    except Exception as error:  # noqa: BLE001 - not installed, without the system's LLVM, or at odds with it
        notes.append(f"Dr.Jit was left out: {in_short(error)}")
    found = in_turns(contenders, budget.rounds)
    eager = found[REFERENCE]
    rows = [
        {
            "contender": name,
            "forward, points/s": figures["forward"],
            "and backward, points/s": figures["both"],
            "forward / eager": figures["forward"] / eager["forward"],
            "both / eager": figures["both"] / eager["both"],
        }
        for name, figures in found.items()
    ]
    return {"rows": rows, "notes": notes}


def _rates(passes: Passes, budget: Budget) -> Figures:
    forward, both = (rate(run, budget.size, budget.least_seconds) for run in passes)
    return {"forward": forward, "both": both}


def _query(table: torch.Tensor, points: torch.Tensor, layers: list[torch.Tensor]) -> torch.Tensor:
    return mlp(interpolate(table, points, LEVELS), layers)


def _passes(size: int, query: Callable[..., torch.Tensor]) -> Passes:
    random = torch.Generator().manual_seed(1)
    table = torch.rand(LEVELS.entries, FEATURES, generator=random).requires_grad_()
    points = torch.rand(size, 3, generator=random)
    layers = [weight.requires_grad_() for weight in weights()]

    def forward() -> None:
        with torch.no_grad():
            query(table, points, layers)

    def both() -> None:
        torch.autograd.grad(query(table, points, layers).sum(), [table, *layers])

    return forward, both


def _drjit(size: int, notes: list[str]) -> Passes:
    """The same in Dr.Jit, whose kernels are compiled at their first call and kept on disk."""
    import drjit as dr
    from drjit import nn
    from drjit.llvm.ad import ArrayXf, Float32, TensorXf

    if not dr.has_backend(dr.JitBackend.LLVM):
        raise RuntimeError("no libLLVM was found; on Debian: apt install llvm")
    nodes = [level[0] for level in LEVELS.resolutions]
    grid = nn.HashGridEncoding(
        Float32,
        3,
        n_levels=LEVELS.count,
        n_features_per_level=FEATURES,
        hashmap_size=LEVELS.size,
        base_resolution=nodes[0],
        per_level_scale=(nodes[-1] / nodes[0]) ** (1 / (LEVELS.count - 1)),
        align_corners=True,
    )
    layers: list[Any] = []
    for out in SIZES[1:]:
        layers += [nn.Linear(-1, out, bias=False), nn.ReLU()]
    network = nn.pack(nn.Sequential(*layers[:-1]).alloc(TensorXf, SIZES[0]), layout="training")
    random = dr.rng(seed=1)
    points = ArrayXf([random.random(Float32, size) for _ in range(3)])
    grid.data = Float32(grid.params)
    dr.eval(points, grid.data)

    def query() -> list[Any]:
        return list(network(nn.CoopVec(grid(points))))

    def forward() -> None:
        with dr.suspend_grad():
            dr.eval(query())
        dr.sync_thread()

    def both() -> None:
        parameters = [grid.data, network["weights"]]
        dr.enable_grad(parameters)
        dr.backward(dr.sum(sum(query())))
        dr.eval([dr.grad(each) for each in parameters])
        dr.sync_thread()
        dr.disable_grad(parameters)

    start = time.perf_counter()
    forward()
    both()
    notes.append(f"Dr.Jit {dr.__version__} took {time.perf_counter() - start:.1f} s for its first two calls")
    return forward, both
