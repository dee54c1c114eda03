"""Which columns of a table a forecaster reads, and a line as its stamp and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mambats.formats.error import DataError
from mambats.streaming.engine import FloatArray
from mambats.streaming.engines.facts import ForecastFacts
from mambats.streaming.sources.lines import Line, is_time, nanoseconds, number

#: Names of a time column, tried before looking at the cells.
TIME_NAMES = ("ds", "date", "datetime", "time", "timestamp", "stamp")
#: The column that tells series apart.
SERIES_COLUMN = "unique_id"


@dataclass(frozen=True)
class Columns:
    """How lines of one file are read.

    Args:
        facts: What the forecaster reads.
        time: Name of the time column, or None where rows follow each other regularly.
        name: Of the file, for messages.
    """

    facts: ForecastFacts
    time: str | None
    name: str

    def stamp(self, line: Line) -> int | None:
        """Return the time of a line in nanoseconds since 1970, None where there is no time column.

        Raises:
            DataError: If the cell is no time.
        """
        if self.time is None:
            return None
        return nanoseconds(self._cell(line, self.time), self._where(line, self.time))

    def values(self, line: Line) -> FloatArray:
        """Return the cells that the forecaster reads, NaN where nothing was measured.

        Raises:
            DataError: If a cell is missing or no number.
        """
        cells = [number(self._cell(line, name), self._where(line, name)) for name in self.facts.columns]
        with np.errstate(over="ignore"):  # beyond float32 is infinite, which the engine's door refuses
            return np.array(cells, np.float64).astype(np.float32)

    def series(self, line: Line) -> str:
        """Return the name of a line's series, "" where there is one alone."""
        return str(line.cells.get(SERIES_COLUMN, ""))

    def _where(self, line: Line, column: str) -> str:
        return f"{self.name}, line {line.number}, column {column!r}"

    def _cell(self, line: Line, column: str) -> Any:
        if column not in line.cells:
            raise DataError(
                f"{self.name}, line {line.number}: there is no column {column!r}, only {', '.join(line.cells)}. "
                "The model was trained with it: give the same columns."
            )
        return line.cells[column]


def find_columns(first: Line, facts: ForecastFacts, time: str | None, name: str) -> Columns:
    """Find the columns that a forecaster reads in a file's first line.

    Args:
        first: The first line.
        facts: What the forecaster reads.
        time: Time column, or None to find it by name, then by content.
        name: Of the file, for messages.

    Raises:
        DataError: If a column is missing, or there is no time and the model reads the time of day.
    """
    missing = [column for column in (*facts.columns, *([time] if time else [])) if column not in first.cells]
    found = time or _find_time(first, facts)
    if found is None and (facts.clock or facts.calendar):
        raise DataError(
            f"{name}: no time column is found among {', '.join(first.cells)}, and the model needs the time of day. "
            "Name it with --time."
        )
    if missing:
        raise DataError(
            f"{name}: column {', '.join(map(repr, missing))} is missing. The model was trained on "
            f"{list(facts.columns)}; the file has {list(first.cells)}. Give the same columns, in any order."
        )
    return Columns(facts, found, name)


def _find_time(first: Line, facts: ForecastFacts) -> str | None:
    left = [column for column in first.cells if column not in (*facts.columns, SERIES_COLUMN)]
    named = [column for column in left if column.lower() in TIME_NAMES]
    dated = [column for column in left if is_time(first.cells[column])]
    return next(iter([*named, *dated]), None)
