"""Painter: draws for all browsers in one thread, coarse pictures first, and drops those that are out of date."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from polyfield.errors import PolyfieldError
from polyfield.fitting.metrics.images import psnr
from polyfield.progress import Progress, silent
from polyfield.viewer.look import ALONE, DIFFERENCE, FIELD, PHOTOGRAPH, Look, columns
from polyfield.viewer.subject import Photographs, Subject

_FRAME = 0.1  # seconds that a picture may take while the camera moves, or a field is fitted
_RECENT = 3.0  # seconds after a browser's wish during which its pictures are urgent
_NEW = 15.0  # and after it has come
_LOADING = 4.0  # seconds at most from a browser's loading of the page to its first picture
_COARSEST = 128  # rows
_FINER = 2.0  # times as many rows in the next picture
_LINE = 0.4  # grey of the line between two sides
GAIN = 4.0  # of a shown difference
_COMPARED = 400  # pixels a side of a photograph whose PSNR is shown
_LONGEST_WAIT = 0.2  # seconds, after which a waiting painter looks whether it should stop
_SETTLED = 0.08  # seconds after the last move of a camera before its picture is refined


class _Stale(Exception):
    """The browser asks for another view by now."""


@dataclass(eq=False)
class Canvas:
    """One browser: what it asks for, and how far that is drawn. The browser's thread replaces `look`; the painter draws."""

    show: Callable[[Tensor, bool], None]  # takes a picture (H, W, 3) and whether it is the finished one
    tell: Callable[[str], None]  # takes a line about what is shown
    look: Look | None = None
    version: int = 0  # of the look
    drawn: int = -1  # the version that was drawn last
    height: int = 0  # rows of that picture
    turn: float = 0.0  # when it was drawn
    asked: float = -math.inf  # when the browser asked for the look
    brief: bool = False  # whether one coarse picture is enough
    came: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        if self.look is None:
            return True
        return self.drawn == self.version and (self.brief or self.height >= self.look.full)

    @property
    def due(self) -> bool:
        """Whether to draw now. A finer picture that the next move makes stale would delay that move's own picture."""
        return not self.finished and (self.drawn != self.version or time.monotonic() - self.asked > _SETTLED)


@dataclass
class Order:
    """A picture that is not for a window: a still, or a frame of a film."""

    look: Look
    height: int
    done: threading.Event = field(default_factory=threading.Event)
    picture: Tensor | None = None
    error: Exception | None = None


@dataclass
class Sections:
    """Sections of the first field, `side` pixels along their longer side."""

    side: int
    done: threading.Event = field(default_factory=threading.Event)
    pictures: list[Tensor] = field(default_factory=list)
    error: Exception | None = None


