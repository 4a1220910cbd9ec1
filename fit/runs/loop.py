"""The loop round a fit: steps, saves, the log, and stopping from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polyfield.errors import PolyfieldError
from polyfield.fit.runs import checkpoints
from polyfield.fit.runs.interrupt import Interruption
from polyfield.fit.runs.run import Run

if TYPE_CHECKING:
    from polyfield.fit.fit import Fit

_LOG_EVERY = 10  # steps
PATIENCE = 20  # steps in a row that taught nothing, before a fit gives up


class Diverged(PolyfieldError):
    """Too many steps in a row had no sample, or a loss or gradients that were not finite."""


def train(fit: Fit, run: Run, *, save_seconds: float, report: Callable[[Any], None]) -> int:
    """Step until the fit's length is reached or a signal asks to stop; save every so many seconds and at the end.

    Returns 0, or 128 + the signal's number. Raises PolyfieldError if the fit diverges.
    """
    saved_at, saved_step = time.monotonic(), -1
    logged = fit.steps // _LOG_EVERY
    with Interruption() as interruption:
        while fit.progress < 1 and interruption.signal is None:
            try:
                step = fit.step()
            except Diverged as error:
                raise PolyfieldError(f"{error}; {_last_good(run)}") from None
            if step.step // _LOG_EVERY > logged:  # some are of several steps
                logged = step.step // _LOG_EVERY
                run.log({"seconds": round(fit.seconds, 3), **vars(step)})
            report(step)
            if time.monotonic() - saved_at >= save_seconds:
                checkpoints.save(run.path, fit.steps, fit.tensors(), fit.state())
                saved_at, saved_step = time.monotonic(), fit.steps
        if saved_step != fit.steps:
            checkpoints.save(run.path, fit.steps, fit.tensors(), fit.state())
        return interruption.exit_status if interruption.signal else 0


def _last_good(run: Run) -> str:
    steps = checkpoints.generations(run.path)
    return f"the last good checkpoint is of step {steps[-1]}" if steps else "no checkpoint had been saved"
