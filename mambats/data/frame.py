"""A table that is in memory already as a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mambats.formats.error import DataError
from mambats.formats.roles import Reading, Roles
from mambats.series import Recording

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class Frame:
    """A polars or pandas frame, wide (a column a channel) or long (`unique_id, ds, y` and further columns).

    It is read as `Table` reads a file, with the same parts and the same refusals: the time column is found by type,
    numeric columns become targets. A pandas index other than a plain count of rows is read as a column.

    A frame cannot be written into a recipe, and need not be: a checkpoint holds the task, not its data. For a run from
    YAML, or a cache, save the frame as Parquet and use `Table`.

    Args:
        frame: DataFrame or LazyFrame of polars, DataFrame of pandas.
        name: What to call it in tables and messages.
        time: Time column; None finds it by type.
        id: Column that names the series; None takes `unique_id` if there is one.
        targets: Columns to forecast; None takes `y` of a long table, else every numeric column left over.
        past: Covariates known up to now; None takes what is left over in a long table, else nothing.
        future: Covariates known in advance.
        static: Facts of a series.
        frequency: Grid to lay the rows on (`15m`, `1h`, `1d`): missing times become rows without values.
        reading: What to do with duplicate times; its other settings are for text files.

    Example:
        source = Frame(pl.DataFrame({"ds": hours, "load": load}), name="load", frequency="1h")
    """

    frame: Any = field(repr=False)
    name: str = "frame"
    time: str | None = None
    id: str | None = None
    targets: Sequence[str] | None = None
    past: Sequence[str] | None = None
    future: Sequence[str] = ()
    static: Sequence[str] = ()
    frequency: str | None = None
    reading: Reading | None = None

    def recordings(self) -> list[Recording]:
        """Read the frame into one recording a series.

        Raises:
            DataError: If it is no frame, or a column or a cell cannot be used; names which.
        """
        from mambats.formats.columns import Columns
        from mambats.formats.table import read_columns

        columns = Columns(Path(self.name), _in_polars(self.frame, self.name)).collect()
        roles = Roles(self.time, self.id, self.targets, self.past, self.future, self.static)
        return read_columns(columns, roles, frequency=self.frequency, reading=self.reading)


def _in_polars(frame: Any, name: str) -> pl.DataFrame | pl.LazyFrame:
    import polars as pl

    if isinstance(frame, pl.DataFrame | pl.LazyFrame):
        return frame
    # By name: pandas is no dependency, so it is not imported to ask.
    if type(frame).__name__ != "DataFrame" or not type(frame).__module__.startswith("pandas"):
        raise DataError(f"{name}: the frame is a {type(frame).__name__}: give a DataFrame of polars or pandas.")
    if type(frame.index).__name__ != "RangeIndex":
        frame = frame.reset_index()
    titles = [str(title) for title in frame.columns]
    for title in titles:
        if titles.count(title) > 1:
            raise DataError(f"{name}: column {title!r} stands there {titles.count(title)} times. Rename one.")
    return pl.DataFrame([_column(title, frame.iloc[:, place], name) for place, title in enumerate(titles)])


def _column(title: str, column: Any, name: str) -> pl.Series:
    import polars as pl

    if getattr(column.dtype, "tz", None) is not None:
        column = column.dt.tz_convert(None)
    # Plain numbers and times need no pyarrow, which polars reads the other kinds through.
    plain = getattr(column.dtype, "kind", "O") in "biufM" and type(column.dtype).__module__.startswith("numpy")
    try:
        return pl.Series(title, column.to_numpy() if plain else column)
    except ImportError as error:
        raise DataError(
            f"{name}, column {title!r}: its type {column.dtype} is read through pyarrow, which is not installed. "
            "Run: pip install pyarrow"
        ) from error
    except (TypeError, ValueError):
        # Numbers and text in one column: as text, the cell that is no number is named with its row.
        absent = column.isna()
        return pl.Series(title, [None if gone else str(cell) for cell, gone in zip(column, absent, strict=True)])
