"""Rows of text, one at a time: CSV or JSON lines in, with the line and column of whatever is wrong."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from mambats.formats.error import DataError

Kind = Literal["csv", "jsonl"]
#: Most characters of a line: a sender that never ends one must not fill the memory.
LONGEST = 1 << 20
#: Cells that mean "not measured".
ABSENT = frozenset({"", "na", "n/a", "nan", "null", "none", "-"})
# Beside ISO: what spreadsheets write. Month first, as in `mambats.formats`, where a column cannot decide it.
_DATES = ("%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d.%m.%Y %H:%M")
# A whole number below the bound counts steps or seconds; above it milli-, micro-, nanoseconds (as mambats.formats).
_EPOCHS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))


@dataclass(frozen=True)
class Line:
    """One row.

    Args:
        number: Line in the file, from 1, the header counted.
        cells: Values by column, as they stand there.
    """

    number: int
    cells: Mapping[str, Any]


def kind_of(path: str, given: str | None) -> Kind:
    """Return the format of a file: as given, else by its ending, else CSV."""
    if given in ("csv", "jsonl"):
        return "jsonl" if given == "jsonl" else "csv"
    return "jsonl" if Path(path).suffix.lower() in (".jsonl", ".ndjson", ".json") else "csv"


def read_lines(file: TextIO, kind: Kind, name: str) -> Iterator[Line | DataError]:
    """Yield rows as they come; a row that cannot be read comes out as its error, and reading goes on.

    Args:
        file: Open text.
        kind: csv (with a header) or jsonl.
        name: Name of the file, for messages.
    """
    yield from _json_lines(file, name) if kind == "jsonl" else _csv_lines(file, name)


def number(cell: object, where: str) -> float:
    """Return a cell as a number, NaN where nothing was measured.

    Raises:
        DataError: If it is neither; infinity is not a measurement.
    """
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in ABSENT):
        return math.nan
    try:
        value = float(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else None
    except (ValueError, OverflowError):
        value = None
    if value is None or math.isinf(value):
        raise DataError(f"{where}: {cell!r} is not a number. Write a number, or leave the cell empty where none is.")
    return value


def nanoseconds(cell: object, where: str) -> int:
    """Return a cell as a time in int64 nanoseconds since 1970.

    Raises:
        DataError: If it is no time.
    """
    text = str(cell).strip()
    stamp = _count(text)
    if stamp is None:
        moment = _moment(text)
        if moment is None:
            raise DataError(f"{where}: {cell!r} is not a time that can be read. Write times as 2016-07-01 00:00:00.")
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
        stamp = (since.days * 86_400 + since.seconds) * 10**9 + since.microseconds * 1000
    if not -(2**63) <= stamp < 2**63:
        raise DataError(f"{where}: {cell!r} is outside the years 1677 to 2262, which nanoseconds reach. Correct it.")
    return stamp


def _count(text: str) -> int | None:
    """Return a bare number as nanoseconds: whole steps or an epoch, or seconds with a fraction."""
    try:
        whole = int(text)
        return whole * next((factor for bound, factor in _EPOCHS if abs(whole) < bound), 1)
    except ValueError:
        pass
    try:
        return round(float(text) * 1e9)
    except (ValueError, OverflowError):
        return None


def is_time(cell: object) -> bool:
    """Say whether a cell reads as a date (a bare number does not)."""
    return isinstance(cell, str) and _moment(cell.strip()) is not None


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for form in _DATES:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None


def _bounded(file: TextIO, name: str) -> Iterator[str]:
    """Yield lines of bounded length.

    Raises:
        DataError: At a longer one: nothing behind it can be told apart.
    """
    count = 0
    while text := file.readline(LONGEST + 1):
        count += 1
        if len(text) > LONGEST:
            raise DataError(f"{name}, line {count}: is longer than {LONGEST} characters. End lines with a newline.")
        yield text


def _csv_lines(file: TextIO, name: str) -> Iterator[Line | DataError]:
    reader = csv.reader(_bounded(file, name))
    header = _cells(reader, name)
    if isinstance(header, DataError):
        yield header
        return
    if not header:
        yield DataError(f"{name}: is empty. The first line of a CSV file names the columns.")
        return
    if len(set(header)) != len(header):
        twice = next(column for column in header if header.count(column) > 1)
        yield DataError(f"{name}, line 1: column {twice!r} stands there twice. Rename one.")
        return
    while (cells := _cells(reader, name)) is not None:
        if isinstance(cells, DataError):
            yield cells
        elif cells and len(cells) != len(header):
            yield DataError(
                f"{name}, line {reader.line_num}: has {len(cells)} cells, the header {len(header)} columns. "
                "Quote cells that hold a comma."
            )
        elif cells:
            yield Line(reader.line_num, dict(zip(header, cells, strict=True)))


def _cells(reader: Any, name: str) -> list[str] | DataError | None:
    """Return the next row of a CSV file, what is wrong with it, or None at the end."""
    try:
        return next(reader, None)
    except csv.Error as error:
        return DataError(f"{name}, line {reader.line_num}: is not CSV ({error}). Correct or leave out the line.")


def _json_lines(file: TextIO, name: str) -> Iterator[Line | DataError]:
    for count, text in enumerate(_bounded(file, name), 1):
        if not text.strip():
            continue
        try:
            cells = json.loads(text)
        except json.JSONDecodeError as error:
            yield DataError(
                f"{name}, line {count}, column {error.colno}: is not JSON ({error.msg}). One object a line."
            )
            continue
        except (ValueError, RecursionError) as error:  # an integer of thousands of digits, brackets without end
            yield DataError(f"{name}, line {count}: is no JSON that can be read ({error}). One object a line.")
            continue
        if isinstance(cells, dict):
            yield Line(count, {str(key): value for key, value in cells.items()})
        else:
            yield DataError(f'{name}, line {count}: is {type(cells).__name__}, need an object: {{"column": value}}.')
