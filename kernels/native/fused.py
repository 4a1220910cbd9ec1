"""Whole fields: gradients of a step along rays or at points, values, and pictures, in one call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from polyfield import _core
from polyfield.kernels import field_checks
from polyfield.kernels.field_checks import Groups, Radial, Table
from polyfield.kernels.levels import Levels
from polyfield.kernels.native.adam import settings as adam_settings
from polyfield.kernels.native.arrays import array, like, plain
from polyfield.kernels.native.interpolate import grid

# As the enumerations in kernels.hpp.
_PARTS = ("raw", "features", "colour")
_MEASURES = ("squares", "huber", "relative", "entropy", "clamped")
_MOST_CODES = 256  # numbers
_MOST_WEIGHTS = 1 << 20  # gradients are summed in 64 chunks, each with its own memory


class FusedKernel:
    """An implementation of `operations.FusedKernel`.

    It reads its tensors at every call, so they may be trained.
    """

    def __init__(
        self,
        groups: Groups,
        density: Sequence[Tensor],
        colour: Sequence[Tensor],
        axes: Sequence[Sequence[float]],
        frequencies: int | None,
        biases: Sequence[Tensor],
        modulation: Table | None,
        radial: Radial | None,
        **settings: Any,
    ) -> None:
        self._groups, self._modulation = groups, modulation  # keeps the indices
        self._tables = _tables(groups, modulation)
        self.halves = [torch.empty(table.shape, dtype=torch.float16) for table in self._tables]
        halves = iter(self.halves)

        def factor(table: Tensor, levels: Levels, own: Sequence[int]) -> tuple[Any, ...]:
            return grid(levels, table.shape[1]), plain(table), next(halves).view(torch.uint16), list(own)

        self._native = _core.Field(
            [[factor(*each) for each in group] for group in groups],
            modulation=factor(*modulation) if modulation else None,
            biases=[plain(bias) for bias in biases],
            radial=radial and _radial(radial),
            frequencies=-1 if frequencies is None else frequencies,
            density=[plain(weight) for weight in density],
            colour=[plain(weight) for weight in colour],
            axes=[number for row in axes for number in row],
            **settings,
        )
        functions = [] if radial is None else [radial.weights]
        self._tensors = [*self._tables, *density, *biases, *functions, *colour]
        self._functions = len(self._tables) + len(density) + len(biases) if functions else None
        self._settled = False
        self.refresh()
        self._latent = len(density[-1]) if density else _codes(groups)
        self._radiance, self._timed = settings["degree"] > 0, settings["timed"]
        self._dimensions = len(axes)
        self._to_tables: list[Tensor] = []
        self._to_networks = [
            [like(tensor) for tensor in part] for part in (density, biases, functions, colour)
        ]
        self._occupied: tuple[Tensor, int, _core.Occupancy] | None = None

    def train(
        self,
        rays: dict[str, Any],
        occupied: Tensor,
        *,
        target: Tensor,
        background: Tensor,
        huber: float,
        steps: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[dict[str, Any], Tensor, list[Tensor]]:
        field_checks.radiance_rays(
            rays,
            occupied,
            self._timed,
            target=(target, 4),
            background=(background, 3),
        )
        errors = torch.empty(len(target))
        figures = self._native.train(
            **_arrays(rays),
            grid=self._packed(occupied),
            target=array(target),
            background=array(background),
            huber=huber,
            errors=array(errors),
            **self._descent(steps),
        )
        return figures, errors, [] if steps else self._gradients()

    def train_points(
        self,
        points: Tensor,
        directions: Tensor | None,
        times: Tensor | None = None,
        *,
        targets: Mapping[str, Tensor],
        terms: Sequence[tuple[str, str, float, Mapping[str, float]]],
        steps: Sequence[Mapping[str, Any] | None] = (),
    ) -> tuple[dict[str, Any], Tensor, list[Tensor]]:
        widths = {"raw": 1 if self._radiance else self._latent, "features": self._latent, "colour": 3}
        field_checks.points_and_targets(
            points,
            directions,
            times,
            self._timed,
            self._dimensions,
            {name: (t, widths[name]) for name, t in targets.items()},
        )
        errors = torch.empty(len(points))
        figures = self._native.train_points(
            points=array(points),
            directions=_given(directions),
            times=_given(times),
            targets=[array(targets[part]) if part in targets else None for part in _PARTS],
            terms=[
                (_PARTS.index(part), _MEASURES.index(measure), weight, *_limits(options))
                for part, measure, weight, options in terms
            ],
            errors=array(errors),
            **self._descent(steps),
        )
        return figures, errors, [] if steps else self._gradients()

    def evaluate(
        self, points: Tensor, directions: Tensor | None = None, times: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        field_checks.points_and_targets(points, directions, times, self._timed, self._dimensions, {})
        latent = torch.empty(len(points), self._latent)
        colour = torch.empty(0 if directions is None else len(points), 3)
        self._native.evaluate(
            points=array(points),
            directions=_given(directions),
            times=_given(times),
            latent=array(latent),
            colour=array(colour),
        )
        return latent, None if directions is None else colour

    def _descent(self, steps: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
        """Return where a step's gradients go."""
        if steps:
            field_checks.field_steps(self._tensors, len(self._tables), steps, self._functions)
            self._settle(steps)
        elif not self._to_tables:
            self._to_tables = [like(table) for table in self._tables]
        to_density, to_biases, to_radial, to_colour = self._to_networks
        return {
            "to_tables": [array(gradient) for gradient in self._to_tables],
            "steps": [step and _step(**step) for step in steps],
            "to_density": [array(gradient) for gradient in to_density],
            "to_biases": [array(gradient) for gradient in to_biases],
            "to_radial": [array(gradient) for gradient in to_radial],
            "to_colour": [array(gradient) for gradient in to_colour],
        }

    def _gradients(self) -> list[Tensor]:
        return [*self._to_tables, *chain.from_iterable(self._to_networks)]

    def _settle(self, steps: Sequence[Mapping[str, Any] | None]) -> None:
        """Prepare tables and moments for random access."""
        if not self._settled:
            for table, half, step in zip(self._tables, self.halves, steps):
                assert step is not None
                pairs = half.view(-1)[: half.numel() // 2 * 2].view(torch.float32)
                for tensor in (table, step["mean"], step["square"], pairs):
                    _core.settle(plain(tensor))
            self._settled = True

    def refresh(self) -> None:
        self._native.refresh()

    def density(self, points: Tensor, times: Tensor | None = None) -> Tensor:
        field_checks.points_of_radiance(points, times, self._timed)
        out = torch.empty(len(points))
        self._native.density(array(points), _given(times), array(out))
        return out

    def render(self, rays: dict[str, Any], occupied: Tensor) -> tuple[dict[str, Any], Tensor, Tensor, Tensor]:
        field_checks.radiance_rays(rays, occupied, self._timed)
        count = len(rays["origins"])
        colour, opacity, depth = torch.empty(count, 3), torch.empty(count), torch.empty(count)
        figures = self._native.render(
            **_arrays(rays),
            grid=self._packed(occupied),
            colour=array(colour),
            opacity=array(opacity),
            depth=array(depth),
        )
        return figures, colour, opacity, depth

    def _packed(self, occupied: Tensor) -> _core.Occupancy:
        """Return the occupancy grid in bits, packed again only for another or a changed tensor."""
        version = occupied._version  # counts changes in place
        if self._occupied is None or self._occupied[0] is not occupied or self._occupied[1] != version:
            self._occupied = (occupied, version, _core.Occupancy(plain(occupied).view(torch.uint8)))
        return self._occupied[2]


def _step(mean: Tensor, square: Tensor | None = None, **numbers: Any) -> tuple[Any, Any, Any, Any]:
    """Return a step of Adam, or of Muon if there is no second moment."""
    if square is None:
        return None, _core.Muon(**numbers), array(mean), None
    return adam_settings(**numbers), None, array(mean), array(square)


def _limits(options: Mapping[str, float]) -> tuple[float, float]:
    """Return the two numbers of a measure: a range, or nothing and its one option."""
    if "low" in options:
        return options["low"], options["high"]
    return 0.0, next(iter(options.values()), 0.0)


def _given(tensor: Tensor | None) -> Any:
    return None if tensor is None else array(tensor)


def _arrays(rays: dict[str, Any]) -> dict[str, Any]:
    given = {"times": None} | rays
    return {name: array(value) if isinstance(value, Tensor) else value for name, value in given.items()}


def _radial(radial: Radial) -> tuple[Any, ...]:
    weights, tree, shapes, linear = radial
    return (*map(plain, (weights, tree.points, shapes, tree.leaves, tree.boxes)), linear)


def _tables(groups: Groups, modulation: Table | None) -> list[Tensor]:
    """Return all tables, that of the modulation last."""
    return [table for group in groups for table, _, _ in group] + ([modulation[0]] if modulation else [])


def _codes(groups: Groups) -> int:
    return sum(group[0][1].count * group[0][0].shape[1] for group in groups)


def _has_form(
    groups: Groups, density: Sequence[Tensor], colour: Sequence[Tensor], radial: Radial | None, degree: int
) -> bool:
    """Return whether there is a kernel for the way from codes to values."""
    if density:
        return degree % 4 == 0 if colour else not degree
    # Without networks the codes of the first group are the densities, which are looked up alone.
    return not colour and not radial and (not degree or _codes(groups[:1]) == 1)


def _takes(modulation: Table, density: Sequence[Tensor]) -> bool:
    """Return whether there is a kernel for a modulation: hidden layers are whole vectors."""
    _, levels, _ = modulation
    return levels.count == 1 and all(len(weight) % 16 == 0 for weight in density[:-1])


def fused_field(
    groups: Groups,
    density: Sequence[Tensor],
    colour: Sequence[Tensor],
    *,
    biases: Sequence[Tensor],
    modulation: Table | None,
    radial: Radial | None,
    **settings: Any,
) -> FusedKernel | None:
    tables, functions = _tables(groups, modulation), [] if radial is None else [radial.weights]
    alike = all(
        (levels.count, table.shape[1]) == (group[0][1].count, group[0][0].shape[1])
        for group in groups
        for table, levels, _ in group
    )
    fits = (
        _has_form(groups, density, colour, radial, settings["degree"])
        and alike
        and max(map(len, groups), default=0) <= _core.MAX_FACTORS
        and (density[0].shape[1] if density else _codes(groups)) <= _MOST_CODES
        and max(len(density), len(colour)) <= _core.MAX_LAYERS
        and sum(weight.numel() for weight in (*density, *colour)) <= _MOST_WEIGHTS
        and (modulation is None or _takes(modulation, density))
        and all(tensor.is_contiguous() for tensor in (*tables, *density, *biases, *functions, *colour))
    )
    if not fits:
        return None
    return FusedKernel(
        groups, density, colour, biases=biases, modulation=modulation, radial=radial, **settings
    )
