"""Tables with a header: what is left when no other format fits."""

from __future__ import annotations

import re
from pathlib import Path

from mambats.formats.error import DataError
from mambats.formats.opener.look import Format, Look
from mambats.formats.repair import Policy
from mambats.series import Recording

OWN = re.compile(r"[^.]+\.[^ ]+ \[.*\]$")
#: Columns of xio Technologies' loggers, which name their units.
INERTIAL = re.compile(r"(Gyroscope|Accelerometer|Magnetometer) ([XYZ]) \((.+)\)")
PARTS = {"gyroscope": ("imu", "w"), "accelerometer": ("imu", "a"), "magnetometer": ("magnetometer", "m")}
ENDINGS = (".csv", ".csv.gz", ".tsv", ".txt", ".txt.gz")


def _own(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.sensor_csv import read_sensor_csv

    return [read_sensor_csv(path, policy=policy)]


def _is_own(look: Look) -> bool:
    first, *names = look.header.split(",")
    return first == "time" and bool(names) and all(OWN.match(name) for name in names)


def _inertial(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.sensor_csv import Column, read_sensor_csv

    names = [name.strip() for name in Look(path).header.split(",")]
    found: dict[str, dict[str, Column]] = {}
    for name in names[1:]:
        sensor, axis, unit = _match(name).groups()
        stream, letter = PARTS[sensor.lower()]
        found.setdefault(stream, {})[f"{letter}{axis.lower()}"] = Column(name, unit)
    return [read_sensor_csv(path, found, names[0], "s", policy)]


def _is_inertial(look: Look) -> bool:
    first, *names = [name.strip() for name in look.header.split(",")]
    return first == "Time (s)" and bool(names) and all(INERTIAL.fullmatch(name) for name in names)


def _match(name: str) -> re.Match[str]:
    found = INERTIAL.fullmatch(name)
    if found is None:
        raise DataError(f"column {name!r} is not like 'Gyroscope X (deg/s)'.")
    return found


def _table(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.roles import Reading
    from mambats.formats.table import read_table

    # A later row with the same stamp is left out, as all readers do that repair a clock.
    return read_table(path, reading=Reading(duplicates="first" if policy.clock == "repair" else "refuse"))


def _is_table(look: Look) -> bool:
    if look.head.startswith(b"PAR1"):
        return True
    names = look.header.split(max(",;\t|", key=look.header.count))
    return look.path.name.lower().endswith(ENDINGS) and len(names) > 1 and look.numbers() == 0 and len(look.lines) > 1


FORMATS = (
    Format("sensor_csv", "a CSV file with columns time, imu.wx [rad/s], ... (write_sensor_csv)", _is_own, _own),
    Format("x-imu3", "a CSV file with columns Time (s), Gyroscope X (deg/s), ...", _is_inertial, _inertial),
    Format("table", "a Parquet file, or a CSV file whose first line names the columns", _is_table, _table),
)
