"""Evaluating the field of a run."""

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
    """Evaluate the field of a run again, as at the end of its fit.

    A field of a scene is compared with the test views, and any other field with its source. A converted field is compared
    with its teacher and, if the teacher's source still exists, with this source. The figures are written to eval.json in
    the run folder, and pictures, if any, to its folder renders.

    Parameters
    ----------
    run
        The run folder.
    source
        The new path of the source, if the source was moved after the fit.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".

    Returns
    -------
    dict
        The figures, as in eval.json. ``protocol`` is the name of the evaluation method.

    Raises
    ------
    PolyfieldError
        If the folder holds no run, the run has no field yet, or its source has changed.

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
