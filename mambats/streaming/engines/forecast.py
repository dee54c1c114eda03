"""A streaming forecaster behind the contract of `mambats.streaming.engine`: clocks, gaps, rows, whatever computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mambats.data.calendar import calendar_features
from mambats.streaming.engine import STAMP, BoolArray, Int64Array, Outputs, State, StepEvent
from mambats.streaming.engines.facts import SERIES, ForecastFacts

#: What the engine itself carries, beside the state of the model: the moment (whoever steps sets it), what passed since
#: a row's last event, and whether there was none yet.
PENDING, FRESH = "pending_ns", "fresh"


class Core(Protocol):
    """The numbers of a forecaster: one row of each series in, a forecast and the next state out."""

    def init_state(self, rows: int) -> State:
        """Return the model's state before any row."""
        ...

    def step(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        """Take one row.

        Args:
            feed: `x` (rows, C + P) float32 in the data's units, `observed` of the same shape, `gap` (rows,) float32 in
                reference periods; where the model reads them `clock` (rows,) int64 in whole reference periods and
                `future` (rows, K + 1, F) float32, the calendar of the row and those to forecast.
            state: Of the row before; left as it is.

        Returns:
            The forecast (rows, K, C[, Q]) in the data's units, and the next state.
        """
        ...

    def read(self, feed: Mapping[str, npt.NDArray[Any]], state: State) -> tuple[npt.NDArray[np.float32], State]:
        """Take T > 0 rows, arrays of `step` with T before rows; the forecast after the last, and the state there."""
        ...


class SeriesEngine:
    """A forecaster that is stepped through time; an `mambats.streaming.engine.Engine` of one stream.

    A row that has no event keeps its state; the time it waited is added to its next gap. The first gap of a row is 1.
    The moment itself, which a calendar and a daily cycle need, is `stamp_ns` in the state: set it before a step.

    Args:
        facts: What the forecaster is.
        identity: sha256 of facts and weights.
    """

    tick_ns: int | None = None

    def __init__(self, facts: ForecastFacts, identity: str) -> None:
        self.facts, self.identity = facts, identity
        self.streams: Mapping[str, int] = {SERIES: len(facts.columns)}
        self.outputs: Mapping[str, tuple[int, ...]] = {"forecast": facts.shape}

    def init_state(self, rows: int) -> State:
        """Return the state before any moment."""
        raise NotImplementedError

    def step(self, events: Mapping[str, StepEvent], elapsed_ns: Int64Array, state: State) -> tuple[Outputs, State]:
        """Take what was measured at one moment; see `mambats.streaming.engine.Engine.step`."""
        raise NotImplementedError

    def read(
        self, values: npt.NDArray[np.float32], observed: BoolArray, stamps: Int64Array, state: State
    ) -> tuple[Outputs, State]:
        """Take many rows at once, as `step` would one by one: what a robot does with its history when it starts.

        Args:
            values: Shape (T, rows, C) with T > 0.
            observed: Which were measured, same shape.
            stamps: When, shape (T, rows), rising.
            state: Before them.

        Returns:
            Answers after the last row, and the state there.
        """
        elapsed, outputs = np.diff(stamps, axis=0, prepend=state[STAMP][None]), Outputs()
        mask = np.ones(stamps.shape[1], np.bool_)
        for value, seen, passed, stamp in zip(values, observed, elapsed, stamps, strict=True):
            outputs, state = self.step({SERIES: StepEvent(value, seen, mask)}, passed, {**state, STAMP: stamp})
        return outputs, state


class ForecastEngine(SeriesEngine):
    """Step a forecaster whose numbers a `Core` computes: clocks, gaps and rows are kept here.

    Args:
        core: Who computes.
        facts: What the forecaster is.
        identity: sha256 of facts and weights.
    """

    def __init__(self, core: Core, facts: ForecastFacts, identity: str) -> None:
        super().__init__(facts, identity)
        self.core = core

    def init_state(self, rows: int) -> State:
        """Return the state before any moment."""
        clocks = {STAMP: np.zeros(rows, np.int64), PENDING: np.zeros(rows, np.int64), FRESH: np.ones(rows, np.bool_)}
        return {**clocks, **self.core.init_state(rows)}

    def step(self, events: Mapping[str, StepEvent], elapsed_ns: Int64Array, state: State) -> tuple[Outputs, State]:
        """Take what was measured at one moment; see `mambats.streaming.engine.Engine.step`."""
        model = dict(state)
        stamp, pending, fresh = (model.pop(name) for name in (STAMP, PENDING, FRESH))
        pending = np.where(fresh, 0, pending + elapsed_ns)
        event = events.get(SERIES)
        if event is None:
            return {}, {STAMP: stamp, PENDING: pending, FRESH: fresh, **model}
        gap = np.where(fresh, 1.0, pending / self.facts.period_ns).astype(np.float32)
        forecast, after = self.core.step(self._feed(event, gap, stamp), model)
        here = event.mask
        if here.all():
            clocks = {STAMP: stamp, PENDING: np.zeros_like(pending), FRESH: np.zeros_like(fresh)}
            return {"forecast": forecast}, {**clocks, **after}
        clocks = {STAMP: stamp, PENDING: np.where(here, 0, pending), FRESH: fresh & ~here}
        kept = {name: _choose(here, after[name], model[name]) for name in after}
        return {"forecast": _choose(here, forecast, np.zeros_like(forecast))}, {**clocks, **kept}

    def read(
        self, values: npt.NDArray[np.float32], observed: BoolArray, stamps: Int64Array, state: State
    ) -> tuple[Outputs, State]:
        """Take many rows at once; see `SeriesEngine.read`."""
        elapsed = np.diff(stamps, axis=0, prepend=state[STAMP][None])
        model = dict(state)
        _, pending, fresh = (model.pop(name) for name in (STAMP, PENDING, FRESH))
        waited = elapsed.copy()
        waited[0] = np.where(fresh, self.facts.period_ns, pending + elapsed[0])
        gaps = (waited / self.facts.period_ns).astype(np.float32)
        rows = [
            self._feed(StepEvent(v, o, np.ones_like(fresh)), g, s)
            for v, o, g, s in zip(values, observed, gaps, stamps, strict=True)
        ]
        forecast, after = self.core.read({name: np.stack([row[name] for row in rows]) for name in rows[0]}, model)
        clocks = {STAMP: stamps[-1], PENDING: np.zeros_like(fresh, np.int64), FRESH: np.zeros_like(fresh)}
        return {"forecast": forecast}, {**clocks, **after}

    def _feed(self, event: StepEvent, gap: npt.NDArray[np.float32], stamp: Int64Array) -> dict[str, npt.NDArray[Any]]:
        feed: dict[str, npt.NDArray[Any]] = {"x": event.values, "observed": event.observed, "gap": gap}
        if self.facts.clock:
            feed["clock"] = stamp // self.facts.period_ns
        if self.facts.calendar:
            ahead = stamp[:, None] + self.facts.period_ns * np.arange(self.facts.horizon + 1, dtype=np.int64)
            features = calendar_features(ahead.reshape(-1), self.facts.calendar)
            feed["future"] = np.ascontiguousarray(features.T.reshape(*ahead.shape, -1))
        return feed


def read_by_steps(
    core: Core, feed: Mapping[str, npt.NDArray[Any]], state: State
) -> tuple[npt.NDArray[np.float32], State]:
    """Take T > 0 rows one after another: `Core.read` of what knows no better way."""
    forecast = np.zeros(0, np.float32)
    for moment in range(len(feed["x"])):
        forecast, state = core.step({name: array[moment] for name, array in feed.items()}, state)
    return forecast, state


def _choose(here: BoolArray, new: npt.NDArray[Any], old: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(here.reshape(-1, *[1] * (new.ndim - 1)), new, old)
