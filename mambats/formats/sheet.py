"""A text file of numbers in columns: its shape is checked line by line, then polars reads it in one pass."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from mambats.formats.error import DataError
from mambats.formats.lines import body_of, find_lines, read_bytes, single_blanks, whole_lines
from mambats.formats.repair import REFUSE, Place, Policy
from mambats.formats.seconds import TimeUnit, text_to_ns
from mambats.series import Stamps

NULLS = ["", "NA", "N/A", "NULL", "null", "None", "?"]


@dataclass(frozen=True)
class Sheet:
    """Columns of a text file.

    Args:
        path: The file.
        header: Names found in its header line or in the last comment line above the rows; empty when it has neither.
        frame: All cells as float64 or as text, columns named by their place: `0`, `1` ...
        place: Where the rows stand, line by line.
        repairs: What was repaired while reading.
    """

    path: Path
    header: tuple[str, ...]
    frame: pl.DataFrame
    place: Place
    repairs: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The header, or where there is none the numbers of the columns, counted from 1."""
        return self.header or tuple(str(column + 1) for column in range(self.width))

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.frame.width

    def numbers(self, columns: Sequence[int]) -> npt.NDArray[np.float64]:
        """Read columns, shape (T, C) float64, C-contiguous and writable; NaN where a cell is empty.

        Raises:
            DataError: If a cell is no number; names its line.
        """
        table = np.empty((self.frame.height, len(columns)))
        for place, column in enumerate(columns):
            table[:, place] = self._cast(column)
        return table

    def stamps(self, column: int, unit: TimeUnit) -> Stamps:
        """Read a time column as int64 nanoseconds, shape (T,); no digit is lost where it was read as text."""
        cells = self.frame[str(column)].cast(pl.String).str.strip_chars()
        return text_to_ns(cells.fill_null(""), unit, self.place)

    def _cast(self, column: int) -> npt.NDArray[np.float64]:
        cells = self.frame[str(column)]
        if cells.dtype != pl.String:
            return cells.to_numpy()
        made = cells.str.strip_chars().cast(pl.Float64, strict=False)
        bad = np.flatnonzero((made.is_null() & cells.is_not_null()).to_numpy())
        if bad.size:
            row = int(bad[0])
            label = repr(self.header[column]) if self.header else column + 1
            raise DataError(
                f"{self.place.at(row)}, column {label}: {cells[row]!r} is not a number ({bad.size} such cells). "
                "Correct it, or leave it empty if it was not measured."
            )
        return made.to_numpy()


def read_sheet(path: Path, policy: Policy = REFUSE, text: Sequence[int | str] = (0,)) -> Sheet:
    """Read a file of numbers: separated by commas, semicolons, tabs or blanks; plain or gzipped.

    Lines that begin with `#` and empty lines are passed over. A first line that is not all numbers names the columns.

    Args:
        path: The file.
        policy: What to do with a last line that is cut off.
        text: Columns to keep as text, those of times: places from 0, or names (of a file without: numbers from 1).

    Raises:
        DataError: If the file is missing, empty or not text, or a line has another number of columns than the first;
            names the line.
    """
    data, archive_torn = read_bytes(path, policy)
    if archive_torn:  # its last line may end inside a number
        data = data[: data.rfind(b"\n") + 1]
    data = data.removeprefix(b"\xef\xbb\xbf")
    data = data.replace(b"\r\n", b"\n") if b"\r" in data else data
    separator = _separator(data)
    if not archive_torn and (sheet := _regular(data, separator, text, path)) is not None:
        return sheet
    if separator in " \t":
        data, separator = single_blanks(data), " "
    lines = find_lines(data)
    if not len(lines.starts):
        raise DataError(f"{path}: no rows in {len(data)} bytes. Is it the right file, and whole?")
    header = _cells(data[lines.starts[0] : lines.ends[0]], separator)
    if all(_is_number(cell) for cell in header):
        header = _comment(data[: lines.starts[0]], separator, len(header))
    else:
        lines = lines.behind(1)
        if not len(lines.starts):
            raise DataError(f"{path}: a header ({', '.join(header[:8])}) and no rows. Is the file whole?")
    lines, repairs = whole_lines(data, lines, separator, len(header), path, policy)
    if archive_torn:
        repairs = (*repairs, f"{path}: the archive is cut off, read up to line {lines.numbers[-1]}")
    if not len(lines.starts):
        raise DataError(f"{path}: no whole row. Is the file whole?")
    width = data.count(separator.encode(), lines.starts[0], lines.ends[0]) + 1
    frame = _frame(body_of(data, lines), separator, _types(header, width, text), path)
    return Sheet(path, header, frame, Place(str(path), lines.numbers, "line"), repairs)


