"""Text tables of KITTI: numbers and class words in fixed columns, no header, every fault named by its line."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.repair import REFUSE, Place, Policy

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TextLayout:
    """Columns of a table.

    Args:
        columns: Names in the order of the file.
        separator: A blank (any white space parts columns) or a comma.
        classes: Words of the column `class`, or their codes in the file where `codes` is given.
        codes: What stands in the file for each class where these are not words.
        optional: How many of the last columns may be missing (in every line); they are then left out.
    """

    columns: tuple[str, ...]
    separator: str = " "
    classes: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    optional: int = 0

    @property
    def words(self) -> tuple[str, ...]:
        """What may stand in the column `class`."""
        return self.codes or self.classes

    def split(self, line: str) -> list[str]:
        """Part a line into cells."""
        return line.split() if self.separator == " " else [cell.strip() for cell in line.split(self.separator)]


@dataclass(frozen=True)
class Rows:
    """A table as numbers.

    Args:
        path: The file.
        columns: Names.
        values: Shape (N, C) float64; a class is its code.
        lines: Line of the file of every row, shape (N,), from 1.
        repairs: What was left out.
        word: What `lines` counts.
    """

    path: Path
    columns: tuple[str, ...]
    values: Matrix
    lines: npt.NDArray[np.int64]
    repairs: tuple[str, ...] = ()
    word: str = "line"

    @property
    def place(self) -> Place:
        """Where the rows stand, for messages."""
        return Place(str(self.path), self.lines, self.word)

    def column(self, name: str) -> Matrix:
        """One column, shape (N,)."""
        return self.values[:, self.columns.index(name)]

    def part(self, names: Sequence[str]) -> Matrix:
        """Several columns, shape (N, len(names))."""
        return self.values[:, [self.columns.index(name) for name in names]]

    def refuse(self, bad: npt.NDArray[np.bool_], say: Callable[[int], str]) -> None:
        """Refuse rows that are bad, naming the first by its line.

        Raises:
            DataError: If there is one; `say` gives the sentence for it.
        """
        rows = np.flatnonzero(bad)
        if rows.size:
            raise DataError(f"{self.place.at(int(rows[0]))}: {say(int(rows[0]))} ({rows.size} such rows).")

    def take(self, rows: npt.NDArray[np.int64]) -> Rows:
        """Return some of the rows."""
        return replace(self, values=self.values[rows], lines=self.lines[rows])


def read_rows(path: Path | str, layout: TextLayout, policy: Policy = REFUSE) -> Rows:
    """Read a table; an empty file has no rows.

    polars reads the whole file at once; where that fails the lines are read one by one, which finds the fault.

    Args:
        path: Text file.
        layout: Its columns.
        policy: Whether a last line that is cut off is refused or left out.

    Raises:
        DataError: If the file is missing, or a line has another number of columns, no number or an unknown class.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}). Give the path of a text file.") from error
    return parse_rows(content, path, layout, policy)


def parse_rows(content: bytes, path: Path, layout: TextLayout, policy: Policy = REFUSE) -> Rows:
    """Parse the bytes of a table; see `read_rows`."""
    head = content[: content.find(b"\n")] if b"\n" in content else content
    columns = _columns(layout, len(layout.split(head.decode("utf-8", "replace"))))
    values = _read_at_once(content, layout, columns) if columns else None
    if values is None:
        return _read_by_line(path, content, layout, policy)
    return Rows(path, columns, values, np.arange(1, len(values) + 1))


def _columns(layout: TextLayout, width: int) -> tuple[str, ...]:
    most = len(layout.columns)
    return layout.columns[:width] if most - layout.optional <= width <= most else ()


def _read_at_once(content: bytes, layout: TextLayout, columns: tuple[str, ...]) -> Matrix | None:
    import polars as pl

    schema = {name: pl.String if name == "class" else pl.Float64 for name in columns}
    try:
        table = pl.read_csv(
            io.BytesIO(content),
            has_header=False,
            separator=layout.separator,
            schema=schema,
            quote_char=None,
        )
    except pl.exceptions.PolarsError:
        return None
    if table.height != content.count(b"\n") + (not content.endswith(b"\n")):
        return None  # blank lines: line numbers would be wrong
    if "class" in columns:
        code = dict(zip(layout.words, range(len(layout.words)), strict=True))
        table = table.with_columns(pl.col("class").replace_strict(code, default=None, return_dtype=pl.Float64))
    if any(table.null_count().row(0)):
        return None
    values = table.to_numpy(order="c")
    return values if np.isfinite(values).all() else None


def _read_by_line(path: Path, content: bytes, layout: TextLayout, policy: Policy) -> Rows:
    columns, rows, numbers, repairs = (), list[list[float]](), list[int](), tuple[str, ...]()
    lines = content.decode("utf-8", "replace").splitlines()
    last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=0)
    for number, line in enumerate(lines, 1):
        cells = layout.split(line) if line.strip() else []
        if not cells:
            continue
        columns = columns or _columns(layout, len(cells))
        try:
            rows.append(_row(cells, columns, layout, f"{path}, line {number}"))
            numbers.append(number)
        except DataError as error:
            torn = number == last and not content.endswith(b"\n") and rows
            if not torn:
                raise
            if policy.torn == "refuse":
                raise DataError(f"{error} It is the last line: cut off? Then read with torn='repair'.") from error
            repairs = (f"{path}: 1 row that is cut off, left out, line {number}",)
    columns = columns or _columns(layout, len(layout.columns))
    values = np.array(rows, dtype=np.float64).reshape(-1, len(columns))
    return Rows(path, columns, values, np.array(numbers, dtype=np.int64), repairs)


def _row(cells: list[str], columns: tuple[str, ...], layout: TextLayout, where: str) -> list[float]:
    if not columns or len(cells) != len(columns):
        most, least = len(layout.columns), len(layout.columns) - layout.optional
        needed = f"{least} to {most}" if least < most and not columns else f"{len(columns) or most}"
        raise DataError(f"{where}: has {len(cells)} columns, needed {needed}: {' '.join(columns or layout.columns)}.")
    return [_number(cell, name, layout, where) for cell, name in zip(cells, columns, strict=True)]


def _number(cell: str, name: str, layout: TextLayout, where: str) -> float:
    if name == "class":
        if cell not in layout.words:
            raise DataError(f"{where}: class {cell!r} is unknown, known are {', '.join(layout.words)}.")
        return float(layout.words.index(cell))
    try:
        value = float(cell)
    except ValueError as error:
        raise DataError(f"{where}: {name} is {cell!r}, needed a number.") from error
    if not np.isfinite(value):
        raise DataError(f"{where}: {name} is {cell}, needed a finite number. Remove the row.")
    return value
