"""Measuring a run's field against its source."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from polyfield.api.opening import fitted
from polyfield.api.report import say, showing
from polyfield.api.results import plain
from polyfield.api.tasks import open_again
from polyfield.errors import PolyfieldError

if TYPE_CHECKING:
    from polyfield.fitting.runs.run import Run
    from polyfield.fitting.tasks.task import Task


def evaluate(
    run: str | os.PathLike[str],
    /,
    *,
    source: str | os.PathLike[str] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a run's field: on the views held out, or on the source itself. Writes eval.json and a picture.

    Parameters
    ----------
    run
        The run's folder.
    source
        The path of the source, if it was moved since the fit.
    device
        "cpu", "cuda", or "auto".

    Returns
    -------
    dict
        The figures, as eval.json holds them; ``protocol`` names how they were measured.

    Raises
    ------
    PolyfieldError
        If the folder holds no run, or its source has changed.

    Examples
    --------
    >>> import polyfield, tempfile
    >>> with polyfield.quiet(), tempfile.TemporaryDirectory() as folder:
    ...     run = polyfield.fit("demo", steps=20, out=f"{folder}/run").run
    ...     figures = polyfield.evaluate(run)
    >>> figures["protocol"], len(figures["psnr_of_views"]) == figures["views"]
    ('polyfield-views-1', True)
    """
    from polyfield.fitting import session
    from polyfield.fitting.runs.config import FitConfig
    from polyfield.fitting.runs.devices import device_of
    from polyfield.fitting.runs.run import Run

    opened = Run.open(run)
    config = FitConfig.of(opened.config, str(opened.path / "config.json"))
    task = open_again(opened, replace(config, device=device), source)
    with opened.lock():
        try:
            took = session.figures_of(task, opened, config)
        except PolyfieldError as error:
            say(f"warning: {error}; eval.json will not hold the fit's steps and seconds")
            took = {}
        return measured(opened, task, took, device_of(device))


def measured(run: Run, task: Task, took: dict[str, Any], device: str) -> dict[str, Any]:
    """Measure a run's field, write eval.json and a picture, and return all figures with those in `took`."""
    from polyfield.export.pictures import sheet, write_png
    from polyfield.fitting.session import open_field

    field, context = open_field(fitted(run), device)
    with showing("evaluating") as progress:
        evaluation = task.evaluate(field, context, progress)
    result = plain({"run": str(run.path), **took, **evaluation.figures})
    run.write_eval(result)
    if evaluation.sheet:
        path = run.renders / evaluation.file
        write_png(path, sheet(evaluation.sheet))
        say(f"{path}: {evaluation.caption}")
    say(evaluation.summary)
    say(f"{result['parameters']:,} parameters, {result['bytes']:,} bytes stored")
    return result
