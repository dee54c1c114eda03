"""A navigator behind the contract of `mambats.streaming.engine`: rows wait in the state, ticks answer; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mambats.streaming.engine import STAMP, BoolArray, Int64Array, Outputs, State, StepEvent
from mambats.streaming.engines.navigation_facts import ANSWERS, QUERY, WIDTHS
from mambats.streaming.engines.waiting import Waiting, WaitingRows

BEGIN, FRESH = "begin_ns", "fresh"
#: Rows of each stream that are kept between two ticks: 10 kHz for a tick of 0.1 s, far more than any such sensor gives.
_ROOM = {"imu": 1000, "gnss": 100, "wheel": 1000}
#: By stream: values (B, N, C) float32, stamps (B, N) int64 since the first tick's begin, which are there (B, N).
TickRows = Mapping[str, tuple[npt.NDArray[np.float32], Int64Array, BoolArray]]


class TickCore(Protocol):
    """The numbers of a navigator: rows of whole ticks in, estimates and the next state out."""

    def begin(self, start: npt.NDArray[np.float64], rows: int) -> State:
        """Return the state of `rows` robots that start at px py pz qx qy qz qw vx vy vz."""
        ...

    def answer(self, rows: TickRows, ticks: int, state: State) -> tuple[Outputs, State]:
        """Take the rows of so many ticks; the estimates (B, ...) behind the last, and the state there."""
        ...


class TickEngine:
    """Run a navigator for robots side by side.

    Rows of sensors are kept in the state; an event of the empty stream `query`, put in at whole ticks by the runner,
    answers with the estimate at that moment. The first tick of a robot begins one tick before its first query; rows
    before that are not read. All that is needed of time is `stamp_ns` in the state.

    Args:
        core: Who computes.
        tick_ns: Nanoseconds of a tick.
        start: Where a run starts, of `start_of`.
        identity: Sha256 of model and start.
    """

    def __init__(self, core: TickCore, tick_ns: int, start: npt.NDArray[np.float64], identity: str) -> None:
        self.core, self.start, self.identity = core, start, identity
        self.tick_ns: int = tick_ns
        self.streams: Mapping[str, int] = {**WIDTHS, QUERY: 0}
        self.outputs: Mapping[str, tuple[int, ...]] = ANSWERS
        self.waiting = Waiting({name: (width, _ROOM[name]) for name, width in WIDTHS.items()})

    def init_state(self, rows: int) -> State:
        """Return the state before any moment."""
        state: State = {
            STAMP: np.zeros(rows, np.int64),
            BEGIN: np.zeros(rows, np.int64),
            FRESH: np.ones(rows, np.bool_),
        }
        return {**state, **self.waiting.init_state(rows), **self.core.begin(self.start, rows)}

    def step(self, events: Mapping[str, StepEvent], elapsed_ns: Int64Array, state: State) -> tuple[Outputs, State]:
        """Take what was measured at one moment; see `mambats.streaming.engine.Engine.step`.

        Raises:
            ValueError: If more rows came between two ticks than are kept.
        """
        after = dict(state)
        for name in WIDTHS:
            if name in events:
                self.waiting.keep(after, name, events[name], state[STAMP])
        asked = events.get(QUERY)
        if asked is None or not asked.mask.any():
            return {}, after
        return self._answer(after, asked.mask)

    def _answer(self, state: State, asked: BoolArray) -> tuple[Outputs, State]:
        """Answer for the rows that ask, those that waited equally long together."""
        rows = len(asked)
        begin = np.where(state[FRESH], state[STAMP] - self.tick_ns, state[BEGIN])
        ticks = (state[STAMP] - begin) // self.tick_ns
        outputs: dict[str, npt.NDArray[Any]] = {name: np.zeros((rows, *shape)) for name, shape in ANSWERS.items()}
        after = {name: array if name.startswith("rows.") else array.copy() for name, array in state.items()}
        for waited in np.unique(ticks[asked]):
            chosen = np.flatnonzero(asked & (ticks == waited))
            if waited < 1:
                continue  # asked again within a tick: nothing new to say
            length = int(waited) * self.tick_ns
            given = {name: _within(self.waiting.read(state, name, chosen, begin[chosen]), length) for name in WIDTHS}
            made, left = self.core.answer(given, int(waited), {name: array[chosen] for name, array in state.items()})
            for name in ANSWERS:
                outputs[name][chosen] = made[name]
            for name, array in left.items():
                after[name][chosen] = array
            after[BEGIN][chosen] = begin[chosen] + length
        after[FRESH] = state[FRESH] & ~asked
        self.waiting.clear(after, asked)
        return outputs, after


def _within(rows: WaitingRows, length_ns: int) -> tuple[npt.NDArray[np.float32], Int64Array, BoolArray]:
    """The rows that waited, as a core takes them: those measured in full (filters take whole rows) since the begin."""
    mask = rows.mask & rows.observed.all(-1) & (rows.passed >= 0) & (rows.passed <= length_ns)
    values = np.where(mask[..., None], rows.values, np.float32(0)).astype(np.float32, copy=False)
    return values, np.where(mask, rows.passed, 0), mask
