"""NAB series: one value a time stamp, and windows of labelled anomalies in a JSON file beside them.

Source: Lavin and Ahmad, Evaluating real-time anomaly detection algorithms: the Numenta anomaly benchmark, ICMLA 2015.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mambats.formats.clock import to_stamps
from mambats.formats.error import DataError
from mambats.formats.layout import Layout, make_stream
from mambats.formats.repair import REFUSE, Policy
from mambats.formats.sheet import read_sheet
from mambats.series import Recording, Stamps, Stream

HEADER = ("timestamp", "value")


def read_nab(path: Path | str, windows: Path | str | None = None, policy: Policy = REFUSE) -> Recording:
    """Read one series as stream `target` (channel `value`).

    Args:
        path: `.csv` or `.csv.gz` with columns timestamp and value.
        windows: `combined_windows.json`; gives truth `anomaly`, 1 in rows within a window (both ends belong to it).
        policy: What to do with faults. (Clocks of this corpus repeat an hour where summer time ends.)

    Raises:
        DataError: If a file is not of this layout, the windows do not name the series, or there is a fault that the
            policy refuses.
    """
    file = Path(path)
    sheet = read_sheet(file, policy)
    if sheet.header != HEADER:
        raise DataError(
            f"{file}, line 1: columns {', '.join(sheet.header) or 'without names'}, needed timestamp, value."
        )
    stamps = _dates(sheet.frame["0"], f"{file}, column 'timestamp'")
    made = make_stream(stamps, sheet.numbers((1,)), Layout(("value",)), sheet.place, policy)
    name = file.name.removesuffix(".gz").removesuffix(".csv")
    truth = {} if windows is None else {"anomaly": _anomalies(made.stream.stamps, Path(windows), name)}
    return Recording(name, {"target": made.stream}, truth=truth, repairs=(*sheet.repairs, *made.repairs))


def read_windows(path: Path, name: str) -> Stamps:
    """Return the labelled windows of one series, shape (n, 2) int64 nanoseconds; both ends belong to a window.

    Raises:
        DataError: If the file is not there or no such JSON, or has no series of that name.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give the path of combined_windows.json.")
    try:
        read: Any = json.loads(path.read_text(encoding="utf-8"))
        found = [pairs for key, pairs in read.items() if key.rpartition("/")[2] == f"{name}.csv"]
    except (ValueError, AttributeError) as error:
        raise DataError(f"{path}: not a JSON table of windows ({error}). Get it again.") from error
    if len(found) != 1:
        raise DataError(
            f"{path}: {len(found)} series are named {name}.csv, needed one. Leave `windows` out, or add it."
        )
    ends = pl.Series([end for pair in found[0] for end in pair], dtype=pl.String, strict=False)
    if any(len(pair) != 2 for pair in found[0]):
        raise DataError(f"{path}: a window of {name}.csv has not two ends. Correct it.")
    if not len(ends):
        return np.zeros((0, 2), dtype=np.int64)
    return _dates(ends, f"{path}, {name}").reshape(-1, 2)


def _dates(column: pl.Series, where: str) -> Stamps:
    """Read dates in the corpus's own form at once, others (and errors) as tables do."""
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S%.f"):  # the first is that of values, the second of windows
        read = column.str.to_datetime(form, strict=False, time_unit="ns")
        if not read.null_count():
            return to_stamps(read, where)
    return to_stamps(column, where)


def _anomalies(stamps: Stamps, path: Path, name: str) -> Stream:
    inside = np.zeros(len(stamps), dtype=bool)
    for first, last in read_windows(path, name):
        inside |= (stamps >= first) & (stamps <= last)
    return Stream(stamps, inside.astype(np.float64)[:, None], ("anomaly",))
