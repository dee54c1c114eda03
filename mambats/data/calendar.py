"""Calendar features: known in advance for any time stamp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError

if TYPE_CHECKING:
    from mambats.series import Stamps  # loads torch, which a robot may not have

DAY = 86_400 * 10**9


def calendar_features(stamps: Stamps, calendar: Sequence[str]) -> npt.NDArray[np.float32]:
    """Compute calendar features from time stamps alone.

    A name such as `hour_of_day` gives two columns, sine and cosine of the position in the cycle; with the ending
    `_number` it gives one column from -0.5 (start of the cycle) to 0.5 (end).

    Args:
        stamps: Times in int64 nanoseconds since 1970 (UTC or any one local clock), shape (T,).
        calendar: Of `hour_of_day`, `day_of_week` (Monday first), `day_of_month`, `day_of_year`, each with or
            without `_number`.

    Returns:
        Features in [-1, 1], shape (F, T) float32, columns as `calendar_names` says.

    Raises:
        DataError: If a name is not known.
    """
    days = np.floor_divide(stamps, DAY)
    columns: list[npt.NDArray[np.float64]] = []
    for name in calendar:
        position, length = _cycle(name)(stamps, days)
        if name.endswith("_number"):
            columns.append(position / (length - 1) - 0.5)
        else:
            angle = 2 * np.pi * position / length
            columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns).astype(np.float32) if columns else np.zeros((0, len(stamps)), dtype=np.float32)


def calendar_names(calendar: Sequence[str]) -> tuple[str, ...]:
    """Return the column names of `calendar_features`."""
    pairs = [(name,) if name.endswith("_number") else (f"{name}_sin", f"{name}_cos") for name in calendar]
    return tuple(name for pair in pairs for name in pair)


def _hour(stamps: Stamps, days: Stamps) -> tuple[npt.NDArray[np.float64], int]:
    return (stamps - days * DAY) / (DAY / 24), 24


def _weekday(stamps: Stamps, days: Stamps) -> tuple[npt.NDArray[np.float64], int]:
    # Day 0, 1970-01-01, was a Thursday.
    return ((days + 3) % 7).astype(np.float64), 7


def _month_day(stamps: Stamps, days: Stamps) -> tuple[npt.NDArray[np.float64], int]:
    dates = days.astype("datetime64[D]")
    return (dates - dates.astype("datetime64[M]")).astype(np.float64), 31


def _year_day(stamps: Stamps, days: Stamps) -> tuple[npt.NDArray[np.float64], int]:
    dates = days.astype("datetime64[D]")
    return (dates - dates.astype("datetime64[Y]")).astype(np.float64), 366


_CYCLES = {"hour_of_day": _hour, "day_of_week": _weekday, "day_of_month": _month_day, "day_of_year": _year_day}


def _cycle(name: str) -> Callable[[Stamps, Stamps], tuple[npt.NDArray[np.float64], int]]:
    cycle = _CYCLES.get(name.removesuffix("_number"))
    if cycle is None:
        raise DataError(f"calendar feature {name!r} is not known: choose of {', '.join(_CYCLES)}, or add _number.")
    return cycle
