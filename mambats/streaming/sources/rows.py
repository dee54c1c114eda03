"""Rows of a table as packets: CSV or JSON lines, from a file or standard input."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TextIO

from mambats.formats.error import DataError
from mambats.streaming.engine import Packet
from mambats.streaming.engines.facts import SERIES, ForecastFacts
from mambats.streaming.sources.columns import Columns, find_columns
from mambats.streaming.sources.lines import Kind, Line, kind_of, read_lines


class RowSource:
    """Read rows for a forecaster. A line that cannot be used comes out as its error, and reading goes on.

    Args:
        path: File, or - for standard input.
        facts: What the forecaster reads.
        rows: Most series, told apart by the column `unique_id`, in the order in which they first come.
        time: Time column; None finds it.
        kind: Format; None goes by the file's ending.
    """

    def __init__(
        self, path: str, facts: ForecastFacts, rows: int = 1, time: str | None = None, kind: Kind | None = None
    ) -> None:
        self.path, self.facts, self.rows, self.time = path, facts, rows, time
        self.kind: Kind = kind_of(path, kind)
        self.name = "standard input" if path == "-" else path
        #: Names of the series so far, by row.
        self.series = list[str]()
        #: What was found in the first line.
        self.columns: Columns | None = None
        self._counts = dict[int, int]()

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets as rows come.

        Raises:
            DataError: If the file is empty, is no text, or lacks a column.
        """
        with opened(self.path) as file:
            lines = read_lines(file, self.kind, self.name)
            first = next(lines, None)
            if first is None:
                raise DataError(f"{self.name}: holds no rows. Give at least one under the header.")
            if isinstance(first, DataError):
                raise first
            columns = self.columns = find_columns(first, self.facts, self.time, self.name)
            for line in chain([first], lines):
                yield line if isinstance(line, DataError) else self._packet(line, columns)

    def _packet(self, line: Line, columns: Columns) -> Packet | DataError:
        try:
            row = self._row(columns.series(line), line)
            stamp, values = columns.stamp(line), columns.values(line)
        except DataError as error:
            return error
        if stamp is None:
            # Without a time, rows follow each other by the reference period; a count of its own for each series.
            stamp = self._counts[row] = self._counts.get(row, -1) + 1
            stamp *= self.facts.period_ns
        return Packet(SERIES, stamp, values, row)

    def _row(self, series: str, line: Line) -> int:
        if series not in self.series:
            if len(self.series) == self.rows:
                raise DataError(
                    f"{self.name}, line {line.number}: series {series!r} is one more than the {self.rows} that run. "
                    "Say how many there are with --rows."
                )
            self.series.append(series)
        return self.series.index(series)


def count_series(path: str, kind: Kind | None = None) -> int:
    """Return how many series a file holds, at least 1; standard input is not read and has 1."""
    if path == "-":
        return 1
    with opened(path) as file:
        names = {str(line.cells.get("unique_id", "")) for line in read_lines(file, kind_of(path, kind), path)
                 if isinstance(line, Line)}  # fmt: skip
    return max(len(names), 1)


@contextmanager
def opened(path: str) -> Generator[TextIO]:
    """Open a text file for reading, or give standard input for -.

    Raises:
        DataError: If it is not UTF-8.
    """
    try:
        if path == "-":
            yield sys.stdin
            return
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error
