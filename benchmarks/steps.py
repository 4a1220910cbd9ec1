"""The training step on a scene, half-way through a fit, compared with limits that are measured in the same rounds.

The field is a hash grid of 2^17 entries per level. Each measurement continues from the same state. The native step is timed as a
whole: drawing, marching, forward, backward, optimiser and occupancy. The reference runs operation by operation, and its time on the
occupancy grid is not counted.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks import limits
from benchmarks.compiling import compiles
from benchmarks.forms import REFERENCE, instruction_sets, using, within
from benchmarks.turns import Budget, Figures, in_turns
from polyfield.data.scene import Scene
from polyfield.fitting.fit import Fit
from polyfield.fitting.runs.config import FitConfig
from polyfield.fitting.tasks.scene_task import SceneTask
from polyfield.progress import silent

_COMPILED = ("features", "head", "raw")  # what the general path asks of a field

State = tuple[dict[str, torch.Tensor], dict[str, Any]]


def measure(scene: Scene, seconds: float, budget: Budget) -> dict[str, object]:
    """The cell: a row for each form, from the middle of a fit of so many seconds."""
    notes: list[str] = []
    contenders: dict[str, Callable[[], Figures]] = {}
    fit = _begin(scene, seconds)
    while fit.progress < 0.5:
        fit.step()
    state: State = copy.deepcopy((fit.tensors(), fit.state()))
    for name in instruction_sets():
        contenders[name] = within(name, lambda: _turn(fit, state, budget, native=True))
    with using(REFERENCE):
        general = _begin(scene, seconds)

    def eager() -> Figures:
        return _turn(general, state, budget, native=False)

    def compiled() -> Figures:
        with replaced(general.field, methods):
            return eager()

    contenders[REFERENCE] = within(REFERENCE, eager)
    methods = {name: torch.compile(getattr(general.field, name), dynamic=True) for name in _COMPILED}
    if compiles(within(REFERENCE, compiled), budget, notes):
        contenders["reference, torch.compile"] = within(REFERENCE, compiled)
    for name, run in limits.contenders(budget).items():
        contenders[f"limits {name}"] = run
    found = in_turns(contenders, budget.rounds)
    rows = [_row(name, found, fit) for name in found if not name.startswith("limits ")]
    notes.append(
        f"measured from step {state[1]['steps']} on, after {seconds / 2:g} s of a fit of {seconds:g} s"
    )
    return {"rows": rows, "notes": notes}


def _begin(scene: Scene, seconds: float) -> Fit:
    config = FitConfig(
        source=scene.name,
        field="hashgrid",
        seconds=seconds,
        downscale=scene.downscale,
        options={"entries": 1 << 17},  # the size that the limits were first worked out for
        device="cpu",
    )
    return SceneTask(scene).begin(config, silent)


def _turn(fit: Fit, state: State, budget: Budget, *, native: bool) -> Figures:
    """Steps from a state on, as many as the budget has: what they did a second."""
    fit.restore(*copy.deepcopy(state))
    then = state[1]
    least = then["steps"] + (budget.least_steps if native else 1)
    while fit.steps < least or fit.seconds < then["seconds"] + budget.step_seconds:
        fit.step()
    spent = fit.seconds - then["seconds"]
    if not native:
        spent -= _grid_seconds(fit.state()) - _grid_seconds(then)
    did = {key: fit.totals[key] - then["totals"][key] for key in ("rays", "evaluated", "shaded")}
    return {key: count / spent for key, count in ({"steps": fit.steps - then["steps"]} | did).items()}


def _grid_seconds(state: dict[str, Any]) -> float:
    """Return the seconds that the occupancy grid took."""
    return state["objective"]["grid_seconds"]


@contextlib.contextmanager
def replaced(field: torch.nn.Module, methods: dict[str, Callable[..., Any]]) -> Iterator[None]:
    """A context in which a field has these methods in place of its own."""
    vars(field).update(methods)
    try:
        yield
    finally:
        for name in methods:
            del vars(field)[name]


def _row(name: str, found: dict[str, Figures], fit: Fit) -> dict[str, object]:
    figures = found[name]
    row: dict[str, object] = {
        "form": name,
        "steps/s": figures["steps"],
        "rays/s": figures["rays"],
        "evaluated samples/s": figures["evaluated"],
        "trained samples/s": figures["shaded"],
        "rays/s / eager": figures["rays"] / found[REFERENCE]["rays"],
    }
    plan = fit.field.plan()
    if plan is None or name not in instruction_sets():
        return row
    # What was done in a second, and how many seconds the limits ask for that.
    asked = limits.step_seconds(
        limits.Shape.of(plan),
        limits.limits_of(name, found[f"limits {name}"]),
        rays=figures["rays"],
        evaluated=figures["evaluated"],
        trained=figures["shaded"],
    )
    return row | {
        "share of limit": sum(asked.values()),
        "of it multiply-adds": asked["multiply_adds"],
        "reads": asked["reads"],
        "updates": asked["updates"],
    }
