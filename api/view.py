"""Showing fields in a browser, during and after a fit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polyfield.api.opening import EDIT, open_any
from polyfield.api.report import say
from polyfield.api.tasks import open_again
from polyfield.errors import PolyfieldError, shown
from polyfield.fitting.runs.interrupt import Stopped

if TYPE_CHECKING:
    from polyfield.fitting.fit import Fit, Step
    from polyfield.fitting.runs.run import Run
    from polyfield.fitting.tasks.task import Task
    from polyfield.viewer.subject import Photographs, Subject
    from polyfield.viewer.viewer import Viewer

HOST, PORT = "127.0.0.1", 7007


def view(
    source: str | os.PathLike[str],
    other: str | os.PathLike[str] | None = None,
    /,
    *,
    host: str = HOST,
    port: int = PORT,
    device: str = "auto",
) -> None:
    """Show one field, or two fields side by side, in a browser, until Ctrl-C.

    The function prints a link. Open this link in a browser. The link contains a random token, and the viewer refuses
    requests without this token.

    Parameters
    ----------
    source
        A run folder or a .field file.
    other
        A second run folder or .field file. Both fields must have the same signal.
    host
        The address to listen on. With addresses other than 127.0.0.1, other machines can connect. Everyone who has the link
        can then view the field. The connection is not encrypted.
    port
        The port to listen on. If this port is in use, the next free port is used.
    device
        "cpu", "cuda", or "auto". With "auto", "cuda" if there is a GPU, else "cpu".

    Raises
    ------
    PolyfieldError
        If a field cannot be read, the two fields have different signals, or the viewer cannot listen on the address.
    """
    from polyfield.viewer.viewer import Viewer

    subjects = [_subject(Path(place), device) for place in (source, other) if place is not None]
    signals = [subject.field.meaning.signal for subject in subjects]
    if len(set(signals)) > 1:
        raise PolyfieldError(
            f"{shown(str(other))} has the signal {signals[1]!r}; expected {signals[0]!r}, the signal of the first field"
        )
    viewer = Viewer(subjects, host=host, port=port)
    if (read := _photographs(Path(source), device)) is not None:
        viewer.photographs_from(read)
    _announce(viewer)
    try:
        viewer.serve()
    except (KeyboardInterrupt, Stopped):
        pass
    finally:
        viewer.close()


def _subject(path: Path, device: str) -> Subject:
    from polyfield.fitting.runs.devices import device_of
    from polyfield.viewer.subject import Subject

    field, context = open_any(path, device_of(device))
    return Subject(path.resolve().name.removesuffix(".field"), field, lambda: context)


def _photographs(path: Path, device: str) -> Callable[[], Photographs | None] | None:
    """Return what reads the photographs of a run's own scene, or None if it has none."""
    from polyfield.fitting.runs.config import FitConfig
    from polyfield.fitting.runs.run import Run

    if not path.is_dir():
        return None
    run = Run.open(path)
    if EDIT in run.config:
        return None
    config = FitConfig.of(run.config, str(path / "config.json"))
    if config.signal != "radiance":
        return None
    return lambda: _taken(open_again(run, replace(config, device=device), None))


def _taken(task: Task) -> Photographs | None:
    """Return the training photographs of a task, or of what a teacher was fitted to, if there are any."""
    from polyfield.distill.task import ConversionTask
    from polyfield.fitting.tasks.scene_task import SceneTask
    from polyfield.viewer.subject import Photographs

    if isinstance(task, ConversionTask):
        return None if task.taught.task is None else _taken(task.taught.task)
    if not isinstance(task, SceneTask):
        return None
    scene, train = task.scene, list(task.scene.train)
    return Photographs(
        scene.cameras[train],
        [scene.images[i] for i in train],
        [scene.names[i] for i in train],
        scene.background,
    )


def _announce(viewer: Viewer) -> None:
    say(f"viewer: open {viewer.link} in a browser; press Ctrl-C to stop this command")


class _Watch:
    """A viewer of a fit. An error of the viewer ends the viewer, not the fit."""

    def __init__(self, run: Run, task: Task, fitting: Fit) -> None:
        from polyfield.distill.task import ConversionTask
        from polyfield.viewer.live import Live, Training
        from polyfield.viewer.subject import Subject
        from polyfield.viewer.viewer import Viewer

        subjects = [Subject(run.path.name, fitting.field, lambda: task.context(fitting))]
        if isinstance(task, ConversionTask):
            taught = task.taught
            subjects.append(Subject(f"teacher {taught.name}", taught.field, lambda: taught.context))
        compared = fitting.field.meaning.kind.output in ("density", "colour")
        self._training = Training("training PSNR, dB" if compared else "training error")
        self.viewer: Viewer | None = Viewer(subjects, port=PORT, training=self._training)
        if (taken := _taken(task)) is not None:
            self.viewer.painter.photographs, self.viewer.painter.photographed = taken, True
        _announce(self.viewer)
        self._live = Live(self.viewer.painter, self._training, fitting, lambda: task.save(fitting, run))

    def between(self, step: Step, stopped: Callable[[], bool]) -> None:
        """Draw between two steps."""
        if self.viewer is None:
            return
        with self._guarded():
            self._live.between(step, stopped)

    def stay(self) -> None:
        """Show the fitted field until Ctrl-C."""
        if self.viewer is None:
            return
        say(f"viewer: the field is still shown at {self.viewer.link}; press Ctrl-C to stop")
        with contextlib.suppress(KeyboardInterrupt, Stopped), self._guarded():
            self._training.end()
            self.viewer.painter.outdate()
            self.viewer.serve()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Return a context in which an error closes the viewer, and is told."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the fit goes on
            say(f"warning: the viewer was closed by an error: {type(error).__name__}: {error!s:.200}")
            self.close()

    def close(self) -> None:
        if self.viewer is not None:
            self.viewer.close()
            self.viewer = None


@contextlib.contextmanager
def watching(run: Run, task: Task, fitting: Fit) -> Iterator[_Watch | None]:
    """Return a context with a viewer of a fit, which is closed at the end, or None where it cannot be opened."""
    try:
        watch: _Watch | None = _Watch(run, task, fitting)
    except Exception as error:  # noqa: BLE001 - whatever it is, the fit goes on
        say(f"warning: the viewer could not be opened: {type(error).__name__}: {error!s:.200}")
        watch = None
    try:
        yield watch
    finally:
        if watch is not None:
            watch.close()
