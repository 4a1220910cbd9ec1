"""FitConfig: every option of a fit, as config.json keeps it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from polyfield.errors import PolyfieldError, naming
from polyfield.fields.registry import options_of, refusal
from polyfield.fit.schedule import Length


@dataclass(frozen=True)
class FitConfig:
    """Raises PolyfieldError where an option makes no sense."""

    source: str  # a path, or the name of a built-in scene
    field: str
    steps: int | None
    seconds: float | None  # exactly one of the two is given
    downscale: int
    options: dict[str, int | str]  # the architecture's own
    seed: int
    device: str
    save_seconds: float
    deterministic: bool = False  # to the byte on a GPU too
    signal: str = "radiance"
    size: int | None = None  # bytes that the field may store

    def __post_init__(self) -> None:
        if not isinstance(self.deterministic, bool):
            raise PolyfieldError(f"option deterministic is {self.deterministic!r}; expected true or false")
        for key, kinds in _TYPES.items():
            value = getattr(self, key)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise PolyfieldError(f"option {key} is {value!r}; expected {kinds[0].__name__}")
        options_of(self.field, self.options)
        if why := refusal(self.field, self.signal):
            raise PolyfieldError(why)
        if (self.steps is None) == (self.seconds is None):
            raise PolyfieldError("give --steps or --seconds, not both")
        _within("steps", self.steps, 1, 10**9)
        _within("seconds", self.seconds, 1e-3, 10**9)
        _within("downscale", self.downscale, 1, 1 << 16)
        _within("seed", self.seed, 0, (1 << 63) - 1)
        _within("size", self.size, 1, 1 << 50)
        _within("save-seconds", self.save_seconds, 1e-3, 10**9)

    @property
    def length(self) -> Length:
        return Length(self.steps, self.seconds)

    @staticmethod
    def of(config: dict[str, Any], where: str) -> FitConfig:
        """The options in a run's config.json; `where` names it in errors."""
        fields = dataclasses.fields(FitConfig)
        names = {field.name for field in fields if field.name in config}
        missing = sorted(
            field.name for field in fields if field.default is dataclasses.MISSING and field.name not in names
        )
        if missing:
            raise PolyfieldError(
                f"{where}: the keys {', '.join(missing)} are missing; this is no whole config.json"
            )
        with naming(where):
            return FitConfig(**{name: config[name] for name in names})


_TYPES: dict[str, tuple[type, ...]] = {
    "source": (str,),
    "field": (str,),
    "steps": (int, type(None)),
    "seconds": (float, int, type(None)),
    "downscale": (int,),
    "options": (dict,),
    "seed": (int,),
    "device": (str,),
    "save_seconds": (float, int),
    "signal": (str,),
    "size": (int, type(None)),
}


def _within(name: str, value: float | None, least: float, most: float) -> None:
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        raise PolyfieldError(f"--{name} is {value}; expected {least:g} to {most:g}")
