"""Live: a viewer between the steps of a fit. It reads the field and never changes it, so a fit's bytes stay the same."""

from __future__ import annotations

import time
from collections.abc import Callable

from polyfield.fitting.fit import Fit, Step
from polyfield.viewer.painter import Painter

# Shares of the time that drawing takes: while somebody looks around, and otherwise. A browser without a GPU takes more
# to display a picture than the fit takes to draw it.
MOVING, RESTING = 0.14, 0.003
_LONGEST_REST = 30.0  # seconds between pictures, however slow they are
_FOLLOW = 2.0  # seconds between updates of the curve
_MOST = 400  # numbers of a curve


class Training:
    """What browsers see of a fit, and what they want of it."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.text = ""
        self.paused = self.save_wanted = self.over = False
        self.history: list[tuple[float, float]] = []  # seconds and PSNR or error
        self._watching: list[Callable[[], None]] = []

    def watch(self, follow: Callable[[], None]) -> None:
        """Call a function when anything new is known."""
        self._watching.append(follow)

    def forget(self, follow: Callable[[], None]) -> None:
        """Call it no more."""
        if follow in self._watching:
            self._watching.remove(follow)

    def say(self, text: str) -> None:
        """Take a line for the browsers."""
        self.text = text
        self.tell()

    def pause(self, paused: bool) -> None:
        """Let the fit wait after its step, or go on."""
        self.paused = paused
        self.tell()

    def end(self) -> None:
        """The fit is over: there is nothing to pause or save any more."""
        self.over = True
        self.tell()

    def note(self, seconds: float, value: float, text: str) -> None:
        """Take what is known now."""
        self.text = text
        self.history.append((seconds, value))
        if len(self.history) > _MOST:
            self.history = self.history[::2]
        self.tell()

    def tell(self) -> None:
        """Let all browsers show it."""
        for follow in list(self._watching):
            try:
                follow()
            except Exception:  # noqa: BLE001 - its browser is gone
                self.forget(follow)


class Live:
    """Draws between steps, for a bounded share of the time."""

    def __init__(self, painter: Painter, training: Training, fit: Fit, save: Callable[[], None]) -> None:
        self._painter, self._training, self._fit, self._save = painter, training, fit, save
        self._due = {MOVING: 0.0, RESTING: 0.0}  # when the next picture may be drawn
        self._followed = 0.0
        self._values: list[float] = []

    def between(self, step: Step, stopped: Callable[[], bool]) -> None:
        """Draw, if it is time to, and wait while the fit is paused."""
        self._note(step)
        self._save_if_wanted()
        # A page loads much faster if the fit does not take the cores from the browser.
        if self._painter.expecting:
            self._painter.outdate(brief=True)
        while self._painter.expecting and not stopped():
            if not self._painter.paint():
                self._painter.wait()
        if self._painter.watched and time.monotonic() >= self._due[self._share]:
            self._draw()
        if self._training.paused:
            self._painter.outdate()
            while self._training.paused and not stopped():
                self._save_if_wanted()
                if not self._painter.paint():
                    self._painter.wait()

    @property
    def _share(self) -> float:
        return MOVING if self._painter.urgent else RESTING

    def _note(self, step: Step) -> None:
        self._values.append(step.figures.get("psnr", step.figures.get("error", 0.0)))
        now = time.monotonic()
        if now - self._followed > _FOLLOW:
            value = sum(self._values) / len(self._values)
            words = f"{step}, {self._fit.rate}, {self._fit.progress:.0%} done"
            self._training.note(self._fit.seconds, value, words)
            self._values, self._followed = [], now

    def _save_if_wanted(self) -> None:
        if self._training.save_wanted:
            self._training.save_wanted = False
            self._save()
            self._training.say(f"field file saved at step {self._fit.steps}")

    def _draw(self) -> None:
        start = time.monotonic()
        self._painter.outdate(brief=True)  # a coarse picture of the present field comes first
        self._painter.paint()
        painted = time.monotonic()
        self._painter.fill()  # a still, a section or a frame of a film, for which no window need be at rest
        now = time.monotonic()
        ordered = (now - painted) * (1 / MOVING - 1)
        rest = min((painted - start) * (1 / RESTING - 1), _LONGEST_REST)
        self._due = {
            MOVING: now + (painted - start) * (1 / MOVING - 1) + ordered,
            RESTING: now + max(rest, ordered),
        }
