"""Decimal text to int64 nanoseconds and back, digit by digit: a float64 of seconds since 1970 holds 240 ns at best."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl

from mambats.formats.digits import text_alike
from mambats.formats.error import DataError
from mambats.formats.repair import Place
from mambats.series import Stamps

TimeUnit = Literal["s", "ms", "us", "ns"]
#: Powers of ten from a unit to nanoseconds.
POWERS: dict[str, int] = {"s": 9, "ms": 6, "us": 3, "ns": 0}
_NUMBER = r"^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$"


def text_to_ns(column: pl.Series, unit: TimeUnit, place: Place) -> Stamps:
    """Read numbers as they are written: `1403636580.838555648` s are 1403636580838555648 ns.

    Args:
        column: Text, one number a row, also as `1.40363657975856E+018`. Digits below a nanosecond are rounded.
        unit: What the numbers count.
        place: Where the rows stand.

    Returns:
        Nanoseconds, int64, shape (T,).

    Raises:
        DataError: If a cell is no number, or does not fit in 64 bits of nanoseconds.
    """
    if unit not in POWERS:
        raise DataError(f"{place.name}: time unit {unit!r}, choose of {', '.join(POWERS)}.")
    whole = column.cast(pl.Int64, strict=False) if POWERS[unit] == 0 else None
    if whole is not None and whole.null_count() == 0:
        return whole.to_numpy().astype(np.int64)
    if (alike := text_alike(column, POWERS[unit])) is not None:
        return alike
    return _any_text(column, unit, place)


def _any_text(column: pl.Series, unit: TimeUnit, place: Place) -> Stamps:
    """Read numbers that are written in several ways, or wrong."""
    parts = column.str.extract_groups(_NUMBER).struct.unnest().fill_null("")
    sign, left, right, power = (parts[name] for name in parts.columns)
    _refuse((left.str.len_bytes() + right.str.len_bytes() == 0).to_numpy(), column, place, "is not a time")
    # No exponent beyond 40 changes what becomes of the digits, and a wild one would ask for that many zeros.
    powers = power.replace("", "0").cast(pl.Float64).to_numpy().clip(-40, 40).astype(np.int64) + POWERS[unit]
    stamps = np.zeros(len(column), dtype=np.int64)
    for shift in np.unique(powers).tolist():
        rows = np.flatnonzero(powers == shift)
        stamps[rows] = _shifted(left.gather(rows), right.gather(rows), shift, place.keep(rows), column.gather(rows))
    return np.where((sign == "-").to_numpy(), -stamps, stamps)


def _shifted(left: pl.Series, right: pl.Series, shift: int, place: Place, text: pl.Series) -> Stamps:
    """Digits with the point moved `shift` places to the right, rounded."""
    if shift < 0:
        width = 1 - shift
        left, right = left.str.zfill(width), right
        right, left, shift = left.str.tail(-shift) + right, left.str.head(shift), 0
    digits = left + right.str.head(shift).str.pad_end(shift, "0")
    whole = digits.replace("", "0").cast(pl.Int64, strict=False)
    _refuse(whole.is_null().to_numpy(), text, place, "does not fit in 64 bits of nanoseconds")
    up = (right.str.slice(shift, 1).fill_null("") >= "5").to_numpy()
    return whole.to_numpy().astype(np.int64) + up


def ns_to_text(stamps: Stamps, digits: int = 9) -> pl.Series:
    """Write nanoseconds as seconds with all digits, so that reading gives them back.

    Args:
        stamps: Nanoseconds, shape (T,).
        digits: Decimals to write; fewer than nine round.
    """
    if digits < 9:
        step = 10 ** (9 - digits)
        stamps = (stamps + step // 2) // step * step
    size = pl.Series(np.abs(stamps))
    sign = pl.Series(np.where(stamps < 0, "-", ""))
    fraction = (size % 10**9).cast(pl.String).str.zfill(9).str.head(digits)
    whole = sign + (size // 10**9).cast(pl.String)
    return whole + "." + fraction if digits else whole


def _refuse(bad: np.ndarray, column: pl.Series, place: Place, why: str) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        row = int(rows[0])
        raise DataError(
            f"{place.at(row)}: {column[row]!r} {why} ({rows.size} such rows). Correct the cell, or name its unit."
        )
