"""How streaming engines are timed, on a CPU and on a GPU: step after step, each with the state of the last."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mambats.streaming.engine import StepEvent
from mambats.streaming.engines.forecast import SeriesEngine

SECOND = 10**9
WINDOWS = 5


def stepper(engine: SeriesEngine, rows: int) -> Callable[[], None]:
    """Return a function that takes one step of a series of one channel, arrays in and out."""
    values = np.random.default_rng(0).standard_normal((rows, 1)).astype(np.float32)
    events = {"series": StepEvent(values, np.ones((rows, 1), np.bool_), np.ones(rows, np.bool_))}
    elapsed, held = np.full(rows, SECOND, np.int64), [engine.init_state(rows)]

    def step() -> None:
        held[0] = engine.step(events, elapsed, held[0])[1]

    return step


def best_window(call: Callable[[], None], calls: int, clock: Callable[[], int]) -> tuple[float, float]:
    """Return p50 and p99 of a call in microseconds: of the best of five windows by its median.

    Args:
        call: What is timed.
        calls: Of a window.
        clock: Nanoseconds: of the thread, or of the wall where a device works.
    """
    windows = list[tuple[float, float]]()
    for _ in range(WINDOWS):
        taken = np.empty(calls)
        for k in range(calls):
            begun = clock()
            call()
            taken[k] = clock() - begun
        p50, p99 = np.percentile(taken / 1e3, [50, 99])
        windows.append((float(p50), float(p99)))
    return min(windows)
