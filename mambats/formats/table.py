"""CSV and Parquet tables, wide or long, to recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from mambats.formats.columns import Columns, open_columns
from mambats.formats.error import DataError
from mambats.formats.roles import Reading, Roles
from mambats.series import Recording, Stamps, Stream

__all__ = ["Layout", "Reading", "Roles", "find_layout", "read_columns", "read_table"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Where the rows of a table belong: columns by part, and for each series its rows in order of time.

    Args:
        parts: Column names of `target`, `past`, `future`, `static`.
        ids: Names of the series, in order of appearance.
        rows: Row numbers of each series, rising in time, shape (T_i,); -1 where the grid has no row.
        stamps: Time of each row, int64 nanoseconds, shape (T_i,).
    """

    parts: dict[str, tuple[str, ...]]
    ids: tuple[str, ...]
    rows: tuple[Rows, ...]
    stamps: tuple[Stamps, ...]


def read_table(
    path: Path | str, roles: Roles | None = None, *, frequency: str | None = None, reading: Reading | None = None
) -> list[Recording]:
    """Read a table into recordings, one a series.

    Args:
        path: CSV (also gzipped) or Parquet.
        roles: Which column plays which part; what is not named is found.
        frequency: Grid to lay the rows on, in polars' words (`15m`, `1h`, `1d`): missing times become rows without
            values. None keeps the rows as they are.
        reading: How text is read.

    Returns:
        Recordings with streams `target` and, where there are such columns, `past` and `future`.

    Raises:
        DataError: If the file, a column or a cell cannot be used; names which.
    """
    reading = reading or Reading()
    columns = open_columns(Path(path), reading)
    if isinstance(columns.frame, pl.LazyFrame):
        # One pass over the text; `cache_table` is the way for files that do not fit in memory.
        columns = columns.collect()
    return read_columns(columns, roles, frequency=frequency, reading=reading)


def read_columns(
    columns: Columns, roles: Roles | None = None, *, frequency: str | None = None, reading: Reading | None = None
) -> list[Recording]:
    """Read columns that are in memory into recordings, one a series; see `read_table`."""
    layout = find_layout(columns, roles or Roles(), frequency, (reading or Reading()).duplicates)
    values = {name: columns.numbers(name) for part in layout.parts.values() for name in part}
    return [_recording(layout, index, values, str(columns.path)) for index in range(len(layout.ids))]


def find_layout(columns: Columns, roles: Roles, frequency: str | None, duplicates: str) -> Layout:
    """Find parts, series and their rows in order of time.

    Raises:
        DataError: If a column is missing, or times of a series repeat or fall.
    """
    where = str(columns.path)
    roles.check(columns.names, where)
    series = roles.id or ("unique_id" if "unique_id" in columns.names and "unique_id" != roles.time else None)
    time = roles.time or columns.find_time(many_series=series is not None)
    parts = _find_parts(columns, roles, {time, series})
    stamps = columns.stamps(time)
    ids, rows = _group(columns, series, len(stamps))
    at = f"{where}, column {time!r}"
    rows = [_check_clock(kept, stamps, at, name, duplicates) for name, kept in zip(ids, rows, strict=True)]
    clocks = [stamps[kept] for kept in rows]
    if frequency is not None:
        pairs = [_regrid(kept, clock, frequency, at) for kept, clock in zip(rows, clocks, strict=True)]
        rows, clocks = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Layout(parts, tuple(ids), tuple(rows), tuple(clocks))


def take(values: npt.NDArray[np.float64], rows: Rows) -> npt.NDArray[np.float64]:
    """Take rows of a column, NaN where the row is -1."""
    taken = values[rows]
    if rows.size and rows.min() < 0:
        taken[rows < 0] = np.nan
    return taken


def fact(values: npt.NDArray[np.float64], name: str, series: str, where: str) -> float:
    """Return the one value of a static column in one series.

    Raises:
        DataError: If it has several.
    """
    if np.any(values != values[0]):
        raise DataError(
            f"{where}, column {name!r}: static, yet series {series!r} has more than one value. Make it a covariate."
        )
    return float(values[0])


