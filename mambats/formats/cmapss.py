"""C-MAPSS: jet engines that run to failure, one row a flight, for remaining useful life.

Source: Saxena et al., Damage propagation modeling for aircraft engine run-to-failure simulation, PHM 2008, table 2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.layout import Layout, make_stream
from mambats.formats.repair import REFUSE, Policy
from mambats.formats.sheet import Sheet, read_sheet
from mambats.series import Recording, Stream

SETTINGS = Layout(("altitude", "mach", "throttle"), ("1000 ft", "", ""))
SENSORS = Layout(
    (
        "T2", "T24", "T30", "T50", "P2", "P15", "P30", "Nf", "Nc", "epr", "Ps30", "phi", "NRf", "NRc", "BPR", "farB",
        "htBleed", "Nf_dmd", "PCNfR_dmd", "W31", "W32",
    ),
    (
        "degR", "degR", "degR", "degR", "psia", "psia", "psia", "rpm", "rpm", "", "psia", "pps/psi", "rpm", "rpm", "",
        "", "", "rpm", "rpm", "lbm/s", "lbm/s",
    ),
)  # fmt: skip
CYCLE = 10**9  # a cycle on a clock of nanoseconds, as tables count steps


def read_cmapss(
    folder: Path | str, subset: str = "FD001", part: Literal["train", "test"] = "train", policy: Policy = REFUSE
) -> list[Recording]:
    """Read one recording an engine out of `train_FD001.txt` or `test_FD001.txt`.

    Streams: `sensors` (21 channels, units of the source), `settings` (3). A cycle is one second of the clock. Truth:
    `rul`, remaining useful life in cycles at each row: of training engines by their last cycle, of test engines by
    `RUL_FD001.txt` where that file is there. Static fact: `unit`.

    Args:
        folder: That of the files, each `.txt` or `.txt.gz`.
        subset: FD001 to FD004.
        part: Which file.
        policy: What to do with faults.

    Raises:
        DataError: If a file is missing or has another shape, or a fault that the policy refuses.
    """
    home = Path(folder)
    sheet = read_sheet(_find(home, f"{part}_{subset}.txt"), policy, text=())
    if sheet.width != 26:
        raise DataError(f"{sheet.path}: {sheet.width} columns, needed 26: unit, cycle, 3 settings, 21 sensors.")
    table = sheet.numbers(range(26))
    starts = _starts(table[:, :2], sheet)
    bounds = [*starts.tolist(), len(table)]
    left = _left(home, subset, len(starts), policy) if part == "test" else np.zeros(len(starts))
    spans = zip(bounds[:-1], bounds[1:], left if left is not None else [None] * len(starts), strict=True)
    return [_engine(sheet, table, span, f"{subset}_{part}", policy) for span in spans]


def _engine(
    sheet: Sheet, table: npt.NDArray[np.float64], span: tuple[int, int, float | None], name: str, policy: Policy
) -> Recording:
    rows, left = np.arange(span[0], span[1]), span[2]
    own, place = table[rows], sheet.place.keep(rows)
    stamps = own[:, 1].astype(np.int64) * CYCLE
    sensors = make_stream(stamps, own[:, 5:], SENSORS, place, policy)
    settings = make_stream(stamps, own[:, 2:5], SETTINGS, place, policy)
    truth = dict[str, Stream]()
    if left is not None:
        clock = sensors.stream.stamps
        remaining = (clock[-1] - clock)[:, None] / CYCLE + left
        truth["rul"] = Stream(clock, remaining, ("rul",), unit="cycle")
    unit = int(own[0, 0])
    streams = {"sensors": sensors.stream, "settings": settings.stream}
    repairs = tuple(dict.fromkeys((*sheet.repairs, *sensors.repairs, *settings.repairs)))
    return Recording(f"{name}_{unit:03d}", streams, {"unit": float(unit)}, truth=truth, repairs=repairs)


def _starts(counters: npt.NDArray[np.float64], sheet: Sheet) -> npt.NDArray[np.int64]:
    """First rows of the units; refuse counters that are not whole, and units in two places."""
    wrong = np.flatnonzero((counters != np.rint(counters)).any(axis=1))
    if wrong.size:
        unit, cycle = counters[wrong[0]]
        raise DataError(f"{sheet.place.at(int(wrong[0]))}: unit {unit} and cycle {cycle}, needed whole numbers.")
    starts = np.flatnonzero(np.diff(counters[:, 0], prepend=np.nan) != 0)
    units, first = np.unique(counters[starts, 0], return_index=True)
    if len(units) < len(starts):
        again = int(np.setdiff1d(np.arange(len(starts)), first)[0])
        raise DataError(
            f"{sheet.place.at(int(starts[again]))}: unit {counters[starts[again], 0]:.0f} begins a second time. "
            "Sort the file by unit and cycle."
        )
    return starts


def _left(home: Path, subset: str, units: int, policy: Policy) -> npt.NDArray[np.float64] | None:
    """Remaining cycles at each test unit's last row, shape (units,); None where the file is not there."""
    if not any((home / f"RUL_{subset}.txt{end}").is_file() for end in ("", ".gz")):
        return None
    sheet = read_sheet(_find(home, f"RUL_{subset}.txt"), policy, text=())
    if sheet.frame.shape != (units, 1):
        raise DataError(
            f"{sheet.path}: {sheet.frame.height} rows of {sheet.width} columns, needed one a test unit: "
            f"{units} rows of 1."
        )
    return sheet.numbers((0,))[:, 0]


def _find(home: Path, name: str) -> Path:
    return next((home / (name + end) for end in ("", ".gz") if (home / (name + end)).is_file()), home / name)