def _regular(data: bytes, separator: str, text: Sequence[int | str], path: Path) -> Sheet | None:
    """Read rows that stand together, all as wide as the first, in half the time; None where something is not so.

    As many separators in all as so many rows have, and none too wide (which polars refuses): then none is too narrow.
    """
    start = _COMMENTS.match(data).end()  # type: ignore[union-attr]  # it matches the empty text too
    end = data.find(b"\n", start)
    first = data[start : end if end >= 0 else len(data)]
    header = _cells(first, separator)
    if separator == " " and "" in header:  # blanks at an end or in runs
        return None
    if all(_is_number(cell) for cell in header):
        body, names = data[start:], _comment(data[:start], separator, len(header))
    else:
        body, names = data[start + len(first) + 1 :], header
    body = body.rstrip(b"\n")
    letters = np.frombuffer(body, np.uint8)  # where every tenth letter counts, bytes.count takes five times as long
    rows, separators = (int(np.count_nonzero(letters == ord(mark))) for mark in ("\n", separator))
    rows += 1
    odd = (b"#", b'"', b"\t")[: 3 if separator == " " else 2]
    if any(mark in body for mark in odd) or separators != rows * (len(header) - 1):
        return None
    try:
        frame = _parse(body, separator, _types(names, len(header), text))
    except pl.exceptions.PolarsError:
        return None
    place = Place(str(path), data.count(b"\n", 0, start) + 1 + (names is header), "line")
    return Sheet(path, names, frame, place) if frame.height == rows else None


_COMMENTS = re.compile(rb"(?:#[^\n]*\n|\n)*")


def _types(header: tuple[str, ...], width: int, text: Sequence[int | str]) -> dict[str, type[pl.DataType]]:
    names = header or tuple(str(column + 1) for column in range(width))
    return {str(at): pl.String if at in text or names[at] in text else pl.Float64 for at in range(width)}


def _frame(body: bytes, separator: str, types: dict[str, type[pl.DataType]], path: Path) -> pl.DataFrame:
    try:
        return _parse(body, separator, types)
    except pl.exceptions.PolarsError:  # a cell that is no number: keep text, and name the cell when it is asked for
        pass
    try:
        return _parse(body, separator, dict.fromkeys(types, pl.String))
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: the table cannot be read: {reason}. Is it UTF-8 text?") from error


def _parse(body: bytes, separator: str, types: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    return pl.read_csv(
        body, has_header=False, separator=separator, schema=dict(types), null_values=NULLS, quote_char=None
    )


def _separator(data: bytes) -> str:
    line = next((line for line in re.finditer(rb"^[^#\n][^\n]*", data, re.MULTILINE)), None)
    found = line[0] if line else b""
    return next((mark for mark in ",;\t" if mark.encode() in found), " ")


def _cells(line: bytes, separator: str) -> tuple[str, ...]:
    text = line.decode("utf-8", "replace")
    cells = text.split(separator)
    if '"' in text:
        try:
            [cells] = csv.reader([text], delimiter=separator)
        except csv.Error:  # a stray quotation mark or carriage return: what stands around it is named as no number
            pass
    return tuple(cell.strip() for cell in cells)


def _comment(above: bytes, separator: str, width: int) -> tuple[str, ...]:
    """Names in the last comment above the rows, where it has one a column."""
    line = above.strip().rpartition(b"\n")[2].lstrip(b"# ")
    cells = _cells(line, separator) if line else ()
    return cells if len(cells) == width else ()


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return cell in NULLS
    return True
