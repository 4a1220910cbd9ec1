"""The training loop: steps, saves, the log, and interruption."""

from __future__ import annotations

import time
from collections.abc import Callable

from polyfield.errors import PolyfieldError
from polyfield.fitting.fit import Diverged, Fit, Step
from polyfield.fitting.runs import checkpoints
from polyfield.fitting.runs.interrupt import Interruption
from polyfield.fitting.runs.run import Run

_LOG_EVERY = 10  # steps


# A function of a step and of a function that says whether a signal has arrived. It may wait between steps.
Between = Callable[[Step, Callable[[], bool]], None]


def train(
    fit: Fit,
    run: Run,
    *,
    save_seconds: float,
    report: Callable[[Step], None],
    between: Between | None = None,
) -> int:
    """Step until the fit's length is reached or a signal arrives. Save every `save_seconds` and at the end.

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
            if step.step // _LOG_EVERY > logged:  # a call may take several steps
                logged = step.step // _LOG_EVERY
                run.log({"seconds": round(fit.seconds, 3), **step.record()})
            report(step)
            if between:
                between(step, lambda: interruption.signal is not None)
            if time.monotonic() - saved_at >= save_seconds:
                checkpoints.save(run.path, fit.steps, fit.tensors(), fit.state())
                saved_at, saved_step = time.monotonic(), fit.steps
        if saved_step != fit.steps:
            checkpoints.save(run.path, fit.steps, fit.tensors(), fit.state())
        return interruption.exit_status if interruption.signal else 0


def _last_good(run: Run) -> str:
    steps = checkpoints.generations(run.path)
    last = f"the last good checkpoint is that of step {steps[-1]}" if steps else "no checkpoint was saved"
    return f"{last}; begin a new run with another --seed or other --options"
