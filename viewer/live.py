"""Live: a viewer between the steps of a fit. It reads the field and never changes it, so a fit's bytes stay the same."""

from __future__ import annotations

import time
from collections.abc import Callable

from polyfield.fitting.fit import Fit, Step
from polyfield.viewer.painter import Painter

MOVING, RESTING = (
    0.18,
    0.015,
)  # shares of the time that drawing takes while somebody looks around, and otherwise
_FOLLOW = 1.0  # seconds between updates of the curve
_MOST = 400  # numbers of a curve


class Training:
    """What browsers see of a fit, and what they want of it."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.text = ""
        self.paused = self.save_wanted = False
        self.history: list[tuple[float, float]] = []  # seconds and PSNR or error
        self._watching: list[Callable[[], None]] = []

    def watch(self, follow: Callable[[], None]) -> None:
        """Call a function when anything new is known."""
        self._watching.append(follow)

    def note(self, seconds: float, value: float, text: str) -> None:
        """Take what is known now."""
        self.text = text
        self.history.append((seconds, value))
        if len(self.history) > _MOST:
            self.history = self.history[::2]
        self.tell()

    def tell(self) -> None:
        for follow in list(self._watching):
            try:
                follow()
            except Exception:  # noqa: BLE001 - its browser is gone
                self._watching.remove(follow)


class Live:
    """Draws between steps, for a bounded share of the time."""

    def __init__(self, painter: Painter, training: Training, fit: Fit, save: Callable[[], None]) -> None:
        self._painter, self._training, self._fit, self._save = painter, training, fit, save
        self._free = 0.0  # when drawing is allowed again
        self._followed = 0.0
        self._values: list[float] = []
        self._drawn_at = -1  # the step whose field the pictures show

    def between(self, step: Step, stopped: Callable[[], bool]) -> None:
        """Draw, if it is time to, and wait while the fit is paused."""
        training = self._training
        self._values.append(step.figures.get("psnr", step.figures.get("error", 0.0)))
        now = time.monotonic()
        if now - self._followed > _FOLLOW and self._painter.watched:
            value = sum(self._values) / len(self._values)
            training.note(self._fit.seconds, value, f"{step}, {self._fit.rate}, {self._fit.progress:.0%}")
            self._values, self._followed = [], now
        if training.save_wanted:
            training.save_wanted = False
            self._save()
            training.text = f"saved at step {step.step}"
            training.tell()
        if now >= self._free and self._painter.watched:
            self._draw()
        if training.paused:
            self._painter.outdate()
            while training.paused and not stopped():
                if not self._painter.paint():
                    self._painter.wait()

    def _draw(self) -> None:
        start, share = time.monotonic(), MOVING if self._painter.urgent else RESTING
        if not self._painter.busy and self._fit.steps != self._drawn_at:
            self._painter.outdate(brief=True)
            self._drawn_at = self._fit.steps
        self._painter.paint()
        now = time.monotonic()
        self._free = now + (now - start) * (1 / share - 1)
