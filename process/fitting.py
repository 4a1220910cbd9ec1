"""Fitting the fields of a bank: one object after the other by the fused step, or all of them at once.

Both ways compute the same. On a CPU the fused step is several times as fast as the kernels' bank axis, which serves fields
that have no fused step, and GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from polyfield.fields import FieldSpec, Group, Points, StoredField, create
from polyfield.fitting.losses import Term
from polyfield.fitting.optimiser import Optimiser
from polyfield.fitting.schedule import learning_rate
from polyfield.process.recipes import Recipe
from polyfield.rendering.fused import FusedField

Pool = tuple[np.ndarray, np.ndarray]  # points (M, 3) and values (M, 1), float32, in random order


def term_of(spec: FieldSpec, recipe: Recipe) -> Term:
    """Return what compares raw values."""
    return Term("raw", "entropy" if spec.meaning.transform.function == "sigmoid" else "squares")


def fit_fields(
    spec: FieldSpec, recipe: Recipe, pools: Sequence[Pool], seeds: Sequence[int], device: str = "cpu"
) -> list[StoredField]:
    """Return a fitted field for each pool, by the way that is fastest for the spec and the device."""
    first = create(spec, seed=seeds[0], device=device)
    if FusedField.of(first) is not None and device == "cpu":
        return [fit_alone(spec, recipe, pool, seed) for pool, seed in zip(pools, seeds)]
    return fit_together(spec, recipe, pools, seeds, device)


def fit_alone(spec: FieldSpec, recipe: Recipe, pool: Pool, seed: int) -> StoredField:
    """Return one fitted field, by fused steps. The field's plan must have a fused step."""
    field = create(spec, seed=seed)
    fused, optimiser, term = FusedField.of(field), _optimiser(field, recipe), term_of(spec, recipe)
    assert fused is not None
    points, values = (torch.from_numpy(array) for array in pool)
    for step in range(recipe.steps):
        rate, rows = _rate(field, recipe, step), _slice(len(points), recipe.points, step)
        fused.train_points(
            Points(points[rows]),
            {"raw": values[rows]},
            [(term.part, term.measure, 1.0, term.settings)],
            [optimiser.arguments(tensor, rate) for tensor in fused.tensors],
        )
        optimiser.step_count += 1
    return field


def fit_together(
    spec: FieldSpec, recipe: Recipe, pools: Sequence[Pool], seeds: Sequence[int], device: str = "cpu"
) -> list[StoredField]:
    """Return fitted fields. Their parameters have a leading bank axis during the fit, so each kernel is called once."""
    fields = [create(spec, seed=seed, device=device) for seed in seeds]
    bank = stacked(fields)
    optimiser, term = _optimiser(bank, recipe), term_of(spec, recipe)
    points, values = (torch.from_numpy(np.stack(arrays)).to(device) for arrays in zip(*pools))
    for step in range(recipe.steps):
        rows = _slice(points.shape[1], recipe.points, step)
        optimiser.clear()
        found = bank.features(Points(points[:, rows])).vector
        # The sum over the objects of their mean losses: each learns as if it were alone.
        (term(found, values[:, rows]) * len(fields)).backward()
        optimiser.step(_rate(bank, recipe, step))
    named = dict(bank.named_parameters())
    with torch.no_grad():
        for at, field in enumerate(fields):
            for name, parameter in field.named_parameters():
                parameter.copy_(named[name][at])
    return fields


def stacked(fields: Sequence[StoredField]) -> StoredField:
    """Return a field of the same spec whose parameters are those of many fields, (B, ...). Points are (B, N, D)."""
    bank = create(fields[0].spec, device=fields[0].device)
    of_all = [dict(field.named_parameters()) for field in fields]
    for name in of_all[0]:
        module, _, last = name.rpartition(".")
        parameter = nn.Parameter(torch.stack([parameters[name].detach() for parameters in of_all]))
        bank.get_submodule(module).register_parameter(last, parameter)
    return bank


def _optimiser(field: StoredField, recipe: Recipe) -> Optimiser:
    groups: list[Group] = field.parameter_groups()
    if recipe.learning_rate is not None:
        groups = [replace(group, learning_rate=1.0) for group in groups]
    return Optimiser(groups, decay=0.0)


def _rate(field: StoredField, recipe: Recipe, step: int) -> float:
    if recipe.learning_rate is not None:
        return recipe.learning_rate
    return learning_rate(step / recipe.steps) * field.learning_rate


def _slice(pool: int, count: int, step: int) -> slice | Tensor:
    """Return the rows of a step: the next ones of the pool, which begins again at its end."""
    begin = step * count % pool
    if begin + count <= pool:
        return slice(begin, begin + count)
    return torch.arange(begin, begin + count) % pool
