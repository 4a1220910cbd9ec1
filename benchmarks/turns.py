"""Measurement in rounds: each contender runs once per round, so a busy machine slows all of them equally."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Figures = dict[str, float]


@dataclass(frozen=True)
class Budget:
    """How much is measured."""

    rounds: int = 5  # that count; one more goes before them
    least_seconds: float = 0.1  # of a contender's turn, which repeats short work
    size: int = 1 << 17  # points or samples of one call
    step_seconds: float = 1.5  # of a turn of training
    least_steps: int = (
        16  # of the native form's turns: as many as there are between updates of the occupancy grid
    )
    compile_seconds: int = 300  # after which torch.compile is given up; 0 for not even trying
    share: float = 1.0  # of the seconds that fits of the matrix take


QUICK = Budget(
    rounds=1, least_seconds=1e-3, size=1 << 8, step_seconds=0.05, least_steps=2, compile_seconds=0, share=1e-3
)


def in_turns(contenders: Mapping[str, Callable[[], Figures]], rounds: int) -> dict[str, Figures]:
    """Of each contender, the medians of its figures over the rounds. A round before them warms everything up."""
    heard: dict[str, list[Figures]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            heard[name].append(run())
    return {
        name: {key: statistics.median(figures[key] for figures in turns[1:]) for key in turns[0]}
        for name, turns in heard.items()
    }


def rate(work: Callable[[], object], amount: int, least_seconds: float) -> float:
    """What `work` does of `amount` each time it is called, per second."""
    start, calls = time.perf_counter(), 0
    while True:
        work()
        calls += 1
        seconds = time.perf_counter() - start
        if seconds >= least_seconds:
            return amount * calls / max(seconds, 1e-9)


def rate_by_count(work: Callable[[int], int], least_seconds: float) -> float:
    """The same of work that takes about how much to do, and returns how much it did."""
    count = 1 << 16
    while True:
        start = time.perf_counter()
        done = work(count)
        seconds = time.perf_counter() - start
        if seconds >= least_seconds or not done:
            return done / max(seconds, 1e-9)
        count *= 4
