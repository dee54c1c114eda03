"""Where `mambats run` writes answers: a file that a later run goes on with, or standard output."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mambats.formats.error import DataError
from mambats.streaming import Answer
from mambats.streaming.engines.facts import ForecastFacts
from mambats.streaming.sinks import AnswerLines, ForecastRows, plain_outputs
from mambats.streaming.sources.columns import SERIES_COLUMN
from mambats.streaming.sources.lines import Kind, Line, kind_of, nanoseconds, read_lines
from mambats.streaming.sources.opener import Source
from mambats.streaming.sources.rows import RowSource, opened

_STAMP = "stamp_ns"


class Sink:
    """Write settled answers, each once. A file that is gone on with is read first: what it holds is not written again.

    Args:
        address: File, or - for standard output.
        source: Whose answers they are; a table's forecasts go into a table.
        facts: Of a forecaster, else None.
        kind: Format of forecasts; None goes by the file's ending.
        resume: Whether to go on with what the file holds, else it is replaced.
    """

    def __init__(
        self, address: str, source: Source, facts: ForecastFacts | None, kind: Kind | None, resume: bool
    ) -> None:
        self.source, self.facts = source, facts
        self.kind: Kind = kind_of(address, kind) if facts is not None else "jsonl"
        #: Last stamp written, by name of the series.
        self.last = dict[str, int]()
        held = resume and address != "-" and Path(address).is_file()
        if held:
            _cut_torn_line(Path(address))
        self._held = address if held and Path(address).stat().st_size else None
        self._file: TextIO = sys.stdout if address == "-" else Path(address).open("a" if held else "w", newline="",
                                                                                  encoding="utf-8")  # fmt: skip
        self._rows: ForecastRows | None = None
        self._lines = AnswerLines(self._file)

    def write(self, answer: Answer) -> None:
        """Write an answer, unless it stands in the file already."""
        if self._held is not None:
            self._read_held(self._held)
            self._held = None
        series = self._series(answer.row)
        if answer.stamp_ns <= self.last.get(series, answer.stamp_ns - 1):
            return
        if self.facts is None or "forecast" not in answer.outputs:
            keys = {"row": answer.row, "seq": answer.seq, _STAMP: answer.stamp_ns}
            self._lines.write(keys, plain_outputs(answer.outputs))
        else:
            if self._rows is None:
                header = not self.last
                self._rows = ForecastRows(self._file, self.kind, self.facts.channels, self.facts.quantiles, header)
            self._rows.write(self._keys(answer, series), answer.outputs["forecast"])
        self.last[series] = answer.stamp_ns

    def close(self) -> None:
        """Close the file."""
        if self._file is not sys.stdout:
            self._file.close()

    def _series(self, row: int) -> str:
        return self.source.series[row] if isinstance(self.source, RowSource) else str(row)

    def _keys(self, answer: Answer, series: str) -> dict[str, Any]:
        columns = self.source.columns if isinstance(self.source, RowSource) else None
        place = {SERIES_COLUMN: series} if series and columns is not None else {}
        if columns is None:
            return {"row": answer.row, _STAMP: answer.stamp_ns}
        if columns.time is None:
            return {**place, "step": answer.stamp_ns // columns.facts.period_ns}
        return {**place, columns.time: time_text(answer.stamp_ns)}

    def _read_held(self, address: str) -> None:
        """Find what the file holds; the first answer tells how its rows are named."""
        with opened(address) as file:
            for line in read_lines(file, self.kind, address):
                if isinstance(line, DataError):
                    raise line
                series, stamp = self._place(line, address)
                self.last[series] = max(stamp, self.last.get(series, stamp))

    def _place(self, line: Line, address: str) -> tuple[str, int]:
        cells, where = line.cells, f"{address}, line {line.number}"
        columns = self.source.columns if isinstance(self.source, RowSource) else None
        try:
            if _STAMP in cells:
                return str(cells["row"]), int(cells[_STAMP])
            series = str(cells.get(SERIES_COLUMN, ""))
            if columns is not None and columns.time is None:
                return series, int(cells["step"]) * columns.facts.period_ns
            return series, nanoseconds(cells[columns.time if columns and columns.time else "time"], where)
        except (KeyError, ValueError) as error:
            raise DataError(f"{where}: is no answer of this run ({error}). Name another --sink.") from error


def time_text(stamp_ns: int) -> str:
    """Return a stamp as ISO text, without zeros behind the second."""
    text = str(np.datetime64(stamp_ns, "ns"))
    return text.rstrip("0").rstrip(".") if "." in text else text


def _cut_torn_line(path: Path) -> None:
    """Drop what a killed process left of a last line."""
    with path.open("rb+") as file:
        body = file.read()
        file.truncate(body.rfind(b"\n") + 1)
