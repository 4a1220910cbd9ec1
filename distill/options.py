"""Conversion: the options of a conversion beside those of any fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from polyfield.errors import PolyfieldError, as_stored

LEVELS = ("poses", "rays", "points")


@dataclass(frozen=True)
class Conversion:
    """How a field is taught. Raises PolyfieldError if an option makes no sense.

    >>> Conversion().hard
    ('poses', 'rays', 'points')
    """

    # The shares of the fit at which the stage of features and the stage of samples end; rendered colours follow.
    stages: tuple[float, float] | None = None  # those that suit the new field if None
    hard: tuple[str, ...] = LEVELS  # what is taught more often where the student is wrong, of LEVELS
    init_head: bool = True  # begin with the teacher's colour network where both have the same shape
    init_field: bool = True  # begin with the teacher's parameters where both fields have the same form

    def __post_init__(self) -> None:
        if self.stages is not None and not _are_stages(self.stages):
            raise PolyfieldError(
                f"--stages {' '.join(map(str, self.stages)):.80}: expected two numbers from 0 to 1, the smaller one first"
            )
        for level in self.hard:
            if level not in LEVELS:
                raise PolyfieldError(f"--hard {level!r:.80}: expected one or more of {', '.join(LEVELS)}")

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` takes back."""
        return {**asdict(self), "stages": self.stages and list(self.stages), "hard": list(self.hard)}

    @staticmethod
    def from_json(data: Any) -> Conversion:
        """Return the options that `to_json` wrote. Raises PolyfieldError for anything else."""
        if isinstance(data, dict):
            data = {"init_field": False} | data  # written before there was such a start
        match data:
            case {
                "stages": None | [_, _] as stages,
                "hard": [*hard],
                "init_head": bool(init_head),
                "init_field": bool(init_field),
                **rest,
            } if not rest and all(isinstance(level, str) for level in hard):
                try:
                    return Conversion(
                        None if stages is None else (stages[0], stages[1]),
                        tuple(hard),
                        init_head,
                        init_field,
                    )
                except PolyfieldError as error:
                    raise PolyfieldError(f"config.json: conversion: {as_stored(error)}") from None
        raise PolyfieldError(
            f"config.json: conversion is {data!r:.200}; expected an object with the keys stages, hard, init_head "
            "and init_field"
        )


def _are_stages(stages: Sequence[object]) -> bool:
    numbers = [s for s in stages if isinstance(s, int | float) and not isinstance(s, bool)]
    return len(numbers) == len(stages) == 2 and 0 <= numbers[0] <= numbers[1] <= 1
