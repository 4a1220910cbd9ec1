"""Recipes: how the field of one object of a bank is fitted, as data.

`fast` is ours, for CPUs. `published` follows Cardace et al. 2024, section 3 and appendix: tri-planes with sines of the point beside
them, a network of sines, distances cut at 0.1 and compared as probabilities, Adam at 1e-4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from polyfield.errors import PolyfieldError
from polyfield.fields import FieldSpec, Meaning, ValueTransform
from polyfield.process.bank import UNIT

SIGNALS = ("udf", "sdf", "occupancy", "radiance")


@dataclass(frozen=True)
class Recipe:
    """Lengths are in half sizes of the object's cube."""

    name: str
    options: dict[str, Any]  # of the tri-plane
    steps: int
    points: int  # of a step
    pool: int  # points whose values are computed once
    near: tuple[
        tuple[float, float], ...
    ]  # standard deviation away from the surface, share of the pool; the rest is uniform
    truncation: float  # larger distances are not told apart; the sides are 2 long
    learning_rate: float | None = (
        None  # constant, of all parameters; None for those of the architecture and its schedule
    )
    as_probabilities: bool = (
        False  # distances are compared by the cross entropy of their share of the truncation
    )


FAST = Recipe(
    "fast",
    {"resolution": 32, "features": 8, "frequencies": 0, "width": 64, "layers": 1},
    steps=300,
    points=2048,
    pool=1 << 16,
    near=((0.005, 0.3), (0.03, 0.3), (0.1, 0.2)),
    truncation=2.0,
)
PUBLISHED = Recipe(
    "published",
    {"resolution": 32, "features": 16, "frequencies": 10, "width": 64, "layers": 3, "activation": "sine"},
    steps=1000,
    points=50_000,
    pool=600_000,
    near=((0.0, 1 / 6), (0.003, 5 / 12), (0.01, 1 / 3), (0.1, 1 / 24)),
    truncation=0.1,
    learning_rate=1e-4,
    as_probabilities=True,
)
# Radiance: steps along rays.
_RADIANCE = {"resolution": 32, "features": 16, "width": 64, "layers": 1}
RADIANCE_STEPS = 200

RECIPES = {recipe.name: recipe for recipe in (FAST, PUBLISHED)}


def recipe_of(name: str, signal: str, *, steps: int | None, options: dict[str, Any]) -> Recipe:
    """Return a recipe for a signal, with other steps and other options of the tri-plane where these are given.

    Raises PolyfieldError where there is none.
    """
    if name not in RECIPES:
        raise PolyfieldError(f"--recipe {name:.80}: expected {' or '.join(RECIPES)}")
    recipe = RECIPES[name]
    if signal == "radiance":
        recipe = replace(FAST, options=_RADIANCE, steps=RADIANCE_STEPS)
    if name == "published" and signal not in ("udf", "sdf"):
        raise PolyfieldError(f"--recipe published is for udf and sdf, not for {signal}; use --recipe fast")
    return replace(recipe, steps=recipe.steps if steps is None else steps, options=recipe.options | options)


def spec_of(recipe: Recipe, signal: str) -> FieldSpec:
    """Return the spec of every object's field, in the cube [-1, 1]^3."""
    transform = None
    if recipe.as_probabilities:
        cut = recipe.truncation
        transform = {
            "udf": ValueTransform("sigmoid", (-15.0, 15.0), scale=cut),
            "sdf": ValueTransform("sigmoid", (-15.0, 15.0), scale=2 * cut, offset=-cut),
        }[signal]
    return FieldSpec("triplane", Meaning.of(signal, UNIT, transform=transform), dict(recipe.options))


def plain(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain data, for a bank's manifest."""
    return asdict(recipe) | {"near": [list(pair) for pair in recipe.near]}
