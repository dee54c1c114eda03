"""CSV logs of one or several sensors: columns are mapped to channels, units are declared and made SI."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from mambats.formats.error import DataError
from mambats.formats.inertial import check_imu
from mambats.formats.layout import IMU, MAGNETOMETER, POSE, Layout, Made, make_stream
from mambats.formats.repair import REFUSE, Policy
from mambats.formats.seconds import TimeUnit, ns_to_text
from mambats.formats.sheet import Sheet, read_sheet
from mambats.formats.units import UNITS, plain, to_si, unit_in_name
from mambats.series import Recording

_OWN = re.compile(r"^([^.]+)\.([^ ]+) \[(.*)\]$")  # imu.wx [rad/s]


@dataclass(frozen=True)
class Column:
    """Where a channel stands.

    Args:
        name: Of the column in the header line; in a file without one its number, counted from 1.
        unit: What the file has: deg/s, g, m/s^2, uT ... (`mambats.formats.units`).
    """

    name: str
    unit: str = ""


Sensors = Mapping[str, Mapping[str, Column]]


def read_sensor_csv(
    path: Path | str,
    sensors: Sensors | None = None,
    time: str = "time",
    time_unit: TimeUnit = "s",
    policy: Policy = REFUSE,
) -> Recording:
    """Read a log; values come out in rad/s, m/s^2, uT, m and so on, whatever the file has.

    Sensors of several rates may share a file: a row in which all cells of a sensor are empty, and some of another are
    not, is none of its rows.

    Args:
        path: The file: comma, semicolon, tab or blanks; plain or gzipped.
        sensors: Channels and their columns by stream, `{"imu": {"wx": Column("Gyroscope X (deg/s)", "deg/s")}}`; None
            for files that `write_sensor_csv` wrote. Channels of a standard stream (imu, pose, magnetometer) are
            put in the standard order.
        time: Name of the time column.
        time_unit: What it counts: s, ms, us or ns. No digit of it is lost.
        policy: What to do with faults.

    Raises:
        DataError: If a column is missing, a header names another unit than was declared, a unit is not known, the
            numbers betray another unit, or there is a fault that the policy refuses.
    """
    file = Path(path)
    sheet = read_sheet(file, policy, text=(time,))
    names = sheet.names
    stamps = sheet.stamps(_find(names, time, file), time_unit)
    chosen = _own(names, file) if sensors is None else sensors
    tables = {stream: _table(sheet, names, columns) for stream, columns in chosen.items()}
    empty = {stream: np.isnan(table).all(axis=1) for stream, (table, _) in tables.items()}
    everywhere = np.logical_and.reduce(list(empty.values()))
    made = dict[str, Made]()
    for stream, (table, layout) in tables.items():
        rows = np.flatnonzero(~empty[stream] | everywhere)
        made[stream] = make_stream(
            stamps[rows], table[rows], layout, sheet.place.keep(rows), policy, frame=_frame(stream)
        )
        if layout.channels == IMU.channels:
            check_imu(made[stream].stream, f"{file}, {stream}", policy)
    repairs = tuple(dict.fromkeys(line for one in made.values() for line in one.repairs))
    return Recording(
        file.name.split(".")[0], {name: one.stream for name, one in made.items()}, repairs=(*sheet.repairs, *repairs)
    )


def write_sensor_csv(path: Path | str, recording: Recording) -> Path:
    """Write all `streams` as one table, columns `time` [s] and `imu.wx [rad/s]`; absent values are empty cells.

    Reading gives stamps and values back to the last bit; rows without any observed value are lost when there is more
    than one stream. Tables, pictures, frames and truth are not written: `mambats.formats.store`
    keeps whole recordings.

    Raises:
        DataError: If a unit or a name cannot be written so that it is read again.
    """
    file = Path(path)
    stamps = np.unique(np.concatenate([stream.stamps for stream in recording.streams.values()] or [np.zeros(0, int)]))
    columns = [ns_to_text(stamps).alias("time")]
    for name, stream in recording.streams.items():
        rows = np.searchsorted(stamps, stream.stamps)
        for channel, unit, values in zip(stream.channels, stream.units, stream.values.T, strict=True):
            label = f"{name}.{channel} [{unit}]"
            match = _OWN.match(label)
            same = match is not None and match.groups() == (name, channel, unit)
            if not same or UNITS.get(plain(unit)) != (unit, 1.0) or any(mark in label for mark in ',"\n'):
                raise DataError(
                    f"{file}: {label!r} cannot be a column's name and be read again. Rename it or its unit."
                )
            cells = np.full(len(stamps), np.nan)
            cells[rows] = values
            columns.append(pl.Series(label, cells).fill_nan(None))
    pl.DataFrame(columns).write_csv(file)
    return file


def _table(sheet: Sheet, names: tuple[str, ...], columns: Mapping[str, Column]) -> tuple[np.ndarray, Layout]:
    order = next(
        (lay.channels for lay in (IMU, POSE, MAGNETOMETER) if set(lay.channels) == set(columns)), tuple(columns)
    )
    table = sheet.numbers([_find(names, columns[channel].name, sheet.path) for channel in order])
    units = list[str]()
    for place, channel in enumerate(order):
        column = columns[channel]
        said = unit_in_name(column.name)
        if said in UNITS and said != plain(column.unit):
            raise DataError(
                f"{sheet.path}: column {column.name!r} says {said!r}, declared was {column.unit!r}. "
                "Declare what it has."
            )
        unit, factor = to_si(column.unit, f"{sheet.path}, column {column.name!r}")
        units.append(unit)
        if factor != 1.0:
            table[:, place] *= factor
    return table, Layout(order, tuple(units))


def _own(names: tuple[str, ...], file: Path) -> dict[str, dict[str, Column]]:
    """Sensors of a file that was written here."""
    found = dict[str, dict[str, Column]]()
    for name in names:
        if match := _OWN.match(name):
            found.setdefault(match[1], {})[match[2]] = Column(name, match[3])
    if not found:
        raise DataError(
            f"{file}: no column is named like 'imu.wx [rad/s]'; the columns are {', '.join(names)}. Say with `sensors` "
            "which column is which channel, in which unit."
        )
    return found


def _find(names: tuple[str, ...], name: str, file: Path) -> int:
    if names.count(name) != 1:
        count = names.count(name)
        raise DataError(f"{file}: {count} columns are named {name!r}, needed one; the columns are {', '.join(names)}.")
    return names.index(name)


def _frame(stream: str) -> str:
    return {"imu": "imu", "magnetometer": "imu", "pose": "map", "gnss": "map"}.get(stream, "")
