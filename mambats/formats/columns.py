"""One table file as named columns: text checked cell by cell, so that a bad one is named with its row."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from mambats.formats.clock import date_formats, to_stamps
from mambats.formats.error import DataError
from mambats.formats.roles import Reading
from mambats.series import Stamps

#: Names that a time column goes by, best first.
TIME_NAMES = ("ds", "date", "datetime", "timestamp", "time", "stamp", "date_time", "utc", "t", "step", "index", "no")
HEAD = 1000


class Columns:
    """Columns of one CSV or Parquet file, read lazily unless `frame` holds them already.

    Text files are read as text and converted here: a cell that is no number is then known by its row.

    Args:
        path: The file, `.csv` (also `.csv.gz`, `.txt`, `.tsv`) or `.parquet`.
        frame: Its columns, lazy or not.
    """

    def __init__(self, path: Path, frame: pl.LazyFrame | pl.DataFrame) -> None:
        self.path = path
        self.frame = frame
        self.names: list[str] = (frame.collect_schema() if isinstance(frame, pl.LazyFrame) else frame.schema).names()
        self.head: pl.DataFrame = _collect(frame.head(HEAD), path)
        if self.head.height == 0:
            raise DataError(f"{path}: the table has no rows. Give a header line and one row a time step.")

    def collect(self) -> Columns:
        """Return the same columns, read into memory in one pass."""
        return Columns(self.path, _collect(self.frame, self.path))

    def sink(self, path: Path) -> None:
        """Copy all columns to a Parquet file without holding them in memory."""
        try:
            self.frame.lazy().sink_parquet(path, compression="lz4")
        except pl.exceptions.PolarsError as error:
            raise _readable(error, self.path) from error

    def column(self, name: str) -> pl.Series:
        """Read one column."""
        return _collect(self.frame.select(name), self.path)[name]

    def stamps(self, name: str) -> Stamps:
        """Read the time column as int64 nanoseconds, shape (T,)."""
        return to_stamps(self.column(name), f"{self.path}, column {name!r}")

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """Read one column as float64, shape (T,), NaN where the cell is empty.

        Raises:
            DataError: If a cell is no number, with its row.
        """
        column = self.column(name)
        text = column.dtype == pl.String
        numbers = (column.str.strip_chars() if text else column).cast(pl.Float64, strict=False)
        bad = np.flatnonzero(
            ((numbers.is_null() & column.is_not_null()) | numbers.is_infinite().fill_null(False)).to_numpy()
        )
        if bad.size:
            row = int(bad[0])
            raise DataError(
                f"{self.path}, column {name!r}, row {row + 1}: {column[row]!r} is not a finite number ({bad.size} such "
                "cells). Correct it, leave it empty if it was not measured, or choose other columns."
            )
        return numbers.fill_null(float("nan")).to_numpy()

    def is_numeric(self, name: str) -> bool:
        """Tell numbers from text by the first rows; a column with a few bad cells still counts as numbers."""
        column = self.head[name]
        if column.dtype != pl.String:
            return column.dtype.is_numeric() or column.dtype == pl.Boolean
        kept = column.drop_nulls()
        read = kept.str.strip_chars().cast(pl.Float64, strict=False)
        return kept.len() == 0 or 2 * read.null_count() < kept.len()

    def find_time(self, many_series: bool) -> str:
        """Find the time column by type, then by name; of several the first one that rises.

        Raises:
            DataError: If there is none.
        """
        dates = [name for name in self.names if self._is_date(name)]
        steps = [name for name in self.names if name.lower() in TIME_NAMES and self.is_numeric(name)]
        found = sorted(dates, key=_likeness) + sorted(steps, key=_likeness)
        if not found:
            raise DataError(
                f"{self.path}: no time column among {', '.join(self.names)}. Name it with `time`, "
                "or add a column `step` that counts the rows."
            )
        if len(found) == 1 or many_series:
            return found[0]
        return next((name for name in found if np.all(np.diff(self.stamps(name)) > 0)), found[0])

    def _is_date(self, name: str) -> bool:
        column = self.head[name]
        return column.dtype.is_temporal() or (column.dtype == pl.String and bool(date_formats(column)))


def open_columns(path: Path, reading: Reading) -> Columns:
    """Open a table file; nothing but the header and the first rows is read yet.

    Raises:
        DataError: If the file is missing, empty, of another kind, in another encoding, or names a column twice.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give the path of a CSV or Parquet file.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty. Give a table with a header line and one row a time step.")
    if path.suffix == ".parquet":
        try:
            return Columns(path, pl.scan_parquet(path))
        except pl.exceptions.ComputeError as error:
            raise DataError(f"{path}: not a readable Parquet file ({_first_line(error)}). Write it again.") from error
    return Columns(path, _scan_text(path, reading))


def _scan_text(path: Path, reading: Reading) -> pl.LazyFrame | pl.DataFrame:
    separator = _check_header(path, reading)
    nulls = list(reading.nulls)
    if reading.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "ascii"):
        return pl.scan_csv(path, separator=separator, infer_schema=False, null_values=nulls)
    return pl.read_csv(path, separator=separator, infer_schema=False, null_values=nulls, encoding=reading.encoding)


def _check_header(path: Path, reading: Reading) -> str:
    """Return the separator; refuse a header with a repeated or an empty name, or none."""
    line = _read_line(path, reading.encoding)
    separator = reading.separator or max(",;\t|", key=line.count)
    names = [name.strip() for name in next(csv.reader([line], delimiter=separator), [])]
    if not any(names):
        raise DataError(f"{path}, line 1: no column names. The first line must name the columns.")
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}, line 1: column {name!r} stands there {names.count(name)} times. Rename one.")
    if all(_is_number(name) for name in names):
        raise DataError(f"{path}, line 1: {line.strip()!r} are values, not column names. Add a header line.")
    return separator


def _read_line(path: Path, encoding: str) -> str:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return file.readline().decode(encoding).removeprefix("\ufeff").rstrip("\r\n")
    except (UnicodeDecodeError, LookupError, OSError) as error:
        raise DataError(_encoding_message(path, f"line 1 cannot be read as {encoding} ({error})")) from error


def _collect(frame: pl.LazyFrame | pl.DataFrame, path: Path) -> pl.DataFrame:
    try:
        return frame.collect(engine="streaming") if isinstance(frame, pl.LazyFrame) else frame
    except pl.exceptions.PolarsError as error:
        raise _readable(error, path) from error


def _readable(error: Exception, path: Path) -> DataError:
    text = _first_line(error)
    if "utf-8" in text.lower() or "utf8" in text.lower():
        return DataError(_encoding_message(path, "the file is not UTF-8"))
    return DataError(f"{path}: the table cannot be read: {text}")


def _encoding_message(path: Path, what: str) -> str:
    return f"{path}: {what}. Save it as UTF-8, or name its encoding (`reading.encoding`, latin-1 for instance)."


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _likeness(name: str) -> int:
    return TIME_NAMES.index(name.lower()) if name.lower() in TIME_NAMES else len(TIME_NAMES)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