class Painter:
    """Draws what canvases and orders ask for. `paint` is called by one thread; all else by any."""

    def __init__(self, subjects: list[Subject]) -> None:
        self.subjects = subjects
        self.photographs: Photographs | None = None
        self.photographed = False  # whether there are photographs, or will be once they are read
        self._canvases: list[Canvas] = []
        self._orders: list[Order | Sections] = []
        self._wanted = threading.Condition()
        self._closed = False
        self._expected = -math.inf  # when a browser that has no picture yet loaded the page
        # Rows times columns a second, of each layer, at full height (which takes all samples) and below.
        self._speeds: dict[tuple[str, bool], float] = {}

    # -- asking

    def expect(self) -> None:
        """Note that a browser loads the page."""
        self._expected = time.monotonic()

    @property
    def expecting(self) -> bool:
        """Whether a browser has loaded the page and waits for its first picture."""
        return time.monotonic() - self._expected < _LOADING

    def add(self, canvas: Canvas) -> None:
        with self._wanted:
            self._canvases.append(canvas)

    def remove(self, canvas: Canvas) -> None:
        with self._wanted:
            if canvas in self._canvases:
                self._canvases.remove(canvas)

    def ask(self, canvas: Canvas, look: Look) -> None:
        """Let a canvas show another look."""
        with self._wanted:
            canvas.look, canvas.brief, canvas.asked = look, False, time.monotonic()
            canvas.version += 1
            self._wanted.notify()

    def order(self, order: Order | Sections) -> None:
        """Let something be drawn after the windows that wait. Its `done` is set then."""
        with self._wanted:
            if not self._closed:
                self._orders.append(order)
                self._wanted.notify()
                return
        _refuse(order)

    def close(self) -> None:
        """Refuse all orders, those that wait too. Nothing is drawn any more."""
        with self._wanted:
            self._closed = True
            waiting, self._orders, self._canvases = self._orders, [], []
        for order in waiting:
            _refuse(order)

    def outdate(self, *, brief: bool = False) -> None:
        """Draw everything anew, because the first field has changed; if `brief`, in one coarse picture each."""
        self.subjects[0].renew()
        with self._wanted:
            for canvas in self._canvases:
                canvas.version += 1
                canvas.brief = brief

    @property
    def urgent(self) -> bool:
        """Whether somebody has just come or moved a camera, or waits for a still or a film."""
        now = time.monotonic()
        with self._wanted:
            return bool(self._orders) or any(
                now - canvas.asked < _RECENT or now - canvas.came < _NEW for canvas in self._canvases
            )

    @property
    def watched(self) -> bool:
        """Whether there is a browser."""
        return bool(self._canvases)

    def wait(self) -> None:
        """Wait until there is something to draw, but not for long."""
        with self._wanted:
            settled = all(canvas.finished for canvas in self._canvases)
            if not any(canvas.due for canvas in self._canvases) and not (settled and self._orders):
                self._wanted.wait(_LONGEST_WAIT if settled else _SETTLED / 2)

    # -- drawing

    def paint(self) -> bool:
        """Draw one picture for whom it is most urgent. Return whether there was anything to draw."""
        with self._wanted:
            waiting = [canvas for canvas in self._canvases if canvas.due]
            settled = all(canvas.finished for canvas in self._canvases)
            waiting.sort(key=lambda canvas: (canvas.drawn == canvas.version, canvas.turn))
            canvas = waiting[0] if waiting else None
            version = canvas.version if canvas else 0
            look = canvas.look if canvas else None
        if canvas is not None and look is not None:
            self._paint(canvas, look, version)
            return True
        return settled and self.fill()

    def fill(self) -> bool:
        """Draw one picture that is not for a window. Return whether there was one to draw."""
        with self._wanted:
            order = self._orders.pop(0) if self._orders else None
        if order is None:
            return False
        self._fill(order)
        return True

    def _paint(self, canvas: Canvas, look: Look, version: int) -> None:
        coarse = canvas.drawn != version
        rows = self._rows(look) if coarse else min(math.ceil(canvas.height * _FINER), look.full)
        if rows > 0.6 * look.full:
            rows = look.full if not coarse or rows >= look.full else rows

        def check(share: float, doing: str = "") -> None:
            if canvas.version != version:
                raise _Stale

        start = time.perf_counter()
        try:
            progress: Progress = silent if coarse else check
            picture = self._compose(look, rows, progress, coarse=coarse and rows < look.full)
            if coarse:
                self._learn(look, rows, time.perf_counter() - start)
            canvas.drawn, canvas.height, canvas.turn = version, rows, time.monotonic()
            canvas.show(picture, rows >= look.full)
            if canvas.came >= self._expected:
                self._expected = -math.inf
            if rows >= look.full and look.beside != ALONE:
                canvas.tell(self._compared(look, rows, check))
        except _Stale:
            return
        except Exception as error:  # noqa: BLE001 - such as values that are not finite: others go on
            canvas.drawn, canvas.height, canvas.turn = version, look.full, time.monotonic()
            canvas.tell(_words(error))

    def _fill(self, order: Order | Sections) -> None:
        try:
            if isinstance(order, Sections):
                order.pictures = self.subjects[0].renderer(None).flat((order.side, order.side))
            else:
                order.picture = self._compose(order.look, order.height, silent)
        except Exception as error:  # noqa: BLE001 - whoever ordered it is told
            order.error = PolyfieldError(_words(error))
        except BaseException:  # a signal
            order.error = PolyfieldError("the viewer was closed")
            raise
        finally:
            order.done.set()

    def _rows(self, look: Look) -> int:
        """Return how many rows can be drawn while the camera moves."""
        width, height = look.size(look.full)
        below, full = (
            int(math.sqrt(_FRAME * self._speeds.get((look.layer, whole), 0.0) * height / width))
            for whole in (False, True)
        )
        if below >= look.full and 0 < full < look.full:
            return look.full - 1
        return min(max(below, _COARSEST), look.full)

    def _learn(self, look: Look, rows: int, seconds: float) -> None:
        width, height = look.size(rows)
        speed, kind = width * height / max(seconds, 1e-6), (look.layer, rows >= look.full)
        self._speeds[kind] = 0.5 * (self._speeds.get(kind, speed) + speed)

    def _compose(self, look: Look, rows: int, progress: Progress, *, coarse: bool = False) -> Tensor:
        """Return the picture (rows, W, 3) of a look."""
        first = self.subjects[0]
        camera = look.camera(rows, moving=first.field.meaning.moving)
        other = self._other(look, coarse=coarse)
        if other is None:
            return first.draw(look, camera, progress, coarse=coarse)
        width = int(camera.sizes[0, 0])
        if look.how == DIFFERENCE:
            return _difference(first.draw(look, camera, progress, coarse=coarse), other(camera, progress))
        cut = min(max(round(look.split * width), 0), width)
        parts = []
        if cut > 0:
            parts.append(first.draw(look, columns(camera, 0, cut), progress, coarse=coarse))
        if cut < width:
            parts.append(other(columns(camera, cut, width), progress))
        picture = torch.cat(parts, 1)
        picture[:, cut : cut + 1] = _LINE
        return picture

    def _other(self, look: Look, *, coarse: bool = False) -> Callable[..., Tensor] | None:
        """Return what draws the other side of a look, or None if there is nothing."""
        if look.beside == FIELD and len(self.subjects) > 1:
            return lambda camera, progress: self.subjects[1].draw(look, camera, progress, coarse=coarse)
        photographs, index = self.photographs, look.photograph
        if look.beside == PHOTOGRAPH and photographs is not None and index is not None:
            return lambda camera, progress: photographs.seen_by(index, camera)
        return None

    def _compared(self, look: Look, rows: int, progress: Progress) -> str:
        """Return the PSNR between both sides, in words."""
        other = self._other(look)
        if other is None:
            return "To compare with a photograph, first go to a training camera in the tab Cameras."
        if look.beside == PHOTOGRAPH:
            assert self.photographs is not None and look.photograph is not None
            camera, truth = self.photographs.small(look.photograph, _COMPARED)
        else:
            camera = look.camera(rows, moving=self.subjects[0].field.meaning.moving)
            truth = other(camera, progress)
        what = "colours" if look.beside == PHOTOGRAPH or look.layer == "colour" else f"layer {look.layer}"
        plain = Look(look.c2w, look.fov, look.window, time=look.time)
        layer = plain if look.beside == PHOTOGRAPH else look
        return f"{psnr(self.subjects[0].draw(layer, camera, progress), truth):.2f} dB: PSNR of the {what} in the two images"


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, PolyfieldError) else f"{type(error).__name__}: {error!s:.200}"


def _refuse(order: Order | Sections) -> None:
    order.error = PolyfieldError("the viewer was closed")
    order.done.set()


def _difference(one: Tensor, other: Tensor) -> Tensor:
    """Return white where two pictures are equal, and darker colours where they differ."""
    return 1 - ((one - other).abs() * GAIN).clamp(max=1)
