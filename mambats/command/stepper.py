"""A trained forecaster, one row at a time: the recurrent mode of `mambats stream`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.streaming.engine import STAMP, StepEvent
from mambats.streaming.engines.facts import SERIES
from mambats.streaming.engines.forecast import ForecastEngine
from mambats.streaming.sources import Columns, Line


class Stepper:
    """Carry the state of one series and forecast after each row.

    A row that is refused changes nothing: the next good row is answered as if the bad one had not come.

    Args:
        engine: Who computes.
        columns: How lines are read.
    """

    def __init__(self, engine: ForecastEngine, columns: Columns) -> None:
        self.engine, self.columns = engine, columns
        self.state = engine.init_state(1)
        self.stamp: int | None = None

    def push(self, line: Line) -> npt.NDArray[np.float32]:
        """Take one row and forecast after it, in the data's units: (K, C), or (K, C, Q) for quantiles.

        Raises:
            DataError: If a cell cannot be used; the state stays as it was.
        """
        stamp = self._stamp(line)
        values = self.columns.values(line)[None]
        observed = ~np.isnan(values)
        event = StepEvent(np.where(observed, values, np.float32(0)), observed, np.ones(1, np.bool_))
        elapsed = np.array([0 if self.stamp is None else stamp - self.stamp], np.int64)
        told = {**self.state, STAMP: np.array([stamp], np.int64)}
        with np.errstate(all="ignore"):
            outputs, state = self.engine.step({SERIES: event}, elapsed, told)
        forecast = outputs["forecast"][0]
        if not np.isfinite(forecast).all():
            raise DataError(
                f"{self.columns.name}, line {line.number}: gives a forecast that is not finite; a value is far out of "
                "range. Correct the row or leave the cell empty."
            )
        self.state, self.stamp = state, stamp
        return forecast

    def _stamp(self, line: Line) -> int:
        stamp = self.columns.stamp(line)
        if stamp is None:
            return 0 if self.stamp is None else self.stamp + self.engine.facts.period_ns
        if self.stamp is not None and stamp <= self.stamp:
            given: Any = line.cells[self.columns.time or ""]
            raise DataError(
                f"{self.columns.name}, line {line.number}, column {self.columns.time!r}: time does not rise: {given!r} "
                f"comes after {np.datetime64(self.stamp, 'ns')}. Sort the rows."
            )
        return stamp
