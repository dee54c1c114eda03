"""Text, dates and numbers to int64 nanoseconds."""

from __future__ import annotations

import numpy as np
import polars as pl

from mambats.formats.error import DataError
from mambats.series import Stamps

# Tried in order; polars reads unpadded days and months too. Day-first stands after month-first: a column that
# fits both is decided by which one rises.
DATE_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%dT%H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M:%S%.f%:z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
)
HEAD = 100
# A whole number below the first bound counts steps (or seconds: both are 1e9 ns); then milli-, micro-, nanoseconds.
EPOCHS = ((10**11, 10**9), (10**14, 10**6), (10**17, 10**3))


def date_formats(column: pl.Series) -> list[str]:
    """Return the formats that read at least half of the first cells, best first; a few bad cells still count."""
    head = column.drop_nulls().head(HEAD).str.strip_chars()
    failed = {form: _parse(head, form).null_count() for form in DATE_FORMATS} if head.len() else {}
    return sorted((form for form in failed if 2 * failed[form] <= head.len()), key=lambda form: failed[form])


def to_stamps(column: pl.Series, where: str) -> Stamps:
    """Turn a time column into int64 nanoseconds, shape (T,).

    Args:
        column: Dates, text that holds dates, whole numbers (steps or an epoch) or seconds as floats.
        where: File and column for the message.

    Raises:
        DataError: If a cell is empty or cannot be read, with its row.
    """
    _refuse(column.is_null().to_numpy(), column, where, "has no time")
    if column.dtype.is_temporal():
        return column.cast(pl.Datetime("ns")).to_physical().to_numpy().astype(np.int64)
    if column.dtype == pl.String:
        return _from_text(column, where)
    if column.dtype.is_integer():
        steps = column.to_numpy().astype(np.int64)
        largest = int(np.abs(steps).max(initial=0))
        return steps * next((factor for bound, factor in EPOCHS if largest < bound), 1)
    return np.rint(column.cast(pl.Float64).to_numpy() * 1e9).astype(np.int64)


def _from_text(column: pl.Series, where: str) -> Stamps:
    numbers = column.str.strip_chars().cast(pl.Int64, strict=False)
    if numbers.null_count() == 0:
        return to_stamps(numbers, where)
    seconds = column.str.strip_chars().cast(pl.Float64, strict=False)
    if seconds.null_count() == 0:
        return to_stamps(seconds, where)
    read = [_parse(column, form) for form in date_formats(column)]
    if not read:
        raise DataError(
            f"{where}: {column[0]!r} is not a time that can be read. "
            "Write times as 2016-07-01 00:00:00, or as whole numbers."
        )
    whole = [stamps for stamps in read if stamps.null_count() == 0]
    if not whole:
        best = min(read, key=lambda stamps: stamps.null_count())
        _refuse(best.is_null().to_numpy(), column, where, "is not a time like the others")
    rising = [stamps for stamps in whole if stamps.is_sorted()]
    return (rising or whole)[0].to_physical().to_numpy().astype(np.int64)


def _parse(column: pl.Series, form: str) -> pl.Series:
    parsed = column.str.strip_chars().str.to_datetime(form, strict=False, time_unit="ns")
    zoned = isinstance(parsed.dtype, pl.Datetime) and parsed.dtype.time_zone is not None
    return parsed.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zoned else parsed


def _refuse(bad: np.ndarray, column: pl.Series, where: str, why: str) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        row = int(rows[0])
        raise DataError(
            f"{where}, row {row + 1}: {column[row]!r} {why} ({rows.size} such rows). Correct or remove them."
        )