def _find_parts(columns: Columns, roles: Roles, keys: set[str | None]) -> dict[str, tuple[str, ...]]:
    taken = keys | set(roles.future) | set(roles.static) | set(roles.past or ()) | set(roles.targets or ())
    left = [name for name in columns.names if name not in taken and columns.is_numeric(name)]
    targets, past = roles.targets, roles.past
    if targets is None and "y" in left and "unique_id" in columns.names:
        targets = ["y"]
        past = [name for name in left if name != "y"] if past is None else past
    targets = left if targets is None else targets
    if not targets:
        raise DataError(
            f"{columns.path}: no numeric column is left to forecast among {', '.join(columns.names)}. "
            "Name them with `targets`."
        )
    return {
        "target": tuple(targets),
        "past": tuple(past or ()),
        "future": tuple(roles.future),
        "static": tuple(roles.static),
    }


def _group(columns: Columns, series: str | None, rows: int) -> tuple[list[str], list[Rows]]:
    if series is None:
        return [columns.path.name.split(".")[0]], [np.arange(rows)]
    names = columns.column(series).cast(pl.String)
    if names.null_count():
        row = int(np.flatnonzero(names.is_null().to_numpy())[0])
        raise DataError(f"{columns.path}, column {series!r}, row {row + 1}: the series has no name. Fill it in.")
    ids = names.unique(maintain_order=True).to_list()
    codes = names.replace_strict(ids, list(range(len(ids))), return_dtype=pl.Int64).to_numpy()
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(ids)))
    return ids, [part.astype(np.int64) for part in np.split(order, ends[:-1])]


def _check_clock(rows: Rows, stamps: Stamps, where: str, name: str, duplicates: str) -> Rows:
    steps = np.diff(stamps[rows])
    fallen = np.flatnonzero(steps < 0)
    if fallen.size:
        at, before = int(rows[fallen[0] + 1]), int(rows[fallen[0]])
        raise DataError(
            f"{where}, row {at + 1}, series {name!r}: time goes back from {_text(int(stamps[before]))} to "
            f"{_text(int(stamps[at]))} ({fallen.size} such rows). Sort the rows by time."
        )
    repeated = np.flatnonzero(steps == 0)
    if repeated.size and duplicates == "refuse":
        at = int(rows[repeated[0] + 1])
        raise DataError(
            f"{where}, row {at + 1}, series {name!r}: time {_text(int(stamps[at]))} stands there twice "
            f"({repeated.size} such rows). Remove one, set `reading.duplicates` to first or last, or name the "
            "column of the series (`id`)."
        )
    drop = repeated + 1 if duplicates == "first" else repeated
    return np.delete(rows, drop)


def _regrid(rows: Rows, stamps: Stamps, frequency: str, where: str) -> tuple[Rows, Stamps]:
    ends = pl.Series(stamps[[0, -1]]).cast(pl.Datetime("ns"))
    try:
        grid = pl.datetime_range(ends[0], ends[1], interval=frequency, time_unit="ns", eager=True)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise DataError(f"frequency is {frequency!r}: use 15m, 1h, 1d and the like. ({error})") from error
    clock = grid.to_physical().to_numpy().astype(np.int64)
    place = np.searchsorted(clock, stamps)
    off = np.flatnonzero(clock[np.minimum(place, len(clock) - 1)] != stamps)
    if off.size:
        at = int(rows[off[0]])
        raise DataError(
            f"{where}, row {at + 1}: {_text(int(stamps[off[0]]))} is not on the grid of {frequency} that starts at "
            f"{_text(int(stamps[0]))} ({off.size} such rows). Choose the right frequency, or none to keep "
            "irregular times."
        )
    filled = np.full(len(clock), -1, dtype=np.int64)
    filled[place] = rows
    return filled, clock


def _recording(layout: Layout, index: int, values: dict[str, npt.NDArray[np.float64]], where: str) -> Recording:
    rows, stamps = layout.rows[index], layout.stamps[index]
    streams = {
        part: _stream(names, rows, stamps, values)
        for part in ("target", "past", "future")
        if (names := layout.parts[part])
    }
    own = rows[rows >= 0]
    facts = {name: fact(values[name][own], name, layout.ids[index], where) for name in layout.parts["static"]}
    return Recording(layout.ids[index], streams, facts)


def _stream(names: Sequence[str], rows: Rows, stamps: Stamps, values: dict[str, npt.NDArray[np.float64]]) -> Stream:
    table = np.stack([take(values[name], rows) for name in names], axis=1)
    observed = np.isfinite(table)
    return Stream(stamps, table, tuple(names), None if observed.all() else observed)


def _text(stamp: int) -> str:
    return str(np.datetime64(stamp, "ns")).removesuffix(".000000000")
