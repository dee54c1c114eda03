"""BROAD trials: one `.mat` file each with a hand-moved IMU, a magnetometer and optical motion capture.

Source: Laidig et al., BROAD: A benchmark for robust inertial orientation estimation, Data 6(7), 2021.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.inertial import check_imu, check_quaternion_order, check_turning
from mambats.formats.layout import IMU, MAGNETOMETER, POSE, Layout, make_stream
from mambats.formats.repair import REFUSE, Array, Place, Policy
from mambats.series import Recording

#: Variables of a trial and their columns.
WIDTHS = {"imu_gyr": 3, "imu_acc": 3, "imu_mag": 3, "opt_quat": 4, "opt_pos": 3, "movement": 1}


def read_broad(path: Path | str, policy: Policy = REFUSE) -> Recording:
    """Read one trial.

    Streams: `imu`, `magnetometer`. Truth: `pose` (the IMU in `map`, z up; unobserved where the markers were lost) and
    `movement` (1 where the trial is scored). Static fact: `rate` in Hz, from which the clock is counted.

    Raises:
        DataError: If the file is no such trial, or has a fault that the policy refuses.
    """
    file = Path(path)
    held = _load(file)
    rows = len(held["imu_gyr"])
    stamps = np.rint(np.arange(rows) * (1e9 / held["rate"])).astype(np.int64)
    place = Place(str(file))
    turns = np.roll(held["opt_quat"], -1, axis=1)  # scalar first in the file
    tables: dict[str, tuple[Array, Layout, str]] = {
        "imu": (np.hstack((held["imu_gyr"], held["imu_acc"])), IMU, "imu"),
        "magnetometer": (held["imu_mag"], MAGNETOMETER, "imu"),
        "pose": (np.hstack((held["opt_pos"], turns)), POSE, "map"),
        "movement": (held["movement"], Layout(("movement",)), ""),
    }
    made = {
        name: make_stream(stamps, values, layout, Place(f"{file}, {name}"), policy, frame=frame)
        for name, (values, layout, frame) in tables.items()
    }
    streams = {name: one.stream for name, one in made.items()}
    check_imu(streams["imu"], place.name, policy)
    check_quaternion_order(streams["imu"], streams["pose"], f"{file}, opt_quat", policy)
    check_turning(streams["imu"], streams["pose"], place.name, policy)
    return Recording(
        file.stem,
        {name: streams[name] for name in ("imu", "magnetometer")},
        {"rate": held["rate"]},
        truth={name: streams[name] for name in ("pose", "movement")},
        repairs=tuple(line for one in made.values() for line in one.repairs),
    )


def _load(file: Path) -> dict[str, Any]:
    """Return the variables as float64, and `rate`; shapes are checked."""
    from scipy.io import loadmat

    if not file.is_file():
        raise DataError(f"{file}: no such file. Give the path of a trial (`.mat`).")
    try:
        read: dict[str, Any] = loadmat(file, variable_names=[*WIDTHS, "sampling_rate"])
    except Exception as error:  # scipy raises whatever the damaged bytes lead to: OSError, zlib.error, TypeError ...
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{file}: not a readable .mat file of version 5 ({reason}). Get it again.") from error
    if missing := [name for name in (*WIDTHS, "sampling_rate") if name not in read]:
        raise DataError(f"{file}: variables {', '.join(missing)} are missing. Is it a BROAD trial?")
    held: dict[str, Any] = {name: np.array(read[name], dtype=np.float64) for name in WIDTHS}
    rows = held["imu_gyr"].shape[0]
    for name, width in WIDTHS.items():
        if held[name].shape != (rows, width):
            raise DataError(f"{file}: {name} has shape {held[name].shape}, needed {(rows, width)} (as imu_gyr).")
    held["rate"] = float(np.asarray(read["sampling_rate"]).reshape(-1)[0])
    if not 0 < held["rate"] < 1e9:
        raise DataError(f"{file}: sampling_rate is {held['rate']}, needed a rate in Hz above 0.")
    return held
