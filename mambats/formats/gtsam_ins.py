"""The KITTI drive that GTSAM's examples carry: an IMU with constant bias, GPS fixes in a local frame, noise figures.

Source: GTSAM, IMUKittiExampleGPS; the drive is out of KITTI raw.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.inertial import check_imu
from mambats.formats.layout import IMU, POSITION, make_stream
from mambats.formats.repair import REFUSE, Array, Policy
from mambats.formats.sheet import Sheet, read_sheet
from mambats.series import FrameTree, Recording, Rigid, Stamps

IMU_HEADER = ("Time", "dt", "accelX", "accelY", "accelZ", "omegaX", "omegaY", "omegaZ")
GPS_HEADER = ("Time", "X", "Y", "Z")
#: Names of the noise figures there and here; all are densities (a root of Hz) but the last, seconds.
FACTS = {
    "AccelerometerSigma": "accelerometer_noise_density",
    "GyroscopeSigma": "gyroscope_noise_density",
    "IntegrationSigma": "integration_noise_density",
    "AccelerometerBiasSigma": "accelerometer_random_walk",
    "GyroscopeBiasSigma": "gyroscope_random_walk",
    "AverageDeltaT": "period",
}
BODY = ("BodyPrx", "BodyPry", "BodyPrz", "BodyPtx", "BodyPty", "BodyPtz")
#: `dt` is printed with 15 digits; further than this from the difference of the times it belongs to another row.
DT = 1e-3


def read_gtsam_ins(folder: Path | str, policy: Policy = REFUSE) -> Recording:
    """Read the drive: files named `*Imu*`, `*Gps*` and `*metadata*`, each `.txt` or `.txt.gz`.

    Streams: `imu` (its covariance is density squared by period), `gnss` (`px py pz` in `map`, metres). The first row's
    `dt` is not a difference but its time: it is not read. Frames: `base_link` -> `imu` out of the metadata.

    Raises:
        DataError: If a file is missing, has other columns, or a fault that the policy refuses.
    """
    home = Path(folder)
    sheets = {part: _find(home, part, policy) for part in ("Imu", "Gps", "metadata")}
    imu, gps = sheets["Imu"], sheets["Gps"]
    facts = _facts(sheets["metadata"])
    _check_header(imu, IMU_HEADER)
    _check_header(gps, GPS_HEADER)
    stamps = imu.stamps(0, "s")
    _check_dt(imu, stamps)
    held = {FACTS[name]: facts[name] for name in FACTS}
    noise = np.array([held["gyroscope_noise_density"]] * 3 + [held["accelerometer_noise_density"]] * 3)
    covariance = np.diag(noise**2 / held["period"])
    columns = (5, 6, 7, 2, 3, 4)  # accelerations stand first in the file
    inertial = make_stream(stamps, imu.numbers(columns), IMU, imu.place, policy, frame="imu", covariance=covariance)
    fixes = make_stream(gps.stamps(0, "s"), gps.numbers((1, 2, 3)), POSITION, gps.place, policy, frame="map")
    check_imu(inertial.stream, str(imu.path), policy)
    mounted = Rigid.from_matrix("base_link", "imu", _pose(facts))
    repairs = (*(line for sheet in sheets.values() for line in sheet.repairs), *inertial.repairs, *fixes.repairs)
    streams = {"imu": inertial.stream, "gnss": fixes.stream}
    return Recording(home.resolve().name, streams, held, frames=FrameTree((mounted,)), repairs=repairs)


def _find(home: Path, part: str, policy: Policy) -> Sheet:
    found = sorted(home.glob(f"*{part}*.txt")) + sorted(home.glob(f"*{part}*.txt.gz"))
    if part == "Imu":
        found = [path for path in found if "metadata" not in path.name]
    if not found:
        raise DataError(f"{home}: no file *{part}*.txt (or .txt.gz). Give the folder of the drive's three files.")
    return read_sheet(found[0], policy)


def _facts(sheet: Sheet) -> dict[str, float]:
    wanted = (*BODY, *FACTS)
    if set(wanted) - set(sheet.header):
        missing = sorted(set(wanted) - set(sheet.header))
        raise DataError(f"{sheet.path}, line 1: names {', '.join(missing)} are missing. Is it the drive's metadata?")
    [values] = sheet.numbers([sheet.header.index(name) for name in wanted])[:1]
    facts = dict(zip(wanted, values.tolist(), strict=True))
    if not facts["AverageDeltaT"] > 0:
        raise DataError(f"{sheet.path}: AverageDeltaT is {facts['AverageDeltaT']}, needed seconds above 0.")
    return facts


def _check_header(sheet: Sheet, wanted: tuple[str, ...]) -> None:
    if sheet.header != wanted:
        found = " ".join(sheet.header) or f"no names and {sheet.width} columns"
        raise DataError(f"{sheet.path}, line 1: {found}; needed {' '.join(wanted)}. Reorder the columns.")


def _check_dt(sheet: Sheet, stamps: Stamps) -> None:
    """Refuse times that disagree with the periods beside them, behind the first row."""
    given = sheet.numbers((1,))[1:, 0]
    wrong = np.flatnonzero(np.abs(given - np.diff(stamps) / 1e9) > DT)
    if wrong.size:
        row = int(wrong[0]) + 1
        real = (stamps[row] - stamps[row - 1]) / 1e9
        raise DataError(
            f"{sheet.place.at(row)}: dt is {given[row - 1]} s, the times differ by {real} s "
            f"({wrong.size} such rows). Rows are missing or out of order: get the file again."
        )


def _pose(facts: dict[str, float]) -> Array:
    """Exponential map of the twist in the metadata, shape (4, 4)."""
    from scipy.linalg import expm

    rx, ry, rz, *move = (facts[name] for name in BODY)
    twist = np.zeros((4, 4))
    twist[:3, :3] = ((0, -rz, ry), (rz, 0, -rx), (-ry, rx, 0))
    twist[:3, 3] = move
    return np.asarray(expm(twist), dtype=np.float64)
